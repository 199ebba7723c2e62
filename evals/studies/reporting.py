"""From what a run left on disk to the report: scores and costs read, tables computed, pages written."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from evals.studies.report.about import About, Failure, Origin, Tuned
from evals.studies.report.words import several
from evals.studies.report.write import write_report
from evals.studies.state import UNTUNED, WAITING, State, cost_rows, read_state, scores_of
from evals.studies.tables.tables import make_tables
from evals.studies.tables.values import Score

REPORT = "report"


def report_study(out: Path) -> Path:
    """Write OUT/report from the scores that are there; returns its page. InputError: no study was begun."""
    state = read_state(out)
    scores = scores_of(out, state)
    tables = make_tables(
        scores,
        cost_rows(out, state),
        qualities=state.facts["qualities"],
        resamples=state.facts["resamples"],
    )
    return write_report(tables, _about(state, scores), out / REPORT)


def _about(state: State, scores: list[Score]) -> About:
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
