"""How far a study is: scores by base and method, and what failed. Reads what a run wrote."""

from __future__ import annotations

from pathlib import Path

from evals.store import RecordStore
from evals.studies.order import SCORES
from evals.studies.state import Asked, counted, read_failures, read_state
from evals.table import Grid

_NOT_MERGED = "base, experts, multitask"


def status_of(out: Path) -> tuple[Grid, list[str]]:
    """(scores that are there of those asked for, lines about the rest). InputError: no study was begun."""
    state, failures = read_state(out), read_failures(out)
    there = {path.stem for path in RecordStore(out / SCORES).files()}
    groups: dict[tuple[str, str], list[Asked]] = {}
    for one in state.asked:
        groups.setdefault((one.subject.base, one.subject.method or _NOT_MERGED), []).append(one)
    rows = []
    for (base, method), asked in groups.items():
        done = sum(one.key in there for one in asked)
        failed = sum(one.key in failures and one.key not in there for one in asked)
        holes = sum(not one.key for one in asked)
        rows.append((base, method, f"{done} of {len(asked)}", str(failed), str(holes)))
    done = sum(one.key in there for one in state.asked)
    title = f"{state.facts['name']}: {done} of {len(state.asked)} scores"
    heads = ("base", "method", "scores", "failed", "cannot be had")
    return Grid(title, heads, tuple(rows)), _lines(state.asked, there, failures)


def _lines(asked: tuple[Asked, ...], there: set[str], failures: dict[str, str]) -> list[str]:
    """Each reason once, with how many scores it costs."""
    reasons = (one.why or failures.get(one.key, "") for one in asked if one.key not in there)
    return counted(why for why in reasons if why)
