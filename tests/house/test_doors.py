"""The house's doors: who may import whom, lazy imports and names in strings included."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.house.sources import ROOT, parsed

WINGS = ("pipeline", "cluster", "evals")
FILES = sorted(path for wing in WINGS for path in (ROOT / wing).rglob("*.py"))

#: Room -> rooms it may import. The longest matching prefix names a module's room. A room may always import
# itself.
DOORS: dict[str, tuple[str, ...]] = {
    "pipeline": ("pipeline.config", "pipeline.plan", "pipeline.run", "cluster.contract"),
    "pipeline.values": (),
    "pipeline.errors": (),
    "pipeline.untrusted": ("pipeline.errors",),
    "pipeline.machine": ("pipeline.errors", "pipeline.untrusted", "cluster.probe"),
    "pipeline.kernels": (),
    "pipeline.methods": ("pipeline.values", "pipeline.errors", "pipeline.kernels"),
    "pipeline.checkpoint": ("pipeline.values", "pipeline.errors", "pipeline.untrusted"),
    "pipeline.checkpoint.s3": (
        "pipeline.values", "pipeline.errors", "pipeline.untrusted", "pipeline.checkpoint", "cluster.progress",
    ),
    "pipeline.config": ("pipeline.values", "pipeline.errors", "pipeline.untrusted", "pipeline.methods"),
    "pipeline.plan": (
        "pipeline.values", "pipeline.errors", "pipeline.untrusted", "pipeline.machine", "pipeline.config",
        "pipeline.methods", "pipeline.meaning",
        "pipeline.checkpoint.companions", "pipeline.checkpoint.compare", "pipeline.checkpoint.index",
        "pipeline.checkpoint.locate", "pipeline.checkpoint.layout", "pipeline.checkpoint.recomputed",
    ),
    "pipeline.meaning": ("pipeline.errors", "pipeline.untrusted", "pipeline.checkpoint"),
    "pipeline.work": (
        "pipeline.values", "pipeline.errors", "pipeline.kernels", "pipeline.methods", "pipeline.checkpoint",
        "pipeline.plan.plan", "pipeline.plan.cost", "cluster.fold",
    ),
    "pipeline.run": (
        "pipeline.errors", "pipeline.machine", "pipeline.plan", "pipeline.work", "pipeline.checkpoint",
        "pipeline.output", "pipeline.staging", "pipeline.underway", "cluster.contract", "cluster.progress",
    ),
    "pipeline.underway": (
        "pipeline.errors", "pipeline.plan.plan", "pipeline.plan_record", "pipeline.work",
        "pipeline.checkpoint", "pipeline.staging",
        "pipeline.measuring", "pipeline.publishing", "cluster.contract",
    ),
    "pipeline.measuring": (
        "pipeline.methods", "pipeline.checkpoint.files", "pipeline.plan.cost", "pipeline.plan.plan",
        "pipeline.work.orders", "pipeline.staging", "cluster.fold",
    ),
    "pipeline.plan_record": (
        "pipeline.errors", "pipeline.untrusted", "pipeline.plan.plan", "pipeline.checkpoint",
    ),
    "pipeline.receipts": ("pipeline.plan.plan",),
    "pipeline.work_directory": (
        "pipeline.errors", "pipeline.untrusted", "pipeline.plan_record", "pipeline.checkpoint",
        "cluster.contract", "cluster.ledger",
    ),
    "pipeline.output": (
        "pipeline.errors", "pipeline.untrusted", "pipeline.plan.plan", "pipeline.plan_record",
        "pipeline.checkpoint", "pipeline.work_directory",
    ),
    "pipeline.staging": (
        "pipeline.errors", "pipeline.untrusted", "pipeline.output", "pipeline.plan.plan",
        "pipeline.plan_record", "pipeline.receipts", "pipeline.work_directory", "pipeline.checkpoint",
        "pipeline.config",
        "cluster.ledger",
    ),
    "pipeline.status": (
        "pipeline.errors", "pipeline.untrusted", "pipeline.checkpoint", "pipeline.output",
        "pipeline.plan_record", "pipeline.receipts", "pipeline.work_directory", "cluster.ledger",
    ),
    "pipeline.publishing": (
        "pipeline.errors", "pipeline.plan.plan", "pipeline.checkpoint", "pipeline.config", "pipeline.methods",
        "pipeline.staging", "cluster.contract",
    ),
    "pipeline.training": (
        "pipeline.values", "pipeline.errors", "pipeline.untrusted", "pipeline.config",
        "pipeline.checkpoint", "pipeline.machine", "pipeline.output",
        "pipeline.colours", "pipeline.output", "cluster.contract", "cluster.progress",
    ),
    "cluster": (),
    "evals": (
        "pipeline.values", "pipeline.errors", "pipeline.untrusted", "pipeline.machine",
        "pipeline.checkpoint", "pipeline.colours", "pipeline.output",
        "pipeline.config", "pipeline.output", "pipeline.plan.plan", "cluster.contract", "cluster.progress",
    ),
    "evals.merges": (
        "evals.content", "evals.models", "pipeline.checkpoint", "pipeline.config", "pipeline.errors",
        "pipeline.plan", "pipeline.run",
    ),
    "evals.harness": (
        "evals.content", "evals.definitions", "evals.models", "evals.record", "evals.setting", "evals.stderr",
        "evals.suites", "evals.task", "pipeline.errors", "pipeline.untrusted", "pipeline.checkpoint",
        "pipeline.plan.plan", "pipeline.training.loading",
        "pipeline.work.holding",
    ),
    "evals.material": ("pipeline.errors", "pipeline.checkpoint"),
    "evals.demo": ("evals", "pipeline", "cluster.contract", "cluster.on_demand"),
    "evals.family": ("evals", "pipeline", "cluster.contract"),
    "evals.studies": ("evals", "pipeline", "cluster.contract", "cluster.progress"),
    "evals.studies.config": (
        "evals.studies.bases", "evals.studies.fields", "evals.studies.methods", "evals.studies.tables",
        "evals.setting", "evals.strict", "evals.suites", "evals.task", "pipeline",
    ),
    "evals.studies.bases": ("evals.studies.fields", "evals.family", "evals.strict", "evals.suites"),
    "evals.studies.grid": (
        "evals.studies.bases", "evals.studies.config", "evals.studies.methods", "pipeline.errors",
    ),
    "evals.studies.fields": ("evals.strict", "evals.suites", "evals.task", "pipeline"),
    "evals.studies.methods": ("evals.strict", "pipeline"),
    "evals.studies.tables": ("evals.ratios", "pipeline.errors"),
    "evals.studies.report": (
        "evals.studies.tables", "pipeline.checkpoint", "pipeline.colours", "pipeline.errors",
    ),
}  # fmt: skip
#: Command-line modules may import their own wing and the wings left of it; nothing imports them but the front
# door.
CLIS = {
    "cluster.cli": ("cluster",),
    "pipeline.cli": ("pipeline", "cluster"),
    "pipeline.training.cli": ("pipeline", "cluster"),
    "evals.cli": ("evals", "pipeline", "cluster"),
    "evals.examples_cli": ("evals", "pipeline", "cluster"),
    "evals.demo.cli": ("evals", "pipeline", "cluster"),
    "evals.family.cli": ("evals", "pipeline", "cluster"),
    "evals.studies.cli": ("evals", "pipeline", "cluster"),
    "evals.app": ("evals", "pipeline", "cluster"),
    "evals.__main__": ("evals.app",),
}
#: Heavy or fenced libraries -> the only modules (or rooms) that may import them, at any depth.
FENCED = {
    "ray": ("cluster.on_ray", "cluster.ray_port", "cluster.check", "cluster.submit", "cluster.embedded"),
    "lm_eval": ("evals.harness",),
    "numba": ("pipeline.kernels.fused",),
    "torch": ("pipeline.kernels.plain", "pipeline.work", "pipeline.machine", "pipeline.training",
    "evals.harness", "evals.material.smollm2"),
    "transformers": ("pipeline.meaning.configs", "pipeline.training", "evals.harness",
    "evals.material.smollm2"),
    "gguf": ("evals.material.smollm2",),
    "matplotlib": ("evals.plot", "evals.studies.report", "pipeline.training.curves"),
    "click": (*CLIS, "cluster.options"),
    "deepspeed": (),
    "peft": (),
}  # fmt: skip


def module_name(path: Path) -> str:
    """Dotted name of a source file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """(dotted name, line) of every import in a file, of `module:attribute` strings too; TYPE_CHECKING ones as
    well.
    """
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and ":" in node.value:
            module = node.value.split(":")[0]
            if (
                module.startswith(tuple(f"{wing}." for wing in WINGS))
                and module.replace(".", "_").isidentifier()
            ):
                yield module, node.lineno


def needed_at_import(path: Path) -> Iterator[str]:
    """Names of ours that a file imports while it is itself imported: not in functions, not for types only."""
    waiting: list[ast.stmt] = list(parsed(path).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield f"{node.module}.{alias.name}"
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]


def under(name: str, prefixes: tuple[str, ...]) -> bool:
    """Whether a dotted name is one of the prefixes or inside one."""
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def room_of(module: str) -> str:
    """The most specific room that a module belongs to."""
    return max((room for room in DOORS if under(module, (room,))), key=len)


def test_imports_go_through_doors() -> None:
    """A module imports only what its room's doors allow, however lazily; nothing but the front door imports
    a cli.
    """
    wrong = []
    for path in FILES:
        module = module_name(path)
        allowed = CLIS.get(module) or (*DOORS[room_of(module)], room_of(module))
        for name, line in imports(path):
            if not under(name, WINGS):
                continue
            if module not in ("evals.app", "evals.__main__") and under(name, tuple(CLIS)):
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}: nothing imports a cli")
            elif not under(name, allowed):
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}: no door from {module}")
    assert not wrong, "\n".join(wrong)


def test_fenced_libraries_stay_in_their_rooms() -> None:
    """Ray, lm-eval, torch and their like are imported only in the rooms made for them."""
    wrong = []
    for path in FILES:
        for name, line in imports(path):
            owners = FENCED.get(name.split(".")[0])
            if owners is not None and not under(module_name(path), owners):
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name} outside {owners}")
    assert not wrong, "\n".join(wrong)


def test_every_room_exists() -> None:
    """The table of doors names no room that is gone."""
    modules = {module_name(path) for path in FILES}
    for room in (*DOORS, *CLIS):
        assert any(under(module, (room,)) for module in modules), f"no module in room {room}"


def test_no_module_needs_itself_to_be_imported() -> None:
    """Imports at the top of modules have no cycle, so that any module can be the first one imported."""
    modules = {module_name(path): path for path in FILES}
    needs = {
        module: {
            found
            for name in needed_at_import(path)
            for found in (name, name.rpartition(".")[0])
            if found in modules and found != module
        }
        for module, path in modules.items()
    }
    while free := {module for module, needed in needs.items() if not needed & needs.keys()}:
        needs = {module: needed for module, needed in needs.items() if module not in free}
    assert not needs, f"a cycle runs through some of these: {sorted(needs)}"
