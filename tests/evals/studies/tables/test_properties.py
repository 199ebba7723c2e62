"""Laws of the tables under any order of scores, any gap, one seed, and tasks that a row has no part in."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from evals.studies.tables.summary import summarise
from evals.studies.tables.tables import make_tables
from evals.studies.tables.values import Question, Role, Score, Subject, Summary
from pipeline.errors import InputError
from tests.helpers.study_scores import QUALITIES, questions, random_scores, subjects

#: Studies of some 400 scores: few examples, as each costs half a second; none is made smaller, as a study at
#: random says no more for being so; no database in the checkout.
FEW = settings(
    max_examples=5, deadline=None, database=None, derandomize=True, phases=(Phase.explicit, Phase.generate)
)
RESAMPLES = 20
COSTS = [
    {"kind": "merge", "size": size, "seconds": 0.1 * index, "read_bytes": index, "peak_bytes": 7 * index}
    for index, size in enumerate(["1m", "4m", "1m", "1m"])
]

Place = tuple[Subject, Role]


def by_place(rows: tuple[Summary, ...]) -> dict[Place, Summary]:
    """Rows by subject and role; each stands once."""
    found = {(row.subject, row.role): row for row in rows}
    assert len(found) == len(rows)
    return found


def estimates(row: Summary) -> tuple[object, ...]:
    """A row's figures."""
    return row.raw, row.ratio, row.corrected


@FEW
@given(st.integers(0, 1000), st.randoms(use_true_random=False))
def test_order_changes_nothing(seed: int, shuffle: random.Random) -> None:
    """Scores and costs in any order give the same tables to the last bit."""
    scores, rows = random_scores(seed), list(COSTS)
    first = make_tables(scores, rows, qualities=QUALITIES, resamples=RESAMPLES)
    shuffle.shuffle(scores)
    shuffle.shuffle(rows)
    assert repr(make_tables(scores, rows, qualities=QUALITIES, resamples=RESAMPLES)) == repr(first)


@FEW
@given(st.integers(0, 1000), st.data())
def test_a_gap_is_a_hole_where_it_is_needed_and_nowhere_else(seed: int, data: st.DataObject) -> None:
    """A missing score empties the ratios made of it, is named there, and leaves other rows as they were."""
    scores = random_scores(seed)
    index = data.draw(st.integers(0, len(scores) - 1))
    gone = scores[index]
    way = data.draw(st.sampled_from(["absent", "None", "nan"]))
    ways: dict[str, list[Score]] = {
        "absent": [],
        "None": [replace(gone, id="", value=None, items=(), why="the worker died")],
        "nan": [replace(gone, value=float("nan"))],
    }
    why = {"absent": "not asked for", "None": "the worker died", "nan": "the score is not a number"}[way]
    before = by_place(summarise(scores, RESAMPLES))
    after = by_place(summarise([*scores[:index], *ways[way], *scores[index + 1 :]], RESAMPLES))
    for place, row in before.items():
        if row.subject.kind == "best expert":
            continue  # it hangs on all experts of its base: the next test
        if gone.id not in row.records:
            assert repr(after.pop(place)) == repr(row)
            continue
        found = after.pop(place)
        assert found.ratio is None and found.corrected is None
        assert found.by_category[gone.question.category] is None
        own = gone.subject.kind == row.subject.kind and gone.subject.base == row.subject.base
        assert not own or found.raw is None or gone.subject.kind == "expert"
        assert any(hole.startswith(gone.question.task) and hole.endswith(why) for hole in found.holes)
        assert gone.id not in found.records


def test_the_best_expert_is_unknown_while_one_is() -> None:
    """Where one expert of a base lacks a score there is no best one: it might be that."""
    scores = random_scores(3)
    best = by_place(summarise(scores, 0))
    base = "1m-weak"
    found = [row for row in best.values() if (row.subject.kind, row.subject.base) == ("best expert", base)]
    for row in found:
        experts = [
            one.ratio.value
            for (subject, role), one in best.items()
            if (subject.kind, subject.base, role) == ("expert", base, row.role) and one.ratio is not None
        ]
        assert row.ratio is not None and row.ratio.value == max(experts)
        assert len(row.subject.experts) == 1
    gone = next(one for one in scores if one.subject.kind == "expert" and one.subject.base == base)
    rest = by_place(summarise([one for one in scores if one is not gone], 0))
    row = next(
        one
        for one in rest.values()
        if (one.subject.kind, one.subject.base, one.role) == ("best expert", base, gone.question.role)
    )
    assert row.ratio is None and row.subject.experts == () and row.holes


@FEW
@given(st.integers(0, 1000))
def test_one_seed_has_no_spread(seed: int) -> None:
    """With one seed there is no spread over seeds, and the interval is that of the items alone."""
    for row in summarise(random_scores(seed, seeds=(4,)), RESAMPLES):
        for figure in (row.raw, row.ratio, row.corrected):
            assert figure is None or figure.spread is None
        assert row.ratio is not None and row.ratio.low is not None, row
        assert len(row.by_seed) == 1


@FEW
@given(st.integers(0, 1000), st.sampled_from(["held-in", "held-out"]))
def test_another_category_changes_only_what_includes_it(seed: int, role: Role) -> None:
    """A category more changes the rows that average over it and none besides; categories keep theirs.

    Held-in it counts where the study has an expert of it, though that one has no score; else nowhere.
    """
    more = Question(role, role, "zz", "zz1", "acc", True, 0.1)
    before = by_place(summarise(random_scores(seed), RESAMPLES))
    asked = random_scores(seed, [*questions(), more])
    if role == "held-in":
        beyond = by_place(summarise(asked, RESAMPLES))
        assert all(repr(beyond[place]) == repr(row) for place, row in before.items())
        base = next(subjects())
        expert = replace(base, kind="expert", experts=("zz",))
        asked.append(Score("", expert, more, None, why="did not pass"))
    after = by_place(summarise(asked, RESAMPLES))
    for place, row in before.items():
        if row.subject.kind == "best expert":
            continue  # another may be best on more categories
        found = after[place]
        if "zz" not in found.by_category:
            assert repr(found) == repr(row)
        assert {name: found.by_category[name] for name in row.by_category} == row.by_category
        assert ("zz" in found.by_category) == (place[1] == role and (role == "held-out" or not merges(row)))


def merges(row: Summary) -> bool:
    """Whether a row counts the categories of merges only."""
    return row.subject.kind == "merge" or row.subject.count > 0


@FEW
@given(st.integers(0, 1000), st.integers(0, 2**32))
def test_draws_follow_from_the_seed(seed: int, other: int) -> None:
    """The same seed gives the same intervals; another moves intervals and no figure."""
    scores = random_scores(seed)
    first, again, moved = (summarise(scores, RESAMPLES, draw) for draw in (seed, seed, other + 1001))
    assert repr(first) == repr(again)
    values = [[one.ratio and one.ratio.value for one in rows] for rows in (first, moved)]
    assert values[0] == values[1]
    assert repr(first) != repr(moved)


def test_without_resamples_there_is_no_interval() -> None:
    """No resamples: the same figures and spreads, and no interval anywhere."""
    scores = random_scores(1)
    for bare, full in zip(summarise(scores, 0), summarise(scores, RESAMPLES), strict=True):
        for one, other in zip(estimates(bare), estimates(full), strict=True):
            assert (one is None) == (other is None)
            assert one is None or repr(one) == repr(replace(other, low=None, high=None))  # type: ignore[type-var]


def test_what_cannot_be_told_apart_is_refused() -> None:
    """A score given twice, subjects of one name, bases of one place and senseless subjects are bad input."""
    scores = random_scores(1)
    base = next(one for one in scores if one.subject.kind == "base")
    merge = next(one for one in scores if one.subject.kind == "merge")
    odd = [
        base,
        replace(base, subject=replace(base.subject, base="another")),
        replace(base, subject=replace(base.subject, parameters=0)),
        replace(merge, subject=replace(merge.subject, experts=())),
        replace(merge, subject=replace(merge.subject, experts=("c", "zz"))),
        replace(base, subject=replace(base.subject, kind="expert")),
    ]
    for one in odd:
        with pytest.raises(InputError):
            summarise([*scores, one], 0)
    with pytest.raises(InputError):
        summarise(scores, -1)


def test_every_subject_has_its_rows() -> None:
    """Bases, experts, best expert, multitask (whole, and beside each count), groups of merges: both roles."""
    rows = summarise(random_scores(1), 0)
    kinds = [(one.subject.kind, one.subject.count) for one in rows if one.subject.base == "1m-weak"]
    wanted = {
        ("base", 0): 1,
        ("expert", 0): 3,
        ("best expert", 0): 1,
        ("base", 2): 1,
        ("base", 3): 1,
        ("multitask", 0): 1,
        ("multitask", 2): 1,
    }
    wanted |= {("multitask", 3): 1, ("merge", 2): 2, ("merge", 3): 2}
    assert {kind: kinds.count(kind) for kind in kinds} == {
        kind: 2 * number for kind, number in wanted.items()
    }
    assert len({one.base for one in subjects()}) * len(kinds) == len(rows)
