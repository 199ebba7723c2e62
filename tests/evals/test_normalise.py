"""Normalised scores: by hand, by their invariants, and with gaps."""

from __future__ import annotations

import numpy as np
import pytest

from evals.normalise import Average, Relative, averages, normalise
from evals.record import Record
from evals.studies.tables.summary import summarise
from evals.studies.tables.values import Question, Role, Score, Subject
from tests.helpers.records import record

HALF, MOST, FEW = [1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]


def cell(cells: list[Relative], label: str, task: str) -> Relative:
    """The one cell of a model and task."""
    return next(one for one in cells if (one.label, one.task) == (label, task))


def mean(means: list[Average], label: str, role: str = "held-in") -> Average:
    """The one average of a model and role."""
    return next(one for one in means if (one.label, one.role) == (label, role))


def test_held_in_is_relative_to_the_expert_of_the_category() -> None:
    """Held-in score over the expert's, and the same above chance, computed by hand."""
    records = [record("merged", "pick", HALF), record("expert", "pick", MOST)]
    found = cell(normalise(records, experts={"choice": "expert"}), "merged", "pick")
    assert found.ratio == pytest.approx(0.5 / 0.75)
    assert found.corrected == pytest.approx((0.5 - 0.25) / (0.75 - 0.25))
    assert found.reference == "expert"


def test_held_out_is_relative_to_the_base() -> None:
    """Held-out score over the base's; an expert of a category of that name has no say."""
    records = [record(name, "pick", items, role="held-out") for name, items in (("m", MOST), ("b", HALF))]
    found = cell(normalise(records, base="b", experts={"choice": "m"}), "m", "pick")
    assert found.ratio == pytest.approx(1.5)


def test_a_reference_is_one_of_itself() -> None:
    """Reference relative to itself is exactly 1, above chance too, without error on the same items."""
    found = cell(normalise([record("e", "pick", MOST)], experts={"choice": "e"}), "e", "pick")
    assert (found.ratio, found.corrected, found.ratio_stderr) == (1.0, 1.0, 0.0)


def test_less_is_better_turns_the_ratio_over() -> None:
    """For perplexity the ratio is reference over score: better is more than 1; chance has no meaning."""
    better, base = (
        record(name, "pick", role="held-out", value=value, higher_is_better=False, items=(), chance=None)
        for name, value in (("better", 10.0), ("base", 20.0))
    )
    found = cell(normalise([better, base], base="base"), "better", "pick")
    assert found.ratio == 2.0 and found.corrected is None


@pytest.mark.parametrize("reference", [FEW, [0.0, 0.0, 0.0, 0.0]])
def test_a_reference_at_chance_has_no_gain_to_divide_by(reference: list[float]) -> None:
    """A reference at or below chance gives no chance-corrected score; one at zero gives no ratio either."""
    records = [record("m", "pick", MOST), record("e", "pick", reference)]
    found = cell(normalise(records, experts={"choice": "e"}), "m", "pick")
    assert found.corrected is None
    assert (found.ratio is None) == (sum(reference) == 0)


def test_categories_weigh_the_same_whatever_their_number_of_tasks() -> None:
    """The average goes inside a category first: two tasks of one category do not outweigh one of another."""
    records = [record("e", task, MOST) for task in ("a", "b")] + [record("e", "c", MOST, category="other")]
    records += [record("m", "a", MOST), record("m", "b", HALF), record("m", "c", FEW, category="other")]
    found = mean(averages(normalise(records, experts={"choice": "e", "other": "e"})), "m")
    inside = (1 + 0.5 / 0.75) / 2
    assert found.by_category == pytest.approx({"choice": inside, "other": 0.25 / 0.75})
    assert found.ratio == pytest.approx((inside + 0.25 / 0.75) / 2)


def test_the_share_of_gains_is_formed_of_means() -> None:
    """Of two tasks the mean score less mean chance stands over the same of the experts, as in studies.

    An expert hardly above chance, whose own share would be -3, neither swamps the average nor empties it.
    """
    near = [1.0, *[0.0] * 2, *[1.0] * 4, *[0.0] * 9]  # 5 of 16
    records = [record("e", "a", MOST), record("m", "a", HALF)]
    records += [
        record("e", "b", near, category="other"),
        record("m", "b", [1.0] + [0.0] * 15, category="other"),
    ]
    cells = normalise(records, experts={"choice": "e", "other": "e"})
    assert cell(cells, "m", "b").corrected == pytest.approx((1 / 16 - 0.25) / (5 / 16 - 0.25))
    wanted = ((0.5 + 1 / 16) / 2 - 0.25) / ((0.75 + 5 / 16) / 2 - 0.25)
    assert mean(averages(cells), "m").corrected == pytest.approx(wanted)


@pytest.mark.parametrize("role", ["held-in", "held-out"])
def test_the_command_and_a_study_have_one_definition(role: Role) -> None:
    """The same scores give the same averages in `mergescale eval` and in the tables of a study."""
    draw = np.random.default_rng(4)
    place = ("1m-weak", "1m", "weak", 1_000_000)
    merge, base = Subject(*place, "merge", "ties", 2, 0, ("x", "y")), Subject(*place, "base")
    expert = {name: Subject(*place, "expert", experts=(name,)) for name in "xy"}
    records, scores = [], []
    for task, category in (("a", "x"), ("b", "x"), ("c", "y")):
        question = Question(role, role, category, task, "acc", True, 0.25)
        models = (("m", merge, 0.5), ("b", base, 0.4), (category, expert[category], 0.8))
        for label, subject, share in models:
            items = (draw.random(60) < share).astype(float).tolist()
            records.append(record(label, task, items, role=role, category=category))
            scores.append(Score(label, subject, question, float(np.mean(items)), None, 60, tuple(items)))
    ours = mean(averages(normalise(records, "b", {"x": "x", "y": "y"})), "m", role)
    row = next(one for one in summarise(scores, 0) if (one.subject.kind, one.role) == ("merge", role))
    assert row.ratio is not None and row.corrected is not None
    assert (ours.ratio, ours.corrected) == pytest.approx((row.ratio.value, row.corrected.value), rel=1e-12)


def test_a_gap_is_never_averaged_over() -> None:
    """A task that was not measured, or an expert's, makes its averages missing and is named."""
    records = [record(name, task, MOST) for name in ("m", "e") for task in ("a", "b")]
    whole = mean(averages(normalise(records, experts={"choice": "e"})), "m")
    assert whole.ratio == 1.0 and whole.missing == ()
    for gone in (("m", "b"), ("e", "b")):
        rest = [one for one in records if (one.label, one.task) != gone]
        found = mean(averages(normalise(rest, experts={"choice": "e"})), "m")
        assert found.ratio is None and found.corrected is None and found.ratio_stderr is None
        assert found.missing == ("b",)


def test_only_categories_of_merged_experts_count() -> None:
    """Where a merge's experts are known, other held-in categories are left out, held-out ones never."""
    records = [record("m", "a", HALF), record("m", "b", HALF, category="other")]
    records += [record("e", "a", MOST), record("e", "b", MOST, category="other")]
    records += [record(name, "c", HALF, role="held-out") for name in ("m", "e")]
    cells = normalise(records, "e", {"choice": "e", "other": "e"}, counted={"m": ["choice"]})
    assert [one.task for one in cells if one.label == "m"] == ["a", "c"]
    assert [one.task for one in cells if one.label == "e"] == ["a", "b", "c"]
    assert list(mean(averages(cells), "m").by_category) == ["choice"]


def simulated(seed: int, shared: bool) -> tuple[Record, Record]:
    """A score and its reference over 60 items, drawn on the same items (correlated) or on others."""
    draw = np.random.default_rng(seed)
    hard = draw.random(60)
    ours = (hard + draw.normal(0, 0.2, 60) < 0.6).astype(float).tolist()
    theirs = (hard + draw.normal(0, 0.2, 60) < 0.8).astype(float).tolist()
    if not shared:
        theirs = (draw.random(60) < 0.78).astype(float).tolist()
    other = {} if shared else {"task_digest": "another"}
    return record("m", "a", ours), record("e", "a", theirs, **other)


@pytest.mark.parametrize("shared", [True, False])
def test_the_error_of_a_ratio_is_the_spread_of_ratios(shared: bool) -> None:
    """Over repeated draws, ratios scatter as their standard errors say: paired on the same items, or not."""
    ratios, errors = [], []
    for seed in range(400):
        ours, theirs = simulated(seed, shared)
        found = cell(normalise([ours, theirs], experts={"choice": "e"}), "m", "a")
        assert found.ratio is not None and found.ratio_stderr is not None
        ratios.append(found.ratio)
        errors.append(found.ratio_stderr)
    assert np.mean(errors) == pytest.approx(np.std(ratios, ddof=1), rel=0.1)
