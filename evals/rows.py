"""Rows for task definitions whose data set is not split, sorted or labelled as a task needs it.

Task definitions name these as `custom_dataset:` or `process_docs: !function evals.rows.…`; rows are those of
`datasets`. It never scores anything and never imports lm_eval.
"""

from __future__ import annotations

from typing import Any

#: Fixed, as these draws are part of what a task is.
_SEED = 1234


def hold_out(*, path: str, split: str, held_out: int, **_: Any) -> Any:
    """A data set that its hub keeps in one split, as {"train", "test"}: `held_out` drawn rows are "test".

    lm-eval calls this with the definition's `dataset_kwargs`, and with its `metadata`, which is not used.
    """
    from datasets import load_dataset

    return load_dataset(path, split=split).train_test_split(test_size=held_out, seed=_SEED)


def shuffled(rows: Any) -> Any:
    """The rows in a drawn order, so that the first N of a set that is sorted by class show every class."""
    return rows.shuffle(seed=_SEED)


def labelled(rows: Any) -> Any:
    """The rows that have a `label`: -1 says that there is none."""
    return rows.filter(lambda row: row["label"] >= 0)


def right_answers(rows: Any) -> Any:
    """The rows whose `label` is 1: of candidate answers the right ones."""
    return rows.filter(lambda row: row["label"] == 1)
