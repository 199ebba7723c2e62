"""Machine code that is kept belongs to its sources."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from pipeline.kernels.fused import compiling


def test_code_of_other_sources_is_not_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change in any of the files that loops are made of leads to another place, and back again."""
    sources = [tmp_path / name for name in ("loops.py", "keys.py")]
    for source in sources:
        source.write_text("one")
    monkeypatch.setattr(compiling, "_SOURCES", sources)
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "kept"))
    before = compiling._kept_in()
    sources[1].write_text("two")
    after = compiling._kept_in()
    sources[1].write_text("one")
    assert compiling._kept_in() == before != after
    assert Path(before).parent == Path(after).parent == tmp_path / "kept"


def test_loops_are_made_of_all_files_of_the_kernels() -> None:
    """Compiled loops import nothing of ours that is not counted among their sources."""
    counted = {source.resolve() for source in compiling._SOURCES}
    for source in compiling._HERE.glob("*.py"):
        for line in source.read_text().splitlines():
            if line.startswith("from pipeline."):
                name = line.split()[1]
                assert name.startswith("pipeline.kernels.")
                file = compiling._HERE.parents[2].joinpath(*name.split(".")).with_suffix(".py")
                assert file.resolve() in counted or file.with_suffix("").is_dir()


def test_where_nothing_can_be_kept_loops_are_still_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A place that is a file, not a directory, is passed over; a loop runs without a cache."""
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "file"))
    monkeypatch.setattr(compiling, "_KEPT_IN", compiling._kept_in())
    assert compiling._KEPT_IN == ""

    def twice(number: int) -> int:
        return 2 * number

    assert compiling.compiled(twice)(21) == 42


@pytest.mark.parametrize(
    "damage", [b"", b"\x00" * 50, b"\x80\x05half of a pickle"], ids=["emptied", "zeros", "cut"]
)
@pytest.mark.parametrize("kind", ["nbi", "nbc"])
def test_damaged_code_is_made_anew(tmp_path: Path, damage: bytes, kind: str) -> None:
    """Kept machine code that a full disk cut short is compiled again and replaced, in every later process."""
    (tmp_path / "loop.py").write_text(
        "import numba, sys\n"
        "from pipeline.kernels.fused import compiling\n"
        "compiling._KEPT_IN = sys.argv[1]\n"
        "@compiling.compiled\n"
        "def twice(number): return 2 * number\n"
        "print(twice(21), len(twice.stats.cache_hits))\n"
    )

    def run() -> str:
        command = [sys.executable, str(tmp_path / "loop.py"), str(tmp_path / "kept")]
        environment = os.environ | {"PYTHONPATH": str(compiling._HERE.parents[2])}
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    assert run().split()[0] == "42"
    damaged = list((tmp_path / "kept").rglob(f"*.{kind}"))
    assert damaged
    for file in damaged:
        file.write_bytes(damage)
    assert run() == "42 0\n"
    assert run() == "42 1\n"
