"""The paper's claims in words: what is claimed, how it is tested here, what the paper itself found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evals.studies.tables.averages import Measure
from evals.studies.tables.claims import Claim

PER_TEN = "for ten times the parameters"
#: What a measure is called in a finding.
MEASURES: Mapping[Measure, str] = {
    "raw": "score",
    "corrected": "share of the experts' gain over guessing",
    "ratio": "mean of the paper's ratios",
    "pooled": "mean difference over the base's mean score",
}
LARGER_MODELS = Claim(
    2,
    "Larger models merge better",
    "slope of the held-in figure at the largest number of experts against log10 of parameters, mean over "
    "methods, each quality of base with a level of its own",
    "bases",
    f"held-in {{}}, {PER_TEN}",
    "at 8 experts IT 0.86, 0.88, 0.92, 0.93 and PT 0.39, 0.42, 0.67, smallest size first",
)
GENERALISATION = Claim(
    3,
    "Merging improves generalisation",
    "held-out score of merges minus that of their base, on the same items, over the base's; mean over bases "
    "of the mean over methods and counts",
    "bases",
    "held-out {}, merge minus base",
    "at 2 and at 8 experts the base's score or more in every cell: 1.00 to 1.35 of it",
)
BEATS_MULTITASK = Claim(
    3,
    "Merging generalises better than multitask training",
    "held-out score of merges minus that of the multitask model, on the same items, over the base's; mean "
    "over bases of the mean over methods and counts",
    "bases",
    "held-out {}, merge minus multitask",
    "only for IT 64B with 6 or 8 experts, 1.09 against 1.05",
)
METHODS_ALIKE = Claim(
    5,
    "Methods become alike at scale",
    "slope of the standard deviation between methods of held-in figures, net of what noise makes of it, at "
    "the largest number of experts, against log10 of parameters, each quality with a level of its own",
    "bases",
    f"standard deviation between methods of held-in {{}}, {PER_TEN}",
    "one cell: IT 64B with 8 experts 0.93 for all four methods",
    sign=-1,
)


def strong_bases_claim(qualities: Sequence[str]) -> Claim:
    """Claim 1. qualities: from weak to strong."""
    named = f", {qualities[-1]} minus {qualities[0]}" if len(qualities) > 1 else ""
    return Claim(
        1,
        "Strong bases merge better",
        "difference strong minus weak of held-in figures, paired by size, method, count and seed; mean over "
        "sizes of the mean over methods and counts",
        "bases",
        "held-in {}" + named,
        "at 8 experts IT is above PT by 0.26 to 0.47, at every size",
    )


def more_experts_claim(quality: str) -> Claim:
    """Claim 4 for one quality of base."""
    return Claim(
        4,
        f"Larger models tolerate more experts: {quality} bases",
        "slope against log10 of parameters of what is kept from the smallest number of experts to the "
        "largest, of held-in figures, mean over methods",
        "sizes",
        f"kept of held-in {{}}, {PER_TEN}",
        "from 2 to 8 experts PT keeps 59%, 62%, 84%, smallest size first; IT 95, 93, 96, 93%: no trend",
    )
