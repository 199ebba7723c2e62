"""What a study has come to, on disk: which scores it asks for, what was tuned, what failed.

    OUT/study.json            the order: subjects, questions, and the key of every score
    OUT/scores/records/       the scores, one file a key (evals/store.py), and OUT/tuning/ those of the tuning
    OUT/failures.json         key -> why, of the last run

The report needs these alone: no checkpoint has to be there, and it may be made while a run goes on.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evals.store import RecordStore
from evals.studies.config import StudyConfig
from evals.studies.order import SCORES, TUNING, Entry, question_of
from evals.studies.plain import from_plain, read_facts, read_models
from evals.studies.report.words import several
from evals.studies.tables.values import Question, Score, Subject
from evals.studies.tuning import Trial
from pipeline.checkpoint.files import atomic_write, read_json_object
from pipeline.errors import CheckpointError, InputError
from pipeline.untrusted import is_relative_name

ORDER, FAILURES = "study.json", "failures.json"
#: Version of the order's fields and meaning.
SCHEMA = 1
#: Why a score is not there that the next run will measure.
WAITING, UNTUNED = "not measured yet", "its parameters are not tuned yet"


@dataclass(frozen=True)
class Asked:
    """One score that a study asks for. key "": there will be none, as `why` says."""

    subject: Subject
    question: Question
    label: str
    key: str
    why: str


@dataclass(frozen=True)
class State:
    """A study's order as it was written. models: (what, path, digest) of every checkpoint it starts from.

    facts: what else a report says: "name", "config" (text), "setting", "versions", "qualities", "methods",
    "resamples", "smallest_effect" (not in those of earlier versions), "protocol".
    """

    asked: tuple[Asked, ...]
    trials: tuple[Trial, ...]
    models: tuple[tuple[str, str, str], ...]
    facts: Mapping[str, Any]


def write_state(
    out: Path,
    entries: Sequence[Entry],
    trials: Sequence[Trial],
    models: Sequence[tuple[str, str, str]],
    facts: Mapping[str, Any],
) -> None:
    """Write the order of a study, replacing that of an earlier run."""
    asked = [(entry, question_of(entry.task)) for entry in entries]
    subjects = {one: number for number, one in enumerate(dict.fromkeys(entry.subject for entry in entries))}
    questions = {one: number for number, one in enumerate(dict.fromkeys(one for _, one in asked))}
    content = {
        "schema": SCHEMA,
        "facts": dict(facts),
        "models": [list(model) for model in models],
        "subjects": [asdict(one) for one in subjects],
        "questions": [asdict(one) for one in questions],
        "scores": [
            [subjects[one.subject], questions[question], one.label, one.key, one.why]
            for one, question in asked
        ],
        "tuning": [asdict(trial) for trial in trials],
    }
    out.mkdir(parents=True, exist_ok=True)
    atomic_write(out / ORDER, json.dumps(content).encode())


def read_state(out: Path) -> State:
    """Read what `write_state` wrote. InputError: no study was begun there, or its state is damaged."""
    path = out / ORDER
    if not path.is_file():
        raise InputError(
            "no study was begun there",
            where=str(out),
            expected=ORDER,
            hint="run it first: mergescale study run",
        )
    try:
        return _parse(read_json_object(path))
    except CheckpointError as error:
        raise _unreadable(path, error.found) from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise _unreadable(path, f"{type(error).__name__}: {error}") from error


def _parse(found: Mapping[str, Any]) -> State:
    """The order of a study. Raises Python's own errors where `write_state` wrote something else."""
    if found.get("schema") != SCHEMA:
        raise ValueError(f"schema {found.get('schema')}, where {SCHEMA} is known")
    subjects = [from_plain(Subject, one) for one in found["subjects"]]
    questions = [from_plain(Question, one) for one in found["questions"]]
    return State(
        tuple(_asked(subjects, questions, *row) for row in found["scores"]),
        tuple(from_plain(Trial, one) for one in found["tuning"]),
        read_models(found["models"]),
        read_facts(found["facts"]),
    )


def _asked(
    subjects: Sequence[Subject],
    questions: Sequence[Question],
    subject: int,
    question: int,
    *texts: str,
) -> Asked:
    """One score that is asked for, of the numbers of its subject and question. Raises as `_parse`."""
    if min(subject, question) < 0:
        raise IndexError("a negative number")
    label, key, why = texts
    values = {"label": label, "key": key, "why": why}
    if key and not is_relative_name(key):
        raise ValueError("a key that no score can have")
    return from_plain(Asked, {"subject": subjects[subject], "question": questions[question], **values})


def _unreadable(path: Path, found: str) -> InputError:
    return InputError(
        "a study of another version, or a damaged one",
        where=str(path),
        expected=f"what mergescale study run writes, schema {SCHEMA}",
        found=found,
        hint="run it again: mergescale study run; scores that are there are kept",
    )


def earlier_trials(out: Path) -> tuple[Trial, ...]:
    """The tuning of an earlier run; nothing where there was none, one of another version, or a damaged one.

    Such a study is ordered anew: its scores are kept, so the same tuning costs no work.
    """
    try:
        return read_state(out).trials
    except InputError:
        return ()


def write_failures(out: Path, failures: Mapping[str, str]) -> None:
    """Key -> why, of the scores that the run that ends now could not measure."""
    atomic_write(out / FAILURES, json.dumps(dict(failures), indent=1).encode())


def read_failures(out: Path) -> dict[str, str]:
    """What `write_failures` wrote; nothing where no run has ended, or the file is damaged."""
    try:
        return {key: str(why) for key, why in read_json_object(out / FAILURES).items()}
    except CheckpointError:
        return {}


def scores_of(out: Path, state: State) -> list[Score]:
    """Every score that is asked for, those that are not there as holes with their reason."""
    store, failures = RecordStore(out / SCORES), read_failures(out)
    return [_score(one, store, failures) for one in state.asked]


def _score(asked: Asked, store: RecordStore, failures: Mapping[str, str]) -> Score:
    record = store.get(asked.key) if asked.key else None
    if record is None:
        why = asked.why or failures.get(asked.key, WAITING)
        return Score("", asked.subject, asked.question, None, why=why)
    return Score(
        asked.key, asked.subject, asked.question, record.value, record.stderr, record.n, record.items
    )


def stores_of(config: StudyConfig) -> list[Path]:
    """Where scores of a study may lie: its own folder first, then that of its family."""
    return [config.out / SCORES] + ([config.family / SCORES] if config.family is not None else [])


def counted(reasons: Iterable[str]) -> list[str]:
    """Each reason once, with how many scores it costs."""
    return [f"{several(count, 'score')}: {why}" for why, count in Counter(reasons).items()]


def cost_rows(out: Path, state: State) -> list[dict[str, Any]]:
    """What the work cost, piece by piece, with the size of the base it belongs to. Tuning included."""
    sizes = {one.subject.base: one.subject.size for one in state.asked}
    rows = [row for name in (SCORES, TUNING) for row in RecordStore(out / name).spent()]
    return [{**row, "size": sizes[base]} for row in rows if (base := row["label"].partition("/")[0]) in sizes]
