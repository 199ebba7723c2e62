"""A claim and its evidence made into a finding: verdict, reasons, figures. It knows no claim of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evals.studies.tables.evidence import (
    Line,
    Unit,
    effect,
    from_scores,
    judge,
    sign_flip,
    size_permutation,
    steps,
)
from evals.studies.tables.values import Estimate, Finding

#: What tells units apart: size, quality and so on.
Key = tuple[str | int, ...]
Rows = tuple[tuple[str, Estimate | None], ...]
#: How many of those left out are named.
NAMED = 3


@dataclass(frozen=True)
class Claim:
    """What is claimed and how it is tested, in words.

    unit: what the effect is.  paper: the paper's own figure.  null, sign: the effect should lie above `null`
    (+1) or below it (-1).
    """

    number: int
    claim: str
    test: str
    unit: str
    paper: str
    null: float = 0.0
    sign: int = 1


def finding(
    claim: Claim, units: Sequence[Unit], p: float | None, rows: Rows, left_out: Sequence[str], lacking: str
) -> Finding:
    """The verdict of `evidence.judge` on the mean over units.

    left_out: units that lack a score, by name.  lacking: why there is no unit, where there is none.
    """
    figure = effect(units)
    verdict, why = judge(figure, claim.null, claim.sign)
    if figure is not None and figure.low is None and from_scores(units):
        why = "there is no interval: it cannot be formed in too many of the resamples"
    reasons = [why if units else lacking]
    if figure is not None and figure.low is not None and not from_scores(units):
        reasons.append(f"the scores tell of no noise of their own: the interval is over {len(units)} units")
    if left_out:
        names = ", ".join(left_out[:NAMED]) + (", ..." if len(left_out) > NAMED else "")
        reasons.append(f"left out, lacking what they need: {len(left_out)} ({names})")
    return Finding(
        claim.number,
        claim.claim,
        claim.test,
        figure,
        claim.unit,
        p if units else None,
        verdict,
        "; ".join(reasons),
        claim.paper,
        rows,
    )


def paired(
    claim: Claim,
    units: Mapping[Key, Unit],
    differences: Mapping[Key, Sequence[float]],
    rows: Rows,
    left_out: Sequence[str],
    lacking: str,
) -> Finding:
    """A claim about a mean of differences. differences: those whose mean has its sign flipped together."""
    p = sign_flip([float(np.mean(values)) for values in differences.values()])
    return finding(claim, list(units.values()), p, rows, left_out, lacking)


def trend(claim: Claim, lines: Sequence[Line], left_out: Sequence[str]) -> Finding:
    """A claim about figures against size: the mean slope of all lines that have two sizes or more."""
    rows: list[tuple[str, Estimate | None]] = []
    for group in dict.fromkeys(line.group for line in lines):
        own = [line for line in lines if line.group == group]
        rows.append((f"{group}: slope", effect([unit for line in own for unit in steps(line)])))
        sizes = {size: parameters for line in own for size, (parameters, _) in line.points.items()}
        for size in sorted(sizes, key=lambda one: (sizes[one], one)):
            at = [Unit(line.name, line.points[size][1]) for line in own if size in line.points]
            rows.append((f"{group}, {size}", effect(at)))
    units = [unit for line in lines for unit in steps(line)]
    if units:
        left_out = [*left_out, *(f"{line.name}: one size" for line in lines if not steps(line))]
    return finding(
        claim, units, size_permutation(lines), tuple(rows), left_out, "fewer than two sizes to compare"
    )


def means(units: Mapping[Key, Unit], by: Callable[[Key], str]) -> Rows:
    """The mean of units that share a name."""
    groups: dict[str, list[Unit]] = {}
    for key, unit in units.items():
        groups.setdefault(by(key), []).append(unit)
    return tuple((name, effect(group)) for name, group in groups.items())


def share(name: str, units: Mapping[Key, Unit], holds: Callable[[float], bool]) -> Rows:
    """The share of units of which something holds, as it was measured: without an interval."""
    if not units:
        return ()
    kept = sum(holds(float(unit.drawn[0])) for unit in units.values())
    return ((name, Estimate(kept / len(units), None, None, None)),)
