"""Measure how often findings are wrong, and how often they find an effect: studies made up and judged.

    python -m benchmarks.verdicts [--studies 200] [--items 20 50 200] [--sizes 4] [--truth null paper share]
    python -m benchmarks.verdicts --truth paper --sizes 4 --exact

Every study is judged by the report's own arithmetic, from the scores of single items to the verdicts. Prints
a row a finding and condition: how often it is supported, how often its opposite is seen, the same of its two
scopes by themselves, or with --cells how often the 95% intervals of the tables hold the truth. --exact judges
the true scores, without noise or luck: what no number of items could add to. No model is merged. An earlier
version of the arithmetic is judged by running this file with that version first on the path.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from evals.studies.tables.averages import averages
from evals.studies.tables.findings import findings
from evals.studies.tables.sheet import make_sheet
from evals.studies.tables.summary import summaries
from evals.studies.tables.values import Question, Role, Score, Subject

QUALITIES = ("weak", "strong")
METHODS = ("linear", "task_arithmetic", "ties", "dare_ties")
SIZES = {"1B": 10**9, "8B": 8 * 10**9, "24B": 24 * 10**9, "64B": 64 * 10**9}
COUNTS, SEEDS = (2, 8), (0, 1, 2)
CATEGORIES, OUTSIDE = tuple("abcdefgh"), tuple("wxyz")
CHANCE, EXPERT, BASE = 0.25, 0.75, 0.4
#: What luck of a base adds, as a share of `Condition.luck`: to all merges, to each method, to each count.
LUCK = {"base": 1.0, "method": 0.5, "count": 0.5}
#: Of a merge's score over its expert's at 2 and 8 experts, of its held-out score over the base's, and of the
#: multitask model's: the paper's table (arXiv 2410.03617), smallest size first; PT 24B, which it lacks, in
#: between. Sizes that it has not lie on straight lines in log size.
PAPER: Mapping[str, tuple[tuple[tuple[float, float], float, float], ...]] = {
    "strong": (
        ((0.91, 0.86), 1.04, 1.11),
        ((0.95, 0.88), 1.045, 1.12),
        ((0.96, 0.92), 1.115, 1.18),
        ((1.00, 0.93), 1.045, 1.05),
    ),
    "weak": (
        ((0.66, 0.39), 1.04, 1.10),
        ((0.68, 0.42), 1.03, 1.62),
        ((0.74, 0.55), 1.17, 1.67),
        ((0.80, 0.67), 1.32, 1.72),
    ),
}
#: Standard deviation between methods where they become alike: smallest size first, of the expert's score.
APART = (0.10, 0.07, 0.04, 0.0)


@dataclass(frozen=True)
class Condition:
    """What studies are made of.

    truth: "null", nothing that is claimed is so; "paper", all is, by the paper's table; "share", strong bases
    keep 0.60 of the experts' gain, weak ones 0.45.  items: of every task.  luck: standard deviation of what
    the merges of a base score more or less than those of bases like it.  sizes: how many.  runs: of the
    experts, each with luck of its own.  draws: standard deviation of what a category adds to the kept share,
    the same for all bases.  base: its held-out score. Without items scores are the true ones.
    """

    truth: str
    items: int
    luck: float = 0.0
    sizes: int = 4
    runs: int = 1
    draws: float = 0.05
    base: float = BASE

    @property
    def parameters(self) -> dict[str, int]:
        """Size -> parameters: the paper's sizes, spread over them where there are fewer or more."""
        if self.sizes <= len(SIZES):
            places = np.linspace(0, len(SIZES) - 1, self.sizes).round().astype(int)
            return {name: SIZES[name] for name in (list(SIZES)[place] for place in places)}
        numbers = np.geomspace(min(SIZES.values()), max(SIZES.values()), self.sizes).round().astype(int)
        return {f"{number / 10**9:.3g}B": int(number) for number in numbers}


def at_size(figures: Sequence[float], parameters: int) -> float:
    """The figure of a size, between those of the paper's sizes on a straight line in log size."""
    return float(np.interp(np.log10(parameters), np.log10(list(SIZES.values())), figures))


def subjects(condition: Condition, draw: np.random.Generator) -> Iterator[Subject]:
    """Bases, experts, multitask models, and merges of experts that seeds pick: the same for every base."""
    orders = {seed: draw.permutation(CATEGORIES).tolist() for seed in SEEDS}
    for size, parameters in condition.parameters.items():
        for quality in QUALITIES:
            place = (f"{size}-{quality}", size, quality, parameters)
            yield Subject(*place, "base")
            for run in range(condition.runs):
                also: dict[str, Any] = {"run": run} if condition.runs > 1 else {}
                yield from (Subject(*place, "expert", experts=(one,), **also) for one in CATEGORIES)
                yield Subject(*place, "multitask", experts=CATEGORIES, **also)
                for method in METHODS:
                    for count in COUNTS:
                        for seed in SEEDS if count < len(CATEGORIES) else SEEDS[:1]:
                            picked = tuple(sorted(orders[seed][:count]))
                            yield Subject(*place, "merge", method, count, seed, picked, **also)


def questions() -> list[Question]:
    """One task a category, of choices among four."""
    roles: list[tuple[Role, Sequence[str]]] = [("held-in", CATEGORIES), ("held-out", OUTSIDE)]
    return [
        Question(role, role, name, f"{role}-{name}", "acc", True, CHANCE)
        for role, names in roles
        for name in names
    ]


class World:
    """The true scores of one study's models: a truth, luck of bases, and what each category adds."""

    def __init__(self, condition: Condition, draw: np.random.Generator) -> None:
        self.condition = condition
        self.draw = draw
        self.adds = dict(
            zip(CATEGORIES, condition.draws * draw.standard_normal(len(CATEGORIES)), strict=True)
        )
        self.lucks: dict[tuple[object, ...], float] = {}

    def luck(self, subject: Subject, role: Role) -> float:
        """What the merges of a base score more than those of bases like it."""
        run = getattr(subject, "run", 0)
        parts = {"base": (), "method": (subject.method,), "count": (subject.method and subject.count,)}
        total = 0.0
        for name, own in parts.items():
            key = (name, subject.base, run, role, subject.kind, *own)
            if key not in self.lucks:
                self.lucks[key] = LUCK[name] * self.condition.luck * float(self.draw.standard_normal())
            total += self.lucks[key]
        return total

    def level(self, subject: Subject, question: Question) -> float:
        """The true score of a model on a task."""
        if subject.kind == "base":
            return self.condition.base if question.role == "held-out" else CHANCE + 0.05
        if subject.kind == "expert":
            return EXPERT if question.category in subject.experts else self.condition.base
        held = self._held_in(subject, question) if question.role == "held-in" else self._held_out(subject)
        return float(np.clip(held + self.luck(subject, question.role), 0.02, 0.98))

    def _held_in(self, subject: Subject, question: Question) -> float:
        if subject.kind == "multitask":
            return 0.97 * EXPERT
        many = COUNTS.index(subject.count)
        apart = 0.03
        if self.condition.truth == "paper":
            shares = [row[0][many] for row in PAPER[subject.quality]]
            kept = at_size(shares, subject.parameters) * EXPERT
            apart = at_size(APART, subject.parameters)
        else:
            share = {"weak": 0.45, "strong": 0.60} if self.condition.truth == "share" else {}
            kept = CHANCE + (EXPERT - CHANCE) * (share.get(subject.quality, 0.55) + 0.1 * (0.5 - many))
        # Four methods at these places differ by a sample standard deviation of one.
        place_of = (METHODS.index(subject.method) - 1.5) / np.sqrt(5 / 3)
        return float(kept + apart * EXPERT * place_of + self.adds[question.category] * (EXPERT - CHANCE))

    def _held_out(self, subject: Subject) -> float:
        if self.condition.truth != "paper":
            return self.condition.base
        shares = [
            multitask if subject.kind == "multitask" else merge
            for _, merge, multitask in PAPER[subject.quality]
        ]
        return self.condition.base * at_size(shares, subject.parameters)


def study(condition: Condition, seed: int) -> tuple[list[Score], World]:
    """The scores of one study. Half of an item's difficulty is the same for all models."""
    draw = np.random.default_rng([seed, condition.items, round(1000 * condition.luck), condition.sizes])
    world, asked = World(condition, draw), list(subjects(condition, draw))
    found = []
    for question in questions():
        mine = [one for one in asked if is_asked(one, question)]
        if not condition.items:
            found += [Score("s", one, question, world.level(one, question)) for one in mine]
            continue
        levels_S = np.array([world.level(one, question) for one in mine])
        shape = (len(mine), condition.items)
        hard_SN = (draw.standard_normal(condition.items) + draw.standard_normal(shape)) / np.sqrt(2)
        right_SN = (hard_SN < stats.norm.ppf(levels_S)[:, None]).astype(float)
        found += [
            Score("s", one, question, float(items.mean()), None, condition.items, tuple(items.tolist()))
            for one, items in zip(mine, right_SN, strict=True)
        ]
    return found, world


def is_asked(subject: Subject, question: Question) -> bool:
    """Whether a study asks a model a question: merges held-in only their own, experts no other."""
    if subject.kind == "expert" or question.role == "held-in":
        return question.category in subject.experts
    return True


def judge(condition: Condition, number: int, resamples: int = 200, first: int = 0) -> dict[str, Counter[str]]:
    """Finding -> verdict -> in how many studies; scopes by themselves under "finding | scope"."""
    found: dict[str, Counter[str]] = {}
    for seed in range(first, first + number):
        scores, _ = study(condition, seed)
        sheet = make_sheet(scores, resamples, seed)
        for one in findings(sheet, averages(sheet), QUALITIES):
            name = f"{one.number} {one.claim}"
            found.setdefault(name, Counter())[one.verdict] += 1
            for line in getattr(one, "lines", ()):
                found.setdefault(f"{name} | {line.scope}", Counter())[line.verdict] += 1
    return found


def coverage(condition: Condition, number: int, resamples: int = 400) -> dict[str, Counter[str]]:
    """Kind of cell -> how often its 95% interval is "above", "below" or "holds" the truth, or is not there.

    The truth of a cell is the same figure of the true scores, categories taken as they were drawn.
    """
    found: dict[str, Counter[str]] = {}
    for seed in range(number):
        scores, world = study(condition, seed)
        sheet = make_sheet(scores, resamples, seed)
        for row in summaries(averages(sheet)):
            one = row.subject
            if one.kind != "merge" or row.ratio is None:
                continue
            counted = Counter[str](found.get(key := f"{row.role}, {one.count} experts", {}))
            truth = _truth(condition, world, row, scores)
            low, high = row.ratio.low, row.ratio.high
            if low is None or high is None:
                counted["none"] += 1
            else:
                counted["above" if low > truth else "below" if high < truth else "holds"] += 1
            found[key] = counted
    return found


def _truth(condition: Condition, world: World, row: Any, scores: Iterable[Score]) -> float:
    """A cell's ratio from true scores: of drawn categories the mean over all draws, not only over these."""
    one = row.subject
    if row.role == "held-out":
        question = next(score.question for score in scores if score.question.role == "held-out")
        return world.level(one, question) / condition.base
    asked = [question for question in questions() if question.role == "held-in"]
    return float(np.mean([world.level(one, question) for question in asked]) / EXPERT)


def print_exact(truths: Sequence[str], sizes: Sequence[int]) -> None:
    """Print p of each finding, over units alone, where scores are the true ones of a study."""
    for truth in truths:
        for number in sizes:
            scores, _ = study(Condition(truth, 0, sizes=number, draws=0.0), 0)
            sheet = make_sheet(scores, 0)
            for one in findings(sheet, averages(sheet), QUALITIES):
                p, adjusted = (one.lines[1].p, one.lines[1].adjusted) if one.lines else (None, None)
                row = {"truth": truth, "sizes": number, "what": f"{one.number} {one.claim}", "p": p}
                sys.stdout.write(json.dumps(row | {"holm": adjusted, "verdict": one.verdict}) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a row a condition and finding."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--items", type=int, nargs="+", default=[20, 50, 200])
    parser.add_argument("--luck", type=float, nargs="+", default=[0.0, 0.02])
    parser.add_argument("--sizes", type=int, nargs="+", default=[4])
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--truth", nargs="+", default=["null", "paper", "share"])
    parser.add_argument("--cells", action="store_true", help="coverage of the tables' intervals instead")
    parser.add_argument("--exact", action="store_true", help="judge the true scores instead: p, by Holm")
    chosen = parser.parse_args(arguments)
    if chosen.exact:
        print_exact(chosen.truth, chosen.sizes)
        return
    for truth in chosen.truth:
        for sizes in chosen.sizes:
            for luck in chosen.luck:
                for items in chosen.items:
                    condition = Condition(truth, items, luck, sizes, chosen.runs)
                    counted = (coverage if chosen.cells else judge)(condition, chosen.studies)
                    for name, verdicts in counted.items():
                        shares = {key: round(value / verdicts.total(), 3) for key, value in verdicts.items()}
                        row = {"truth": truth, "sizes": sizes, "luck": luck, "items": items, "what": name}
                        sys.stdout.write(json.dumps(row | {"shares": shares}) + "\n")
                    sys.stdout.flush()


if __name__ == "__main__":
    main()
