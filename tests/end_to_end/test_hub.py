"""A merge of Hub models: planned from headers, fetched when it runs, repeated offline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.helpers.hub import HubServer, Repository
from tests.helpers.merging import merge, weight_bytes
from tests.helpers.models import write_family

ROOT = Path(__file__).parents[2]


def mergescale(
    home: Path, endpoint: str, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The command in a fresh process that knows only this Hub: huggingface_hub reads its environment once."""
    surroundings = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), **environment}
    command = [sys.executable, "-m", "evals", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=surroundings, cwd=ROOT)


def test_hub_models_merge_like_local_ones(tmp_path: Path) -> None:
    """Planning downloads no weights; merging gives the bytes of local copies; the second time no network is
    needed.
    """
    base, experts = write_family(tmp_path / "models", experts=2, dtype="bfloat16", vocab=8192, hidden=64)
    repositories = {
        f"acme/{path.name.replace('_', '-')}": Repository(path, f"{number:x}" * 40)
        for number, path in enumerate([base, *experts], 1)
    }
    names = list(repositories)
    config = {
        "merge_method": "ties",
        "base_model": names[0],
        "models": [
            {"model": f"{name}@main", "parameters": {"weight": 1.0, "density": 0.3}} for name in names[1:]
        ],
    }
    file, home, out = tmp_path / "hub.json", tmp_path / "home", str(tmp_path / "out")
    file.write_text(json.dumps(config))
    with HubServer(repositories) as hub:
        planned = mergescale(home, hub.url, "plan", str(file), "--json")
        assert planned.returncode == 0, planned.stderr
        weights = sum((path / "model.safetensors").stat().st_size for path in (base, *experts))
        assert sum(hub.sent_bytes.values()) < weights / 2, "planning reads headers, not weights"
        merged = mergescale(home, hub.url, "merge", str(file), out, "--device", "cpu")
        assert merged.returncode == 0, merged.stderr
    again = mergescale(home, "http://127.0.0.1:9", "merge", str(file), out, "--fresh", HF_HUB_OFFLINE="1")
    assert again.returncode == 0, again.stderr
    for entry, path in zip(config["models"], experts, strict=True):
        entry["model"] = str(path)  # type: ignore[index]  # a plain dict
    file.write_text(json.dumps({**config, "base_model": str(base)}))
    merge(file, tmp_path / "local")
    assert weight_bytes(tmp_path / "out") == weight_bytes(tmp_path / "local")
