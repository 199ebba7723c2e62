"""Sizes in words, and what the machine offers."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.probe import free_memory_bytes
from pipeline import machine
from pipeline.errors import InputError
from pipeline.machine import (
    available_memory_bytes,
    choose_device,
    choose_device_at,
    cores,
    cpu_precision,
    default_memory_bytes,
    local_share,
    parse_bytes,
)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("4GiB", 4 << 30),
        ("500MB", 500_000_000),
        ("1.5g", 1_500_000_000),
        ("123", 123),
        ("2 KiB", 2048),
        ("7b", 7),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, size_bytes: int) -> None:
    """Binary and decimal units, with and without B, in any case, mean what they say."""
    assert parse_bytes(text) == parse_bytes(text.upper()) == size_bytes


@pytest.mark.parametrize(
    "text",
    [
        *("", "four", "-1GB", "0", "4XB", "1e9", "4 Gi B B", "0.1", "0.9b", "9" * 400, "9" * 400 + "TiB"),
        *("٣GB", "1025PiB", "2000000TiB", "nan", "inf", "1" * 100_000),
    ],
    ids=range(17),
)
def test_what_is_no_size_is_refused(text: str) -> None:
    """Anything else is an error that quotes it, clipped; so is less than a byte and more than any disk."""
    with pytest.raises(InputError) as caught:
        parse_bytes(text)
    assert repr(text)[:50] in caught.value.found and len(caught.value.found) <= 60


_V1 = "9:name=systemd:/\n4:memory:/slurm/job_7/step_0\n0::/\n"
_V2 = "0::/user.slice/run-7.scope/deep\n"
_MOUNTS = """35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""
_MOUNTS_V2 = "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
_IN_DOCKER = "41 31 0:38 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"


@pytest.mark.parametrize(
    ("groups", "mounts", "files", "left_bytes"),
    [
        (_V1, _MOUNTS, {"memory/slurm/job_7/memory.limit_in_bytes": "2000"}, 2000),
        (_V1, _MOUNTS, {"memory/slurm/job_7/step_0/memory.limit_in_bytes": "2000"}, 2000),
        (_V1, _MOUNTS, {"memory/memory.limit_in_bytes": "9223372036854771712"}, None),
        (_V1, _MOUNTS, {"cpu/slurm/job_7/memory.limit_in_bytes": "2000"}, None),
        (_V1, _MOUNTS, {"memory/elsewhere/memory.limit_in_bytes": "2000"}, None),
        (
            _V1,
            _MOUNTS,
            {
                "memory/slurm/job_7/memory.limit_in_bytes": "2000",
                "memory/slurm/job_7/memory.usage_in_bytes": "1500",
                "memory/slurm/job_7/memory.stat": "total_inactive_file 300\ntotal_active_file 100\ncache 5",
            },
            900,
        ),
        (
            _V2,
            _MOUNTS_V2,
            {"user.slice/memory.max": "3000", "user.slice/run-7.scope/memory.max": "max"},
            3000,
        ),
        (
            _V2,
            _MOUNTS_V2,
            {"user.slice/memory.max": "9000", "user.slice/run-7.scope/memory.max": "3000"},
            3000,
        ),
        (_V2, _MOUNTS_V2, {"user.slice/run-7.scope/deep/memory.high": "3000"}, 3000),
        (
            _V2,
            _MOUNTS_V2,
            {
                "user.slice/memory.max": "3000",
                "user.slice/memory.current": "2500",
                "user.slice/memory.stat": "anon 5\ninactive_file 100\nactive_file 200",
            },
            800,
        ),
        (_V2, _MOUNTS_V2, {"user.slice/memory.max": "100", "user.slice/memory.current": "5000"}, 0),
        ("0::/docker/abc/app\n", _IN_DOCKER, {"app/memory.max": "max", "memory.max": "3000"}, 3000),
        ("0::/\n", _IN_DOCKER, {"memory.max": "3000"}, 3000),
        ("0::/../../other\n", _MOUNTS_V2, {"memory.max": "3000"}, 3000),
        ("", "", {}, None),
    ],
)
def test_every_groups_limit_is_seen(
    tmp_path: Path, groups: str, mounts: str, files: dict[str, str], left_bytes: int | None
) -> None:
    """The tightest of the limits of this process's group and of all above it counts, of version 1 or 2 of
    control groups; caches of files do not count as used; a group that this process is not in does not count.
    """
    free = 1 << 40
    process = tmp_path / "proc" / "self"
    process.mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text(f"MemFree: 1 kB\nMemAvailable: {free >> 10} kB\n")
    (process / "cgroup").write_text(groups)
    (process / "mountinfo").write_text(mounts)
    for name, text in files.items():
        (tmp_path / "sys/fs/cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sys/fs/cgroup" / name).write_text(text + "\n")
    assert free_memory_bytes(str(tmp_path)) == (free if left_bytes is None else left_bytes)


def test_the_default_leaves_room_for_others() -> None:
    """The default memory is a part of what is free, which is a part of what there is."""
    assert 0 < default_memory_bytes() < available_memory_bytes() * 1.05
    assert cores() >= 1


def test_the_cpu_is_always_there() -> None:
    """The cpu can be asked for anywhere; auto finds some device."""
    assert choose_device("cpu") == "cpu" and choose_device("auto") in ("cpu", "cuda")


@pytest.mark.parametrize(
    ("flags", "chosen"), [("fpu avx2", "float32"), ("avx512_bf16", "bfloat16"), ("amx_bf16 sse", "bfloat16")]
)
def test_precision_follows_the_processor(flags: str, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16 only where the processor has instructions for it."""
    monkeypatch.setattr(Path, "read_text", lambda self: f"flags : {flags}")
    assert cpu_precision() == chosen


def test_local_workers_share_a_gpu_and_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker a core where models run on the CPU, one in all where they share a GPU; memory is bounded."""
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.setattr(machine, "available_memory_bytes", lambda: 1000)
    assert local_share("cpu") == {"here": 8, "memory_bytes": 1000}
    assert local_share("cuda") == {"here": 1, "memory_bytes": 1000}


def test_a_head_without_a_gpu_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a cluster's address "cuda" is taken at its word, and "auto" on a machine without GPU tells how to
    use the cluster's; without one nothing is said, and "cuda" is refused.
    """
    monkeypatch.setattr(machine, "_has_gpu_driver", lambda: False)
    said: list[str] = []
    assert choose_device_at("cuda", "head:6379", said.append) == "cuda"
    assert choose_device_at("auto", None, said.append) == "cpu" and said == []
    assert choose_device_at("auto", "head:6379", said.append) == "cpu"
    assert "no GPU" in said[0] and "--device cuda" in said[0]
