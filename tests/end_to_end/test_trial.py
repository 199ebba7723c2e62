"""Trying a merge before anything is moved: models by name, weights digested and dropped."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.checkpoint.manifest import DISCARDED_NAME, MANIFEST_NAME
from tests.helpers.shell import Run, Shell, shell

__all__ = ["shell"]

MODELS = "synthetic:hidden=64,mlp=96,layers=2,kv=16,vocab=100"


def merged(shell: Shell, out: str, density: float = 0.2) -> Run:
    """A TIES merge of three synthetic experts."""
    config = {
        "merge_method": "ties",
        "base_model": f"{MODELS}/base",
        "models": [{"model": f"{MODELS}/expert{k}", "parameters": {"weight": 1.0}} for k in range(3)],
        "parameters": {"density": density},
    }
    Path("merge.json").write_text(json.dumps(config))
    return shell("merge", "merge.json", out, "--no-progress", "--workers", "2")


def test_a_trial_reads_and_merges_all_and_writes_no_weights(shell: Shell) -> None:
    """A trial's record has the files a merge would have, under a fingerprint of its own, and stands alone."""
    assert merged(shell, "out").code == 0
    assert merged(shell, "discard:trial").out == "trial\n"
    assert [path.name for path in Path("trial").iterdir()] == [DISCARDED_NAME]
    kept = json.loads(Path("out", MANIFEST_NAME).read_text())
    tried = json.loads(Path("trial", DISCARDED_NAME).read_text())
    assert tried["fingerprint"] != kept["fingerprint"]
    weights = [file for file in kept["outputs"] if file["name"].endswith(".safetensors")]
    assert [(file["name"], file["size_bytes"]) for file in tried["outputs"]] == [
        (file["name"], file["size_bytes"]) for file in weights
    ]
    read = [sum(unit["read_bytes"] for unit in record["timings"]["units"]) for record in (kept, tried)]
    assert read[0] == read[1] > 0


def test_a_trials_digests_say_what_was_merged(shell: Shell) -> None:
    """The same trial gives the same digests wherever it runs; another density gives others."""
    for place, density in (("one", 0.2), ("two", 0.2), ("three", 0.3)):
        assert merged(shell, f"discard:{place}", density).code == 0
    digests = [
        json.loads(Path(place, DISCARDED_NAME).read_text())["weights_digest"]
        for place in ("one", "two", "three")
    ]
    assert digests[0] == digests[1] != digests[2]


def test_a_trial_is_done_once_and_told_apart(shell: Shell) -> None:
    """Asked for twice it is done already; another merge there is refused; it is complete, and no model."""
    assert merged(shell, "discard:trial").code == 0
    assert "done already" in merged(shell, "discard:trial").err
    refused = merged(shell, "discard:trial", 0.3)
    assert refused.code == 2 and "another merge" in refused.err
    assert "weights discarded" in shell("status", "trial").out
    verified = shell("verify", "trial")
    assert verified.code == 2 and "this was a trial merge" in verified.err
