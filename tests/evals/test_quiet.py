"""What libraries say beside the work: held back, in a process of its own as a worker is."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

_WORK = """
import sys
from pathlib import Path
from evals.harness import evaluate_model
from evals.setting import Setting
from evals.suites import load_suite, locate_data
from pipeline.errors import InputError

home = Path(sys.argv[1])
tasks = locate_data(load_suite(home / "toy.yaml")).tasks[:1]
for step in ("model", "data"):
    try:
        evaluate_model(home / "base", tasks, Setting())
    except InputError as error:
        print(type(error).__name__)
    (home / "data" / "test.jsonl").write_text("no json")
"""


def test_libraries_say_nothing_of_what_our_errors_say(home: Path, tmp_path: Path) -> None:
    """A model without a tensor and rows that are no JSON are errors of ours, and nothing else is written."""
    own = shutil.copytree(home, tmp_path / "own")
    weights = load_file(own / "base" / "model.safetensors")
    weights.pop("model.norm.weight")
    save_file(weights, own / "base" / "model.safetensors", metadata={"format": "pt"})
    done = subprocess.run([sys.executable, "-c", _WORK, str(own)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["CheckpointError", "ConfigError"]
    assert done.stderr == ""
