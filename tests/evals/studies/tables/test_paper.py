"""The paper's own table fed through as scores: its numbers come back, and the verdicts that they support."""

from __future__ import annotations

import pytest

from evals.studies.tables.tables import make_tables
from evals.studies.tables.values import Finding, Kind, Role, Summary, Tables
from tests.helpers.paper_table import ABSENT, COUNTS, OTHERS, TABLE, paper_scores


@pytest.fixture(scope="module")
def tables() -> Tables:
    """The tables of the paper's table."""
    return make_tables(paper_scores(), [], qualities=("pt", "it"), resamples=200)


def row(
    tables: Tables, base: str, role: Role, count: int, kind: Kind = "merge", method: str = "task_arithmetic"
) -> Summary:
    """The one row of a base, kind, method and count."""
    wanted = (base, kind, "" if kind == "multitask" else method, count, role)
    found = [
        one
        for one in tables.summaries
        if (one.subject.base, one.subject.kind, one.subject.method, one.subject.count, one.role) == wanted
    ]
    assert len(found) == 1
    return found[0]


def finding(tables: Tables, start: str) -> Finding:
    """The finding whose claim begins so."""
    found = [one for one in tables.findings if one.claim.startswith(start)]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("place", TABLE)
@pytest.mark.parametrize("count", COUNTS)
def test_the_papers_numbers_come_back(tables: Tables, place: tuple[str, str], count: int) -> None:
    """Every cell of the paper's table, merge and multitask, held-in and held-out, comes back as it was."""
    held_in, multitask, held_out, outside = TABLE[place]
    index, base = COUNTS.index(count), "-".join(place)
    wanted = (
        (row(tables, base, "held-in", count), held_in[index]),
        (row(tables, base, "held-in", count, "multitask"), multitask[index]),
        (row(tables, base, "held-out", count), held_out[index]),
        (row(tables, base, "held-out", count, "multitask"), outside),
    )
    for summary, number in wanted:
        assert summary.ratio is not None and summary.holes == ()
        assert summary.ratio.value == pytest.approx(number, abs=1e-12)
        assert summary.ratio.spread is None and summary.ratio.low is None


@pytest.mark.parametrize("method", OTHERS)
def test_the_other_methods_at_64b_come_back(tables: Tables, method: str) -> None:
    """The one cell that the paper gives for all methods comes back for each."""
    found = [row(tables, "it-64B", role, 8, method=method).ratio for role in ("held-in", "held-out")]
    assert [one and one.value for one in found] == pytest.approx(OTHERS[method], abs=1e-12)


@pytest.mark.parametrize("role", ["held-in", "held-out"])
@pytest.mark.parametrize("count", COUNTS)
def test_what_the_paper_leaves_out_is_a_hole(tables: Tables, role: Role, count: int) -> None:
    """PT 24B has no numbers: its rows are empty and say why."""
    summary = row(tables, "pt-24B", role, count)
    assert summary.raw is None and summary.ratio is None and summary.corrected is None
    assert len(summary.holes) == (count if role == "held-in" else 4)
    assert all(hole.endswith(ABSENT) and "pt-24B" in hole for hole in summary.holes)


@pytest.mark.parametrize(
    ("start", "verdict", "reach"),
    [
        ("Strong bases", "supported", 0.01),
        ("Larger models merge", "cannot tell", 0.07),
        ("Merging improves", "cannot tell", 0.06),
        ("Merging generalises better than multitask", "cannot tell", 0.09),
        ("Larger models tolerate more experts: pt", "cannot tell", 0.3),
        ("Larger models tolerate more experts: it", "cannot tell", 1.0),
        ("Methods become alike", "cannot tell", None),
    ],
)
def test_verdicts_are_those_the_table_supports(
    tables: Tables, start: str, verdict: str, reach: float | None
) -> None:
    """Of models like the paper's, its seven bases without noise of their own bear one claim by Holm's rule.

    reach: the p of models like these is below it.
    """
    found = finding(tables, start)
    assert found.verdict == verdict
    if reach is not None:
        assert found.lines[1].p is not None and found.lines[1].p < reach


def test_effects_are_those_of_the_table(tables: Tables) -> None:
    """Effects are what a calculator gives: mean differences, retention, share of cells above multitask."""
    strong = finding(tables, "Strong bases")
    by_name = {what: effect for what, effect, _ in strong.rows}
    eight = [0.86 - 0.39, 0.88 - 0.42, 0.93 - 0.67]
    assert by_name["8 experts"] is not None
    assert by_name["8 experts"].value == pytest.approx(sum(eight) / 3, abs=1e-12)
    tolerate = finding(tables, "Larger models tolerate more experts: pt")
    kept = {what: effect for what, effect, _ in tolerate.rows}
    found = [kept[f"pt, {size}"] for size in ("1B", "8B", "64B")]
    assert [one and round(one.value, 2) for one in found] == [0.59, 0.62, 0.84]
    rows = finding(tables, "Merging generalises better").rows
    above = {what: effect for what, effect, _ in rows}["share of cells above multitask"]
    # IT 64B with 8 experts, by Task Arithmetic and the three others; IT 24B is as good (1.18), not above.
    assert above is not None and above.value == pytest.approx(4 / (14 + 3))


def test_reasons_name_what_was_left_out_and_where_intervals_come_from(tables: Tables) -> None:
    """A finding says that PT 24B took no part, and that the table's figures tell of no noise of their own."""
    why = finding(tables, "Larger models merge").why
    assert "24B pt task_arithmetic 8 experts" in why and "no noise of their own" in why
    alike = finding(tables, "Methods become alike")
    assert alike.effect is None and "fewer than two methods" in alike.why


def test_two_counts_are_too_few_for_a_law(tables: Tables) -> None:
    """The law is not fitted to two numbers of experts, and says so."""
    assert tables.fits and all(fit.why and fit.points == () and fit.offset is None for fit in tables.fits)
