"""From a task's items to its train, validation and test rows, which never share a key."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

from evals.material.items import Item, MaterialTask, dealt, ranked
from evals.material.materials import Material
from evals.material.overlap import Passages
from pipeline.errors import RunError

Splits = dict[str, list[Item]]


def all_splits(material: Material, items: dict[str, list[Item]]) -> dict[str, Splits]:
    """Task name -> split name -> rows. RunError when the items do not fill the splits."""
    found = {task.name: split(material, task, items[task.name]) for task in material.tasks}
    if not material.even:
        return found
    asked = Passages(held_texts(found))
    for task in material.tasks:
        splits = found[task.name]
        if "train" in splits:
            clean = [item for item in splits["train"] if not any(map(asked.shared, item.texts))]
            splits["train"] = dealt(clean[: material.train])
            _enough(task, "train", splits["train"], material.least_train)
    return found


def held_texts(splits: dict[str, Splits]) -> Iterator[str]:
    """Every text that a test or validation row of any task shows."""
    for by_split in splits.values():
        for name in ("test", "validation"):
            for item in by_split[name]:
                yield from item.texts


def split(material: Material, task: MaterialTask, items: Sequence[Item]) -> Splits:
    """Split name -> rows of one task. Keys go to the splits in hash order, test first.

    The training rows of an even material are still more than asked for and not yet compared with others'.
    """
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        groups[item.key].append(item)
    keys = ranked(groups, task.name)
    sizes = {"test": material.test, "validation": material.validation}
    if task.role == "held-in":
        sizes["train"] = material.train
    found: Splits = {}
    for name, size in sizes.items():
        if material.even and name == "train":
            found[name] = _rest(task, groups, keys)
            continue
        if material.even:
            rows = dealt(_even(task, name, size, groups, keys, material.per_key))
        else:
            rows = ranked(_in_order(size, groups, keys), f"{task.name}/{name}", _question)
        _enough(task, name, rows, size)
        found[name] = rows[:size]
    return found


def _rest(task: MaterialTask, groups: dict[str, list[Item]], keys: list[str]) -> list[Item]:
    """All items of the keys that are left, answers in turn, so that any first part of them is even."""
    by_answer: dict[str, list[Item]] = defaultdict(list)
    for item in ranked((item for key in keys for item in groups[key]), f"{task.name}/train", _question):
        by_answer[item.answer].append(item)
    return _in_turn(by_answer)


def _question(item: Item) -> str:
    return item.question


def _in_order(size: int, groups: dict[str, list[Item]], keys: list[str]) -> list[Item]:
    """All rows of the next keys, until there are enough; the keys are taken off."""
    rows: list[Item] = []
    while keys and len(rows) < size:
        rows += groups[keys.pop(0)]
    return rows


def _even(
    task: MaterialTask, name: str, size: int, groups: dict[str, list[Item]], keys: list[str], per_key: int
) -> list[Item]:
    """Rows with as many of each answer; a key that gives one is taken off, with what is left of it."""
    answers = {item.answer for key in keys for item in groups[key]}
    most = max(1, math.ceil(size / len(answers)))
    enough = most * len(answers) if len(answers) <= size else size
    chosen: dict[str, list[Item]] = defaultdict(list)
    left: list[str] = []
    for key in keys:
        given = 0
        if sum(map(len, chosen.values())) < enough:
            for item in ranked(groups[key], f"{task.name}/{name}", _question):
                if len(chosen[item.answer]) < most and given < per_key:
                    chosen[item.answer].append(item)
                    given += 1
        if not given:
            left.append(key)
    keys[:] = left
    return ranked(_in_turn(chosen)[:size], name, _question)


def _in_turn(by_answer: dict[str, list[Item]]) -> list[Item]:
    """The items, one of each answer after the other."""
    longest = max(map(len, by_answer.values()), default=0)
    return [
        item for turn in range(longest) for group in by_answer.values() for item in group[turn : turn + 1]
    ]


def _enough(task: MaterialTask, name: str, rows: Sequence[Item], size: int) -> None:
    if len(rows) < size:
        raise RunError(
            f"too few items for {task.name}", expected=f"{size} rows of {name}", found=str(len(rows))
        )
