"""Evidence made into verdicts: two scopes, Holm's rule over the findings, the smallest effect of interest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from evals.studies.tables.evidence import Evidence, Tested, for_like, for_these
from evals.studies.tables.values import Estimate, Judgement, Scope, Verdict

#: Share of wrong verdicts that is borne.
ERROR = 0.05
#: More units than these are not counted on.
MOST_UNITS = 1000
NO_NOISE = "the scores tell of no noise of their own: no items, no standard errors, one draw"


@dataclass(frozen=True)
class Settled:
    """The verdict of both scopes together, and each by itself."""

    lines: tuple[Judgement, Judgement]
    verdict: Verdict
    why: str


def settle(
    evidence: Sequence[Evidence], signs: Sequence[int], units: Sequence[str], smallest: float
) -> list[Settled]:
    """The verdict of each finding.

    signs: +1 where the claim says more, -1 where less.  units: what the sample of models is made of.
    smallest: the smallest effect of interest. A scope is *supported* or *the opposite is seen* when p is at
    most 5% by Holm's rule over all findings that have a p (Holm 1979), *no larger difference* when the whole
    95% interval is nearer to zero than `smallest` (two one-sided tests, Schuirmann 1987), which goes first. A
    finding has the verdict that both its scopes have, else it cannot tell; where the scores tell of no noise,
    that of its units alone.
    """
    these = [for_these(one.effect) if one.effect is not None else None for one in evidence]
    like = [for_like(one) for one in evidence]
    firsts = _judged("for these models", these, signs, smallest, [NO_NOISE] * len(these))
    seconds = _judged(
        "for models like these", like, signs, smallest, [one.lacking for one in evidence], units, evidence
    )
    return [
        Settled((first, second), *_together(first, second))
        for first, second in zip(firsts, seconds, strict=True)
    ]


def holm(values: Sequence[float | None]) -> list[float | None]:
    """p adjusted by Holm's rule (1979), in place; None stays out of it."""
    order = sorted((p, index) for index, p in enumerate(values) if p is not None)
    found: list[float | None] = [None] * len(values)
    largest = 0.0
    for place, (p, index) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - place) * p))
        found[index] = largest
    return found


def _judged(
    scope: Scope,
    tests: Sequence[Tested | None],
    signs: Sequence[int],
    smallest: float,
    lacking: Sequence[str],
    units: Sequence[str] = (),
    evidence: Sequence[Evidence] = (),
) -> list[Judgement]:
    ps = [None if one is None else one.p for one in tests]
    adjusted = holm(ps)
    number = sum(p is not None for p in ps)
    found = []
    for index, (test, p, holms) in enumerate(zip(tests, ps, adjusted, strict=True)):
        effect = None if test is None else test.estimate
        verdict, why = _verdict(effect, holms, signs[index], smallest, number, lacking[index])
        if test is not None and verdict == "cannot tell" and units:
            why += _needed(test, len(evidence[index].parts), evidence[index].freedom, units[index])
        found.append(Judgement(scope, effect, p, holms, verdict, why))
    return found


def _verdict(
    effect: Estimate | None, adjusted: float | None, sign: int, smallest: float, number: int, lacking: str
) -> tuple[Verdict, str]:
    """One scope's verdict and its reason."""
    if effect is None:
        return "cannot tell", "nothing to compute it from"
    if effect.low is None or effect.high is None or adjusted is None:
        return "cannot tell", lacking
    if -smallest < effect.low and effect.high < smallest:
        return "no larger difference", f"the whole interval is within {smallest:g} of no difference"
    if effect.low <= 0 <= effect.high:
        return "cannot tell", "the interval includes no difference"
    side = "above" if effect.value > 0 else "below"
    if adjusted > ERROR:
        return "cannot tell", (
            f"the interval by itself is {side} no difference, but among {number} findings "
            f"that is no surprise (p by Holm's rule {adjusted:.2g})"
        )
    verdict: Verdict = "supported" if (effect.value > 0) == (sign > 0) else "the opposite is seen"
    return verdict, f"the whole interval is {side} no difference"


def _needed(test: Tested, units: int, freedom: int, kind: str) -> str:
    """How many units would tell an effect of this size from none, if they differ as these do."""
    if test.error is None or freedom < 1:
        return ""
    numbers = np.arange(units, MOST_UNITS + 1)
    reaches = test.error * np.sqrt(units / numbers) * stdtrit(numbers - (units - freedom), 1 - ERROR / 2)
    enough = numbers[abs(test.value) > reaches]
    if not enough.size:
        return f"; more than {MOST_UNITS:,} {kind} would be needed to show an effect of this size"
    if enough[0] == units:
        return ""
    return f"; an effect of this size would show with some {enough[0]} {kind} in place of {units}"


def _together(first: Judgement, second: Judgement) -> tuple[Verdict, str]:
    """The verdict of a finding from those of its scopes."""
    if first.effect is None:
        return "cannot tell", ""
    if first.effect.low is None:
        return second.verdict, f"{NO_NOISE}; the verdict is the one {second.scope} alone: {second.why}"
    if first.verdict == second.verdict:
        return first.verdict, f"{first.why}, {first.scope} and {second.scope}"
    parts = (f"{line.scope}: {line.verdict}, as {line.why}" for line in (first, second))
    return "cannot tell", "; ".join(parts)
