"""How the house reads: sizes, docstrings, types, and tests that say what they prove."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.house.sources import ROOT, parsed

CODE = sorted(path for wing in ("pipeline", "cluster", "evals") for path in (ROOT / wing).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
BENCHMARKS = sorted((ROOT / "benchmarks").rglob("*.py"))
MAX_FILE, MAX_FUNCTION = 300, 50
#: Larger than the rule, each with the reason why it is better whole.
LARGER_FILES: dict[str, str] = {}
LARGER_FUNCTIONS: dict[str, str] = {}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def relative(path: Path) -> str:
    """A file's path inside the repository."""
    return str(path.relative_to(ROOT))


def functions(path: Path) -> list[Function]:
    """Every function and method in a file."""
    return [node for node in ast.walk(parsed(path)) if isinstance(node, Function)]


def test_size() -> None:
    """Files stay under 300 lines and functions under 50, or stand in the list with a reason."""
    wrong = []
    for path in CODE + TESTS + BENCHMARKS:
        lines = path.read_text().count("\n")
        if lines > MAX_FILE and relative(path) not in LARGER_FILES:
            wrong.append(f"{relative(path)} has {lines} lines")
        for function in functions(path):
            length = (function.end_lineno or 0) - function.lineno + 1
            name = f"{relative(path)}:{function.name}"
            if length > MAX_FUNCTION and name not in LARGER_FUNCTIONS:
                wrong.append(f"{name} has {length} lines")
    assert not wrong, "\n".join(wrong)


def test_modules_say_what_they_are_for() -> None:
    """Every module opens with a docstring of more than a word."""
    paths = CODE + TESTS + BENCHMARKS
    wrong = [relative(path) for path in paths if len(ast.get_docstring(parsed(path)) or "") < 20]
    assert not wrong, f"do not say what they are for: {wrong}"


def test_public_functions_are_documented() -> None:
    """Every public function, method and class has a docstring."""
    wrong = [
        f"{relative(path)}:{child.lineno} {child.name}"
        for path in CODE
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Module | ast.ClassDef)
        for child in node.body
        if isinstance(child, Function | ast.ClassDef)
        and not child.name.startswith("_")
        and not ast.get_docstring(child)
    ]
    assert not wrong, "no docstring:\n" + "\n".join(wrong)


def test_tests_state_their_law() -> None:
    """Every test function has a docstring that states the law it checks."""
    wrong = [
        f"{relative(path)}:{function.lineno} {function.name}"
        for path in TESTS
        for function in functions(path)
        if function.name.startswith("test_") and len((ast.get_docstring(function) or "").split()) < 4
    ]
    assert not wrong, "state no law:\n" + "\n".join(wrong)


def test_errors_are_not_swallowed() -> None:
    """No bare except, and no handler that does nothing."""
    wrong = [
        f"{relative(path)}:{node.lineno}"
        for path in CODE
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or all(isinstance(line, ast.Pass) for line in node.body))
    ]
    assert not wrong, "bare or silent except:\n" + "\n".join(wrong)


def test_numeric_rooms_never_log() -> None:
    """The arithmetic neither prints nor logs."""
    for path in (ROOT / "pipeline" / "methods").rglob("*.py"):
        names = {node.id for node in ast.walk(parsed(path)) if isinstance(node, ast.Name)}
        assert not names & {"print", "logging", "warnings", "click"}, f"{relative(path)} speaks"
