"""What an evaluation is asked to do, checked before any model loads: models, suites, base and experts.

It reads files' names, suites and digests, and fetches models that are elsewhere; it never runs anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evals.content import Digests
from evals.merges import describe_merges, is_config
from evals.models import BASELINES, Model, baseline_model, describe_model
from evals.suites import Suite, check_suite_names, load_suite, locate_data, select_tasks
from evals.task import Task
from pipeline.checkpoint.locate import find_model
from pipeline.config.place import Place
from pipeline.config.reference import read_reference
from pipeline.errors import InputError, near


@dataclass(frozen=True)
class Request:
    """Models and suites (data located), with the references that scores are compared to.

    models: those to score on everything; the base is one of them.  base: the base's label, None without one.
    experts: held-in category -> its expert; an expert that is not among `models` is scored on its own only.
    baselines: guessers that are scored on every task that asks for an answer.
    """

    models: tuple[Model, ...]
    suites: tuple[Suite, ...]
    base: str | None
    experts: Mapping[str, Model]
    baselines: tuple[Model, ...] = ()

    @property
    def pairs(self) -> list[tuple[Model, Task]]:
        """Every (model, task) to score, model by model."""
        tasks = [task for suite in self.suites for task in suite.tasks]
        found = [(model, task) for model in self.models for task in tasks]
        own = [expert for expert in dict.fromkeys(self.experts.values()) if expert not in self.models]
        found += [
            (expert, task)
            for expert in own
            for task in tasks
            if task.role == "held-in" and self.experts.get(task.category) == expert
        ]
        return found + [(guesser, task) for guesser in self.baselines for task in tasks if task.is_guessable]

    @property
    def expert_labels(self) -> dict[str, str]:
        """Held-in category -> label of its expert."""
        return {category: expert.label for category, expert in self.experts.items()}

    def counted(self) -> dict[str, set[str]]:
        """Label -> the held-in categories that count for a merge: those whose expert went into it.

        Models that do not say what they were merged from, or name none of the experts here, are left out.
        """
        found = {
            model.label: {name for name, expert in self.experts.items() if expert.path in model.inputs}
            for model in self.models
        }
        return {label: categories for label, categories in found.items() if categories}


def make_request(
    models: Sequence[str | Path],
    suites: Sequence[Path],
    *,
    data_dir: Path | None = None,
    skip_missing: bool = False,
    tasks: Sequence[str] = (),
    report: Callable[[str], None] = lambda line: None,
    base: str | Path | None = None,
    experts: Mapping[str, str | Path] | None = None,
    baselines: bool = False,
    digests: Digests | None = None,
) -> Request:
    """Check and look at everything that was named.

    tasks: names of the tasks to keep, all where there are none. `data_dir`, `skip_missing`, `report`: as
    `suites.locate_data` has them.
    A model is a directory, a Hub repository or a bucket's folder, fetched here, or a merge config (YAML,
    JSON): it is planned; several documents in one are several models.
    `baselines`: score guessers as well.
    CheckpointError: a directory that is no model. ConfigError: a suite that is wrong, two suites of one name.
    InputError: data that is not there, a task or an expert's category that no suite has.
    """
    loaded = [load_suite(path) for path in suites]
    check_suite_names(loaded)
    held_in = [category for suite in loaded if suite.role == "held-in" for category in suite.categories]
    loaded = select_tasks(loaded, tasks) if tasks else loaded
    loaded = [locate_data(suite, data_dir, skip_missing=skip_missing, report=report) for suite in loaded]
    experts = dict(experts or {})
    for category in experts:
        if category not in held_in:
            hint = near(category, held_in) if held_in else "add a held-in suite with --suite"
            raise InputError(f'no held-in category "{category}"', where=f"--expert {category}", hint=hint)
    digests = digests or Digests()
    asked = [model for path in models for model in _described(path, digests)]
    single = [*([base] if base is not None else []), *experts.values()]
    described = _with_labels([*asked, *(_one(path, digests) for path in single)])
    asked = described[: len(asked) + (base is not None)]
    return Request(
        models=tuple(dict.fromkeys(asked)),
        suites=tuple(loaded),
        base=asked[-1].label if base is not None else None,
        experts=dict(zip(experts, described[len(asked) :], strict=True)),
        baselines=tuple(baseline_model(kind) for kind in BASELINES) if baselines else (),
    )


def _described(named: str | Path, digests: Digests) -> list[Model]:
    """A model, or the merges of a config in its place; as labels they have their full names."""
    path = Path(named)
    if is_config(path):
        return [replace(model, label=model.path) for model in describe_merges(path, digests)]
    if path.exists():
        model = describe_model(path, digests)
        return [replace(model, label=model.path)]
    ref = read_reference(str(named), Place(str(named)))
    return [replace(describe_model(find_model(ref), digests), label=ref.path)]


def _one(named: str | Path, digests: Digests) -> Model:
    """The base or an expert. Raises InputError where a config describes several models."""
    found = _described(named, digests)
    if len(found) > 1:
        raise InputError(
            "a base or an expert is one model",
            where=str(named),
            expected="a model, or a config of one merge",
            found=f"{len(found)} merges",
        )
    return found[0]


def _with_labels(models: Sequence[Model]) -> list[Model]:
    """The models with labels that tell them apart: as many trailing parts of their names as that takes."""
    parts = {model.path: Path(model.label).parts for model in models}
    deepest = max(len(path) for path in parts.values())
    labels = {}
    for path, own in parts.items():
        others = [other for other in parts if other != path]
        depth = next(
            (n for n in range(1, deepest) if all(parts[other][-n:] != own[-n:] for other in others)), deepest
        )
        labels[path] = "/".join(own[-depth:])
    return [replace(model, label=labels[model.path]) for model in models]
