"""Merges that hold NaN or Inf, through the command line: what is said, kept, shown and refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.ledger import Ledger, read_ledger
from pipeline.checkpoint.commit import verify
from pipeline.checkpoint.manifest import MANIFEST_NAME, read_manifest
from pipeline.staging import work_directory
from tests.helpers.broken import spoil
from tests.helpers.crash import killed_at
from tests.helpers.merging import merge, plan, tensors, write_config
from tests.helpers.models import write_family, write_model
from tests.helpers.shell import Run, Shell, shell

__all__ = ["shell"]

UP, NORM = "model.layers.1.mlp.up_proj.weight", "model.norm.weight"


@pytest.fixture
def family(tmp_path: Path) -> tuple[Path, list[Path]]:
    """A clean base and two experts in fp16."""
    return write_family(tmp_path / "models", experts=2, dtype="float16")


def merged(shell: Shell, config: Path, out: str, *flags: str) -> Run:
    """One merge through the command line."""
    return shell("merge", config, out, "--no-progress", "--workers", "2", *flags)


def warnings(run: Run) -> list[str]:
    """What a command warned of."""
    return [line for line in run.err.splitlines() if line.startswith("warning: ")]


def test_a_nan_is_said_with_tensor_and_model(family: tuple[Path, list[Path]], shell: Shell) -> None:
    """A NaN of an expert is warned of with the tensor, the count and the expert, when the model is merged and
    when it is done already; status says it too, and verify has nothing against the model.
    """
    base, experts = family
    spoil(experts[1], UP, {5: float("nan"), 9: float("inf")})
    config = write_config(Path("merge.json"), "task_arithmetic", base, experts)
    said = f'tensor "{UP}": 2 elements are NaN or infinite, first in model "{experts[1]}"'
    for _ in range(2):
        run = merged(shell, config, "out")
        assert run.code == 0 and warnings(run) == [f"warning: out: {said}"], run.err
    assert said in shell("status", "out").out
    status = json.loads(shell("status", "out", "--json").out)
    assert [(one["tensor"], one["count"], one["overflowed"]) for one in status["nonfinite"]] == [(UP, 2, 0)]
    assert shell("verify", "out").code == 0


@pytest.mark.parametrize(
    ("types", "named"),
    [({}, "float16"), ({"dtype": "float16", "out_dtype": "float32"}, "float16"),
     ({"dtype": "float32", "out_dtype": "float16"}, "float16")],
)  # fmt: skip
def test_an_overflow_is_said_with_the_type(
    family: tuple[Path, list[Path]], shell: Shell, types: dict[str, Any], named: str
) -> None:
    """Finite halves whose merge is beyond their range are warned of with the type that overflowed, the
    arithmetic's or the output's, and in a wider type nothing is.
    """
    base, experts = family
    for model, value in zip((base, *experts), (40000.0, 60000.0, 60000.0), strict=True):
        spoil(model, NORM, {0: value})
    config = write_config(
        Path("merge.json"), "task_arithmetic", base, experts, parameters={"lambda": 2.0}, **types
    )
    run = merged(shell, config, "out")
    assert run.code == 0
    assert warnings(run) == [
        f'warning: out: tensor "{NORM}": 1 element is NaN or infinite; finite inputs overflow {named}: '
        "give a wider type or smaller weights"
    ]
    wide = write_config(
        Path("wide.json"), "task_arithmetic", base, experts,
        parameters={"lambda": 2.0}, dtype="float32", out_dtype="float32",
    )  # fmt: skip
    assert warnings(merged(shell, wide, "wide")) == [] == warnings(merged(shell, wide, "discard:tried"))
    assert read_manifest(Path("wide")).nonfinite == ()


def test_both_causes_in_one_tensor_are_told_apart(family: tuple[Path, list[Path]], shell: Shell) -> None:
    """Where a tensor has elements of either kind, the line says how many of them overflowed."""
    base, experts = family
    for model, value in zip((base, *experts), (40000.0, 60000.0, 60000.0), strict=True):
        spoil(model, NORM, {0: value})
    spoil(experts[0], NORM, {3: float("nan")})
    config = write_config(Path("merge.json"), "task_arithmetic", base, experts, parameters={"lambda": 2.0})
    (line,) = warnings(merged(shell, config, "discard:out"))
    assert (
        f'2 elements are NaN or infinite, first in model "{experts[0]}"; in 1 of them finite inputs' in line
    )


def test_many_tensors_are_said_in_few_lines(family: tuple[Path, list[Path]], shell: Shell) -> None:
    """Five tensors are named and the rest is counted; the manifest has them all, in the model's order."""
    base, experts = family
    names = list(tensors(base))
    for name in names:
        spoil(base, name, {0: float("inf")})
    config = write_config(Path("merge.json"), "task_arithmetic", base, experts)
    lines = warnings(merged(shell, config, "out"))
    more = len(names) - 5
    assert len(lines) == 6 and lines[5] == f"warning: out: and {more} more tensors, {more} elements in all"
    found = read_manifest(Path("out")).nonfinite
    assert found is not None and [one.tensor for one in found] == [
        tensor.spec.name for tensor in plan(config).tensors
    ]


def test_strict_publishes_nothing_and_keeps_the_work(family: tuple[Path, list[Path]], shell: Shell) -> None:
    """With --strict the merge fails with the tensor and its cause and OUT stays absent; the same command
    without it publishes what was merged, and nothing is merged again. Done already is no excuse.
    """
    base, experts = family
    spoil(experts[0], UP, {5: float("nan")})
    config = write_config(Path("merge.json"), "ties", base, experts)
    for _ in range(2):
        run = merged(shell, config, "out", "--strict")
        assert run.code == 1 and UP in run.err and str(experts[0]) in run.err and "--strict" in run.err
        assert not Path("out").exists()
    ledger = work_directory(Path("out").absolute()) / "receipts.jsonl"
    done = read_ledger(ledger)
    assert json.loads(shell("status", "out", "--json").out)["nonfinite_so_far"] == {UP: 1}
    assert "NaN or infinite" in shell("status", "out").out

    def resumed() -> None:
        merge(config, Path("out"), shard_size_bytes=5 * 10**9)

    assert not killed_at("cluster.ledger:Ledger.append", 1, resumed), "nothing is merged again"
    assert done and read_manifest(Path("out")).nonfinite
    again = merged(shell, config, "out", "--strict")
    assert again.code == 1 and UP in again.err
    assert merged(shell, config, "out").code == 0


def test_strict_lets_clean_merges_pass(family: tuple[Path, list[Path]], shell: Shell) -> None:
    """Of several merges in one file --strict publishes those that are finite and names the others."""
    base, experts = family
    broken = write_model(Path("broken"), base=base, seed=9, dtype="float16")
    spoil(broken, UP, {1: float("inf")})
    documents = [
        {"name": name, **json.loads(write_config(Path("one.json"), "ties", base, models).read_text())}
        for name, models in (("bad", [experts[0], broken]), ("good", experts))
    ]
    config = Path("merges.yaml")
    config.write_text("\n---\n".join(json.dumps(document) for document in documents))
    run = merged(shell, config, "out", "--strict")
    assert run.code == 1 and "out/bad" in run.err and "out/good" not in run.err
    assert not Path("out/bad").exists()
    verify(Path("out/good"))
    run = merged(shell, config, "out")
    assert run.code == 0 and [line.split(": ")[1] for line in warnings(run)] == ["out/bad"]


def test_receipts_that_do_not_count_are_not_trusted(family: tuple[Path, list[Path]], shell: Shell) -> None:
    """A merge begun by a version that counted nothing is finished with every count: its units run again."""
    base, experts = family
    spoil(experts[0], UP, {5: float("nan")})
    config = write_config(Path("merge.json"), "ties", base, experts)
    for out in (Path("out"), Path("discard:tried")):
        place = Path(str(out).removeprefix("discard:")).absolute()
        assert merged(shell, config, str(out), "--strict").code == 1
        ledger = work_directory(place) / "receipts.jsonl"
        receipts = read_ledger(ledger)
        first = json.loads(ledger.read_text().splitlines()[0])["fingerprint"]
        ledger.unlink()
        with Ledger.open(ledger, first) as opened:
            for unit, receipt in receipts.items():
                opened.append(unit, {key: value for key, value in receipt.items() if key != "nonfinite"})
        run = merged(shell, config, str(out))
        assert run.code == 0 and len(warnings(run)) == 1 and UP in run.err


def test_a_manifest_of_an_earlier_version_is_read(family: tuple[Path, list[Path]], shell: Shell) -> None:
    """Without the field a manifest is read, verified and shown; --strict does not take it for finite."""
    config = write_config(Path("merge.json"), "ties", *family)
    assert merged(shell, config, "out").code == 0 and merged(shell, config, "out", "--strict").code == 0
    path = Path("out", MANIFEST_NAME)
    content = json.loads(path.read_text())
    assert content.pop("nonfinite") == []
    path.write_text(json.dumps(content))
    assert read_manifest(Path("out")).nonfinite is None
    assert shell("verify", "out").code == 0 and shell("status", "out").code == 0
    assert merged(shell, config, "out").code == 0
    run = merged(shell, config, "out", "--strict")
    assert run.code == 1 and "--fresh" in run.err
