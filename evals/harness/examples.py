"""Training rows out of suites: prompts and answers as lm-eval scores them, from splits that are not scored.

Rows are {"question", "choices", "label"} where the task has choices, else {"question", "answer"}: what
`mergescale train` reads. It renders and writes; it never scores.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from evals.content import Digests, digest_json, task_digest
from evals.harness.baselines import right_choice
from evals.harness.quiet import quiet
from evals.harness.tasks import load_task
from evals.suites import Suite
from evals.task import Task
from pipeline.checkpoint.files import atomic_write
from pipeline.errors import InputError

Split = Literal["train", "validation"]
#: Where a task has no validation split to spare, one training row in so many, chosen by content.
_HELD = 10


def write_examples(
    suite: Suite, out: Path, *, split: Split, limit: int | None = None, seed: int = 0
) -> dict[str, list[Path]]:
    """Write `out`/<category>/<task>.<split>.jsonl for every task (data located); category -> its files.

    What a suite scores is in neither. `limit`: rows a task, drawn by `seed`. InputError: a task without a
    training split, or with no usable row in it.
    """
    found: dict[str, list[Path]] = {}
    for task in suite.tasks:
        rows = task_rows(task, split)
        random.Random(f"{seed}/{task.name}/{split}").shuffle(rows)
        path = out / task.category / f"{task.name}.{split}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows[:limit]]
        atomic_write(path, "".join(lines).encode())
        found.setdefault(task.category, []).append(path)
    return found


def task_rows(task: Task, split: Split) -> list[dict[str, Any]]:
    """The rows of one task in its data's order; a row is in one of the two splits only, by its content.

    Validation rows are the task's own where its test split is scored, else a tenth of the training rows. Rows
    that also stand among the scored documents are left out.
    """
    loaded = load_task(task, task_digest(task, Digests()))
    if not loaded.has_training_docs():
        raise InputError(
            f'the task "{task.name}" has no training split',
            where=task.where,
            expected="training_split in its definition, and its file in the data",
        )
    with quiet():
        scored = {digest_json(row) for row in _rendered(loaded, loaded.eval_docs)}
        rows = {digest_json(row): row for row in _rendered(loaded, loaded.training_docs())}
        own = loaded.validation_docs() if loaded.has_test_docs() and loaded.has_validation_docs() else None
        apart = {digest_json(row): row for row in _rendered(loaded, own)} if own is not None else {}
    free = sorted(rows.keys() - scored)
    held = apart or {key: rows[key] for key in free[: max(1, len(free) // _HELD)]}
    if split == "validation":
        chosen = [row for key, row in held.items() if key not in scored]
    else:
        chosen = [row for key, row in rows.items() if key not in scored and key not in held]
    if not chosen:
        raise InputError(f'the task "{task.name}" has no rows of {split}', where=task.where)
    return chosen


def _rendered(loaded: Any, docs: Any) -> Iterator[dict[str, Any]]:
    """Documents as training rows, without those whose right answer is empty or none of the choices."""
    for doc in docs:
        if loaded.OUTPUT_TYPE == "multiple_choice":
            row = _choice_row(loaded, doc)
        else:
            row = _answer_row(loaded, doc)
        if row is not None:
            yield row


def _choice_row(loaded: Any, doc: Any) -> dict[str, Any] | None:
    """Question, choices, right index. Where prompts are the choices: the right prompt and its ending."""
    label = right_choice(loaded, doc)
    choices = [str(choice) for choice in loaded.doc_to_choice(doc)]
    if label is None or not all(choices):
        return None
    if loaded.multiple_input:
        return {"question": choices[label].rstrip(), "answer": str(loaded.doc_to_target(doc)).strip()}
    return {"question": str(loaded.doc_to_text(doc)), "choices": choices, "label": label}


def _answer_row(loaded: Any, doc: Any) -> dict[str, Any] | None:
    """Question and the (first) right answer."""
    target = loaded.doc_to_target(doc)
    answer = str(target[0] if isinstance(target, list) and target else target).strip()
    ends = (loaded.config.generation_kwargs or {}).get("until") or [""]
    ending = ends if isinstance(ends, str) else ends[0]  # models must learn to stop
    return {"question": str(loaded.doc_to_text(doc)).rstrip(), "answer": answer + ending} if answer else None
