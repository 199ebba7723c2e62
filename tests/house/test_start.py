"""How the house opens: every module alone, help without heavy imports, configs that plan, a README that is
true.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from evals.app import COMMANDS
from pipeline.config.load import load_config
from pipeline.methods import CATALOGUE, load_method
from pipeline.plan.build import plan_merge
from tests.helpers.models import write_model

ROOT = Path(__file__).parents[2]
MERGE_CONFIGS = sorted((ROOT / "configs" / "merge").glob("*.yaml")) + sorted(
    (ROOT / "configs" / "demo").glob("merge-*.yaml")
)


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter, warnings as errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT
    )


def test_every_module_imports() -> None:
    """Every module can be imported: all names it asks of others are there. That any may come first follows
    from `test_doors.py::test_no_module_needs_itself_to_be_imported`.
    """
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for wing in ("pipeline", "cluster", "evals")
        for path in sorted((ROOT / wing).rglob("*.py"))
        if path.name not in ("__init__.py", "__main__.py")
    ]
    code = f"import importlib\nfor module in {modules!r}:\n    importlib.import_module(module)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_help_and_planning_need_neither_torch_nor_ray() -> None:
    """Help of every command, and planning itself, load no heavy library."""
    code = f"""
import sys
from click.testing import CliRunner
from evals.app import app
for command in [[], *([name] for name in {list(COMMANDS)!r})]:
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0, (command, result.output)
    assert "Example:" in result.output, (command, "no example")
import pipeline.plan.build, pipeline.config.load
from pipeline.methods import CATALOGUE, load_method
for name in CATALOGUE:
    load_method(name)
heavy = [name for name in ("torch", "ray", "transformers", "lm_eval", "datasets") if name in sys.modules]
assert not heavy, heavy
"""
    done = python(code)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_process_ends_with_its_code_once_all_is_said_and_done() -> None:
    """Threads end, exit functions run, output is written, the code stays; modules are not taken apart."""
    done = python("""
import atexit, sys, threading, time
from evals import app
class Kept:
    def __del__(self): print("taken apart")
kept = Kept()
def main():
    atexit.register(sys.stdout.write, "goodbye")
    threading.Thread(target=lambda: (time.sleep(0.2), sys.stdout.write("thread "))).start()
    sys.exit(3)
app.main = main
app.run()
""")
    assert (done.returncode, done.stdout, done.stderr) == (3, "thread goodbye", "")


@pytest.mark.parametrize("path", MERGE_CONFIGS, ids=lambda path: path.stem)
def test_shipped_merge_configs_plan(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every merge config that we ship loads strictly and plans against models of one shape."""
    monkeypatch.chdir(tmp_path)
    config = load_config(path)
    named = {str(entry.model) for entry in config.models} | (
        {str(config.base_model)} if config.base_model else set()
    )
    for name in named:
        write_model(tmp_path / name)
    plan = plan_merge(config)
    assert plan.tensors and plan.units
    assert path.read_text().startswith("#"), "opens with what it is for and what it costs"


def test_catalogue_entries_are_named_by_their_keys() -> None:
    """A method's own name is the one the catalogue lists it under."""
    assert all(load_method(name).name == name for name in CATALOGUE)


def test_readme_names_commands_and_targets_that_exist() -> None:
    """Every `mergescale X` and `make X` in README and docs exists, and the README stays short."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = path.read_text()
        for block in re.findall(r"```(?:console|bash|sh)?\n(.*?)```", text, re.DOTALL):
            for command in re.findall(r"(?:^|\s|/)mergescale ([a-z]+)", block):
                assert command in COMMANDS, f"{path.name}: mergescale {command}"
            for target in re.findall(r"^\$? ?make ([a-z-]+)", block, re.MULTILINE):
                assert target in targets, f"{path.name}: make {target}"
    assert (ROOT / "README.md").read_text().count("\n") <= 200


def test_versions_agree() -> None:
    """The version is written once, in pyproject, and the changelog knows it."""
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version and f"## {version[1]}" in (ROOT / "CHANGELOG.md").read_text()
