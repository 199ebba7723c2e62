"""Sizes in words, and what the machine offers."""

from __future__ import annotations

from pathlib import Path

import pytest

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


@pytest.mark.parametrize("text", ["", "four", "-1GB", "0", "4XB", "1e9", "4 Gi B B"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """Anything else is an error that quotes it."""
    with pytest.raises(InputError) as caught:
        parse_bytes(text)
    assert repr(text) in caught.value.found


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
