"""What published records say beside the scores: the study's order without its scores, and what it cost.

It lies as JSON in the metadata of records.parquet. No path of the machine that the study ran on is in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from evals.studies.plain import from_plain, read_facts, read_models
from evals.studies.report.records import read_records
from evals.studies.state import State
from evals.studies.tables.values import Cost, Score
from evals.studies.tuning import Trial
from pipeline.errors import InputError
from pipeline.untrusted import canonical_json, parse_json, read_small

#: Version of these fields and their meaning.
SCHEMA = 1
_OLDER = "records of a study from before they were published: no table can be made of them alone"


def published_text(state: State, costs: Sequence[Cost]) -> str:
    """Everything but the scores, as JSON."""
    return canonical_json(
        {
            "schema": SCHEMA,
            "facts": dict(state.facts),
            "models": [list(model) for model in state.models],
            "tuning": [asdict(trial) for trial in state.trials],
            "costs": [asdict(cost) for cost in costs],
        }
    )


def read_published(file: Path) -> tuple[State, tuple[Score, ...], tuple[Cost, ...]]:
    """(a state that asks for nothing, the scores, what they cost) of a records.parquet.

    InputError: it is not there, no such file, or damaged.
    """
    try:
        raw = read_small(file, error=InputError)
    except FileNotFoundError:
        raise InputError("no such file", where=str(file), expected="records.parquet of a study") from None
    scores, text = read_records(raw, str(file))
    if not text:
        raise InputError(
            _OLDER, where=str(file), hint="write the report again: mergescale study report CONFIG"
        )
    try:
        state, costs = _parse(parse_json(text))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            "what records say of their study cannot be read",
            where=str(file),
            found=f"{type(error).__name__}: {error}",
            hint="get the file again",
        ) from error
    return state, scores, costs


def _parse(values: Mapping[str, Any]) -> tuple[State, tuple[Cost, ...]]:
    """The state and the costs. Raises Python's own errors where `published_text` wrote something else."""
    if values["schema"] != SCHEMA:
        raise ValueError(f"schema {values['schema']} where {SCHEMA} is known")
    trials = tuple(from_plain(Trial, one) for one in values["tuning"])
    state = State((), trials, read_models(values["models"]), read_facts(values["facts"]))
    return state, tuple(from_plain(Cost, one) for one in values["costs"])


def without_places(state: State, scores: Sequence[Score]) -> tuple[State, tuple[Score, ...]]:
    """The same without paths of this machine: from the current directory on, or the last two parts."""
    here = f"{Path.cwd()}/"

    def text(said: str) -> str:
        return said.replace(here, "")

    def place(path: str) -> str:
        shorter = path.removeprefix(here)
        return "/".join(["…", *Path(shorter).parts[-2:]]) if Path(shorter).is_absolute() else shorter

    facts = {**state.facts, **({"file": place(state.facts["file"])} if "file" in state.facts else {})}
    return (
        replace(
            state,
            facts=facts,
            models=tuple((what, place(path), digest) for what, path, digest in state.models),
            trials=tuple(replace(trial, why=text(trial.why)) for trial in state.trials),
        ),
        tuple(replace(score, why=text(score.why)) for score in scores),
    )
