"""What lies beside the weights is written before any unit runs: nothing of it can fail after the work."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pipeline import run as running
from pipeline.checkpoint.commit import verify
from pipeline.errors import CheckpointError, OutputError
from pipeline.output import absolute
from pipeline.status import describe, merge_status
from pipeline.work_directory import work_directory
from tests.helpers.crash import killed_at
from tests.helpers.merging import (
    merge_into_files,
    small_tiles,
    weight_bytes,
    write_config,
)
from tests.helpers.models import write_family

_LONG = "v" * 251 + ".txt"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base with a tokenizer, a template in a folder and a file of the longest name there can be."""
    base, _ = write_family(tmp_path / "models", experts=2, dtype="bfloat16", tokenizer=True)
    (base / "additional_chat_templates").mkdir()
    (base / "additional_chat_templates" / "tool.jinja").write_text("{{ tools }}")
    (base / _LONG).write_text("x")
    return base


@pytest.fixture
def config(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A TIES merge in several files."""
    small_tiles(monkeypatch, unit_bytes=2000)
    experts = [base.parent / name for name in ("expert_0", "expert_1")]
    return write_config(tmp_path / "merge.json", "ties", base, experts)


def test_companions_may_go_once_the_work_has_begun(
    base: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tokenizer that somebody removes or rewrites while units run is in the model as it was planned."""
    original, planned = running._measure_and_merge, (base / "tokenizer.json").read_bytes()

    def measure_and_merge(run: running._Run) -> None:
        (base / "tokenizer.json").unlink()
        (base / "additional_chat_templates" / "tool.jinja").write_text("another")
        original(run)

    monkeypatch.setattr(running, "_measure_and_merge", measure_and_merge)
    merge_into_files(config, tmp_path / "out")
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == planned
    assert (tmp_path / "out" / "additional_chat_templates" / "tool.jinja").read_text() == "{{ tools }}"
    verify(tmp_path / "out")


def test_a_companion_that_changed_since_planning_stops_the_merge_before_its_work(
    base: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No unit runs and no work directory stays where a companion is not the one that was planned."""
    original = running.check_outputs

    def check_outputs(*given: object) -> object:
        (base / "tokenizer.json").write_text("{}")
        return original(*given)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(running, "check_outputs", check_outputs)
    monkeypatch.setattr(running, "_measure_and_merge", lambda run: pytest.fail("work was begun"))
    with pytest.raises(CheckpointError, match="changed since the merge was planned"):
        merge_into_files(config, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not work_directory(tmp_path / "out").exists()


def test_a_merge_killed_while_it_writes_companions_resumes(config: Path, tmp_path: Path) -> None:
    """Killed before any of the renames that put a file in its place, whatever the length of its name, the
    same command finishes with the same bytes and leaves nothing else.
    """
    merge_into_files(config, tmp_path / "whole")
    wanted = {
        path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*") if path.is_file()
    }
    call = 1
    while killed_at("os:replace", call, lambda out=tmp_path / f"out{call}": merge_into_files(config, out)):  # type: ignore[misc]
        out = tmp_path / f"out{call}"
        merge_into_files(config, out)
        assert {path.relative_to(out) for path in out.rglob("*") if path.is_file()} == wanted
        assert weight_bytes(out) == weight_bytes(tmp_path / "whole")
        verify(out)
        assert not work_directory(out).exists()
        call += 1
    assert call > len(wanted) - len(weight_bytes(out))


def test_places_that_are_not_utf8_hold_whole_merges(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An output, or a current directory, whose name is no UTF-8 is like any other: the same model, proven,
    with a status that can be printed and a record that is UTF-8.
    """
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/odd-\xff"))
    odd.mkdir()
    merge_into_files(config, tmp_path / "whole")
    monkeypatch.chdir(odd)
    for place in (Path("out"), odd / "second", Path(os.fsdecode(b"third-\xfe"))):
        merge_into_files(config, place)
        verify(place)
        assert weight_bytes(place) == weight_bytes(tmp_path / "whole")
        described = merge_status(place)
        assert describe(described) and json.dumps(described).encode("utf-8")
        (place / "mergescale_manifest.json").read_text(encoding="utf-8")


def test_an_output_name_too_long_for_its_work_directory_is_refused_first(tmp_path: Path) -> None:
    """244 bytes fit beside `.mergescale`; more are refused before anything is looked at or written."""
    absolute(tmp_path / ("ü" * 122))
    with pytest.raises(OutputError, match="name is too long"):
        absolute(tmp_path / ("ü" * 122 + "x"))
