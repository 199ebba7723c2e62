"""Tiny models, suites and study files with which a whole study runs in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evals.studies.config import StudyConfig, load_study
from tests.helpers.models import write_model
from tests.helpers.study_files import base as listed
from tests.helpers.study_files import write_study
from tests.helpers.tasks import CHOICE, choice_rows, choice_task, write_rows, write_suite

CATEGORIES = ("colour", "size", "shape")


def write_models(folder: Path) -> Path:
    """A base of two qualities, three experts and a multitask model of each."""
    for number, name in enumerate(("weak", "strong")):
        place = folder / name
        write_model(place / "base", seed=number, vocab=64, hidden=32, tokenizer=True)
        for seed, expert in enumerate((*CATEGORIES, "multitask")):
            write_model(place / expert, seed=10 + seed, base=place / "base", delta=0.1)
    return folder


def write_files(folder: Path, models: Path) -> None:
    """Suites, their data and a link to the models."""
    (folder / "m").symlink_to(models)
    for seed, split in enumerate(("held-in", "validation", "held-out")):
        categories = CATEGORIES if split != "held-out" else ("other",)
        tasks = {}
        for place, category in enumerate(categories):
            rows = write_rows(folder / f"{split}-{category}.jsonl", choice_rows(12, seed=10 * seed + place))
            tasks[category] = [choice_task(f"{category}-task", definition=CHOICE, data={"test": rows.name})]
        write_suite(folder / f"{split}.yaml", tasks, role="held-out" if split == "held-out" else "held-in")


def one_base(name: str, **changes: Any) -> dict[str, Any]:
    """A base of the models as a study file lists it."""
    changes = {"multitask": f"m/{name}/multitask", "size": "1M", "quality": name} | changes
    return listed(name, CATEGORIES, **changes)


def small_study(folder: Path, **changes: Any) -> StudyConfig:
    """A study of the models: averaging, DARE, and a tuned task arithmetic; some keys replaced."""
    bases = [one_base("weak"), one_base("strong")]
    content: dict[str, Any] = {
        "bases": bases,
        "methods": {
            "averaging": {"merge_method": "linear"},
            "arithmetic": {"merge_method": "task_arithmetic", "tune": {"lambda": [0.3, 1.0]}},
            "dare": {"merge_method": "dare_ties", "parameters": {"density": 0.5}},
        },
        "experts": [2, 3],
        "tune": {"suite": "validation.yaml", "seed": 0},
        "bootstrap": 20,
    }
    return load_study(write_study(folder, **(content | changes)))
