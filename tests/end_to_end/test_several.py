"""Several merges in one file, through the command line: where they go, what is said, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers.merging import weight_bytes
from tests.helpers.shell import Run, Shell, shell

__all__ = ["shell"]

MODELS = "synthetic:hidden=64,mlp=96,layers=2,kv=16,vocab=100"


def document(name: str | None, method: str = "ties", **parameters: Any) -> dict[str, Any]:
    """One merge of three synthetic experts."""
    models = [{"model": f"{MODELS}/expert{k}", "parameters": {"weight": 1.0}} for k in range(3)]
    found = {"merge_method": method, "models": models, "parameters": parameters}
    if method != "linear":
        found["base_model"] = f"{MODELS}/base"
    return found if name is None else {"name": name, **found}


def merged(shell: Shell, out: str, *documents: dict[str, Any], flags: tuple[str, ...] = ()) -> Run:
    """Merge all of them in one command."""
    Path("merges.yaml").write_text(yaml.safe_dump_all(documents))
    return shell("merge", "merges.yaml", out, "--no-progress", *flags)


def test_each_document_is_a_model_of_its_own(shell: Shell) -> None:
    """Every named document becomes OUT/name with the bytes it has from a file of its own; all are said, and
    the second time there is nothing to do.
    """
    documents = [document("sparse", density=0.2), document("mean", "linear")]
    run = merged(shell, "both", *documents)
    assert (run.code, run.out) == (0, "both/sparse\nboth/mean\n"), run.err
    assert "both/sparse: " in run.err and "both/mean: " in run.err
    for name, alone in (("sparse", document(None, density=0.2)), ("mean", document(None, "linear"))):
        assert merged(shell, f"{name}-alone", alone).code == 0
        assert weight_bytes(Path("both", name)) == weight_bytes(Path(f"{name}-alone"))
    assert "done already" in merged(shell, "both", *documents).err


def test_the_plan_says_what_is_shared(shell: Shell) -> None:
    """`plan` names every merge and what they read together, which is less than one after another."""
    Path("merges.yaml").write_text(
        yaml.safe_dump_all([document("a", density=0.2), document("b", density=0.4)])
    )
    found = json.loads(shell("plan", "merges.yaml", "--json").out)
    assert set(found["merges"]) == {"a", "b"}
    alone = [merge["read_bytes"] for merge in found["merges"].values()]
    assert found["together"]["read_bytes"] == alone[0] == alone[1]
    assert "together    2 models" in shell("plan", "merges.yaml").out


def test_trials_of_several(shell: Shell) -> None:
    """discard:DIR keeps a record for each merge below DIR."""
    run = merged(shell, "discard:trial", document("a", density=0.2), document("b", density=0.4))
    assert (run.code, run.out) == (0, "trial/a\ntrial/b\n")
    assert sorted(path.name for path in Path("trial").iterdir()) == ["a", "b"]


@pytest.mark.parametrize(
    ("documents", "what"),
    [
        ([document("a"), document(None)], "a merge without a name among several"),
        ([document("a"), document("A")], 'the name "A" is given twice'),
        ([document("a"), document("a.mergescale")], "not a name for a model's directory"),
        ([document("a"), document(".a.replaced")], "not a name for a model's directory"),
        (
            [document("a"), {**document("b"), "base_model": "a"}],
            '"a" is the result of another merge in this file',
        ),
    ],
)
def test_merges_that_cannot_share_a_file(shell: Shell, documents: list[dict[str, Any]], what: str) -> None:
    """Merges that cannot be told apart, or that take each other's results, are refused before any work."""
    run = merged(shell, "out", *documents)
    assert run.code == 2 and what in run.err and "merges.yaml" in run.err
    assert not Path("out").exists()


def test_several_models_do_not_go_into_a_model(shell: Shell) -> None:
    """An OUT that is a merge already is refused, and stays what it was."""
    assert merged(shell, "out", document(None)).code == 0
    before = weight_bytes(Path("out"))
    run = merged(shell, "out", document("a"), document("b"))
    assert run.code == 2 and "several models cannot lie in it" in run.err
    assert weight_bytes(Path("out")) == before


def test_status_and_verify_see_each_of_several(shell: Shell) -> None:
    """`status` and `verify` of the directory that several merges went into are about each of them, begun ones
    too.
    """
    assert merged(shell, "both", document("a", density=0.2), document("b", density=0.4)).code == 0
    found = json.loads(shell("status", "both", "--json").out)
    assert [(each["out"], each["state"]) for each in found] == [
        ("both/a", "complete"),
        ("both/b", "complete"),
    ]
    assert len(shell("verify", "both").out.splitlines()) == 2
    Path("both/b").rename("elsewhere")
    work = Path("both/b.mergescale")
    work.mkdir()
    kept = {
        "fingerprint": "f",
        "method": "ties",
        "input_files": [],
        "units": 4,
        "write_bytes": 8,
        "unit_ids": [],
    }
    (work / "plan.json").write_text(json.dumps(kept))
    states = [each["state"] for each in json.loads(shell("status", "both", "--json").out)]
    assert states == ["complete", "interrupted"]


def test_a_document_is_named_where_it_is_wrong(shell: Shell) -> None:
    """What planning finds in one of several documents is said of that document."""
    wrong = document("b")
    wrong["models"][1]["model"] = f"{MODELS}/nothing"
    run = merged(shell, "out", document("a"), wrong)
    assert run.code == 2
    run = merged(shell, "out", document("a"), document("b", densty=0.1))
    assert "merges.yaml, document 2: parameters.densty" in run.err
