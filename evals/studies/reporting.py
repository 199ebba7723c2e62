"""From what a run left on disk, or from published records, to the report; and the records to publish.

A report says of models what its reader can use: paths below the current directory, else their last two parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from evals.studies.published import published_text, read_published, without_places
from evals.studies.report.about import About, Failure, Origin, Tuned
from evals.studies.report.records import CELLS, RECORDS
from evals.studies.report.words import several
from evals.studies.report.write import write_report
from evals.studies.state import UNTUNED, WAITING, State, cost_rows, read_state, scores_of
from evals.studies.tables.cost import costs
from evals.studies.tables.tables import make_tables
from evals.studies.tables.values import SMALLEST_EFFECT, Cost, Score
from pipeline.checkpoint.files import atomic_write
from pipeline.errors import InputError, OutputError

REPORT = "report"


def report_study(out: Path, place: Path | None = None) -> Path:
    """Write the report of the scores that are there into `place`, OUT/report where there is none.

    Returns its page. InputError: no study was begun. OutputError: something else lies at `place`.
    """
    if place is not None:
        _check_place(place)
    state = read_state(out)
    return _report(state, scores_of(out, state), costs(cost_rows(out, state)), place or out / REPORT)


def report_records(file: Path, place: Path) -> Path:
    """Write the report of published records into `place`, from that file alone; returns its page.

    The same files as the study's own report, byte for byte. InputError: the file holds no records of a study.
    OutputError: as `_check_place`, or the report would lie over the file.
    """
    if place.resolve() == file.resolve().parent:
        raise OutputError(
            "the report would lie over the records it is made of",
            where=str(place),
            expected="a directory of its own",
            found=str(file),
            hint="name another directory with --out",
        )
    _check_place(place)
    state, scores, spent = read_published(file)
    return _report(state, scores, spent, place)


def _check_place(place: Path) -> None:
    """OutputError: a file, or a directory that holds something and no cells of a study that we wrote."""
    is_ours = place.is_dir() and ((place / CELLS).is_file() or not any(place.iterdir()))
    if place.exists() and not is_ours:
        raise OutputError(
            "something else lies there",
            where=str(place),
            expected=f"an empty directory, or one with the {CELLS} of a study",
            found="a directory of other files" if place.is_dir() else "a file",
            hint="name another directory",
        )


def publish_study(out: Path, place: Path) -> list[Path]:
    """Write the records, the cells and the file of a finished study into `place`; returns their paths.

    The study's report is written first: what is published is what it shows. InputError: no study was begun,
    or scores are not measured yet. OutputError: something else lies at `place`.
    """
    _check_place(place)
    state = read_state(out)
    waiting = sum(score.why in (WAITING, UNTUNED) for score in scores_of(out, state))
    if waiting:
        raise InputError(
            "the study is not finished",
            where=str(out),
            found=f"{several(waiting, 'score')} of {len(state.asked)} not measured yet",
            hint="run it to its end first: mergescale study run",
        )
    report = report_study(out).parent
    files = {name: (report / name).read_bytes() for name in (RECORDS, CELLS)}
    files["study.yaml"] = state.facts["config"].encode()
    place.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        atomic_write(place / name, content)
    return [place / name for name in files]


def _report(state: State, scores: Sequence[Score], spent: tuple[Cost, ...], place: Path) -> Path:
    """Compute the tables and write every file of the report."""
    state, scores = without_places(state, scores)
    tables = make_tables(
        scores,
        (),
        qualities=state.facts["qualities"],
        resamples=state.facts["resamples"],
        smallest_effect=state.facts.get("smallest_effect", SMALLEST_EFFECT),
    )
    tables = replace(tables, costs=spent)
    return write_report(tables, _about(state, scores), place, published_text(state, spent))


def _about(state: State, scores: Sequence[Score]) -> About:
    """The words of the report."""
    done = sum(score.value is not None for score in scores)
    reasons = Counter(score.why for score in scores if score.value is None)
    return About(
        study=state.facts["name"],
        facts=tuple((label, text) for label, text in state.facts["protocol"]),
        config=state.facts["config"],
        tuning=tuple(
            Tuned(
                one.base,
                one.method,
                one.count,
                ", ".join(f"{name}={value}" for name, value in one.settings),
                one.score,
                one.chosen,
                one.why,
            )
            for one in state.trials
        ),
        origins=tuple(Origin(*model) for model in state.models),
        versions=state.facts["versions"],
        failures=tuple(Failure(several(count, "score"), why) for why, count in reasons.items()),
        finished=not {WAITING, UNTUNED}.intersection(reasons),
        scores_done=done,
        scores_total=len(scores),
        qualities=tuple(state.facts["qualities"]),
        methods=tuple(state.facts["methods"]),
    )
