"""Runs configs through the real mergekit 0.1.5, in its own Python environment. Loads nothing of ours there.

`MERGESCALE_PEERS_PYTHON` names that environment's Python; `make test-peers` builds it and sets the variable.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

VARIABLE = "MERGESCALE_PEERS_PYTHON"

# The program's own entry point, called once a config: its imports take longer than a hundred tiny merges.
_SCRIPT = """
import sys
from mergekit.scripts.run_yaml import main
for config, out in zip(sys.argv[1::2], sys.argv[2::2]):
    main([config, out, "--quiet", "--no-copy-tokenizer"], standalone_mode=False)
"""


def peer_python() -> str:
    """The peers' Python; skips the test where there is none."""
    python = os.environ.get(VARIABLE)
    if python is None:
        pytest.skip(f"{VARIABLE} is not set: run `make test-peers`")
    return python


def run_mergekit(configs: Mapping[Path, Path]) -> None:
    """Merge each config file into its output directory. Fails with the program's output."""
    arguments = [str(path) for pair in configs.items() for path in pair]
    done = subprocess.run(
        [peer_python(), "-c", _SCRIPT, *arguments],
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
