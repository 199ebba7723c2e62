"""The paper's five findings, each tested on a study's own scores. It reads averages and draws nothing itself.

Claims and figures: Yadav et al. 2024, arXiv 2410.03617. What lacks a score is left out of a test, and named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from evals.ratios import Floats, ratio
from evals.studies.tables.averages import Average
from evals.studies.tables.claims import Claim, Key, Rows, finding, means, paired, share, trend
from evals.studies.tables.evidence import Line, Unit
from evals.studies.tables.sheet import Sheet
from evals.studies.tables.values import Finding

#: (size, quality, method, count) -> its average.
Cells = Mapping[tuple[str, str, str, int], Average]
PER_TEN = "for ten times the parameters"
FLIPPED = "signs of the differences flipped, one for each"
PERMUTED = "sizes permuted inside each quality of base"


def findings(sheet: Sheet, rows: Sequence[Average], qualities: Sequence[str]) -> tuple[Finding, ...]:
    """All five in order: 3 in two parts, 4 once a quality.

    rows: `averages(sheet)`.  qualities: of bases, from weak to strong.
    The interval of each effect is that of resampled items and seeds: it says how sure the figure is for these
    models and tasks, not whether other families would show the same. p looks at that side: it takes the
    models or categories as the sample, and measured scores as they are.
    """
    merges = [row for row in rows if row.subject.kind == "merge"]
    held_in = {row.cell: row for row in merges if row.role == "held-in"}
    held_out = {row.cell: row for row in merges if row.role == "held-out"}
    multitask = {row.cell: row for row in rows if row.subject.kind == "multitask" and row.role == "held-out"}
    return (
        strong_bases(sheet, held_in, qualities),
        larger_models(held_in),
        generalisation(held_out),
        beats_multitask(held_out, multitask),
        *(more_experts(held_in, quality) for quality in qualities),
        methods_alike(held_in),
    )


def strong_bases(sheet: Sheet, cells: Cells, qualities: Sequence[str]) -> Finding:
    """Finding 1: merges of experts of the strongest base keep more than the same merges of the weakest.

    Unit: size, method and count; in it the mean over seeds of differences between merges of like categories.
    """
    unit = f"held-in ratio, {qualities[-1]} minus {qualities[0]}" if qualities else "held-in ratio"
    claim = Claim(
        1,
        "Strong bases merge better",
        "difference strong minus weak of held-in ratios, paired by size, method, count, seed and category; "
        f"p: {FLIPPED} size and category",
        unit,
        "at 8 experts IT is above PT by 0.26 to 0.47, at every size",
    )
    if len(qualities) < 2:
        return finding(claim, [], None, (), [], "bases of one quality only")
    units: dict[Key, Unit] = {}
    categories: dict[Key, list[float]] = {}
    left_out = []
    both = (qualities[0], qualities[-1])
    places = dict.fromkeys((size, method, count) for size, quality, method, count in cells if quality in both)
    for size, method, count in places:
        where = f"{size} {method} {count} experts"
        weak, strong = (cells.get((size, quality, method, count)) for quality in both)
        if weak is None or strong is None:
            left_out.append(f"{where}: {both[weak is not None]}")
            continue
        differences = {}
        for seed in sorted({*weak.seeds, *strong.seeds}):
            found = _difference(weak, strong, seed)
            if found is None:
                left_out.append(f"{where} seed {seed}")
                continue
            differences[seed] = found[0]
            for category, value in found[1].items():
                categories.setdefault((size, category), []).append(value)
        if differences:
            units[size, count, method] = Unit(where, sheet.over_seeds(differences))
    rows = means(units, lambda key: str(key[0])) + means(units, lambda key: f"{key[1]} experts")
    return paired(claim, units, categories, rows, left_out, "no pair of bases of one size is scored")


def _difference(weak: Average, strong: Average, seed: int) -> tuple[Floats, dict[str, float]] | None:
    """(difference of two merges' ratios, by category); None unless both are whole, of the same categories."""
    if weak.experts.get(seed) != strong.experts.get(seed):
        return None
    under, over = weak.seeds[seed], strong.seeds[seed]
    if under.ratio is None or over.ratio is None:
        return None
    return over.ratio - under.ratio, _by_category(over.by_category, under.by_category)


def _by_category(over: Mapping[str, Floats | None], under: Mapping[str, Floats | None]) -> dict[str, float]:
    """Measured differences where both are there."""
    pairs = ((category, figure, under.get(category)) for category, figure in over.items())
    return {
        category: float(figure[0] - other[0])
        for category, figure, other in pairs
        if figure is not None and other is not None
    }


def larger_models(cells: Cells) -> Finding:
    """Finding 2: at the largest number of experts, held-in ratios rise with size."""
    claim = Claim(
        2,
        "Larger models merge better",
        "slope of the held-in ratio at the largest number of experts against log10 of parameters, mean over "
        f"qualities and methods; p: {PERMUTED}",
        f"held-in ratio {PER_TEN}",
        "at 8 experts IT 0.86, 0.88, 0.92, 0.93 and PT 0.39, 0.42, 0.67, smallest size first",
    )
    figures, left_out = _at(cells, max(_counts(cells), default=0))
    return trend(claim, _lines(cells, figures), left_out)


def generalisation(cells: Cells) -> Finding:
    """Finding 3, first part: on held-out tasks merges are above their base."""
    claim = Claim(
        3,
        "Merging improves generalisation",
        "held-out ratio, mean over sizes, qualities, methods and counts; "
        f"p: {FLIPPED} size, quality and category",
        "held-out score over the base's",
        "at 2 and at 8 experts 1 or more in every cell: 1.00 to 1.35",
        null=1.0,
    )
    units, differences, left_out = _held_out(cells, None)
    rows = _by_base(units) + share("share of cells at the base or above", units, lambda value: value >= 1)
    return paired(claim, units, differences, rows, left_out, "no held-out scores")


def beats_multitask(cells: Cells, multitask: Cells) -> Finding:
    """Finding 3, second part: on held-out tasks merges are above the model trained on all categories."""
    claim = Claim(
        3,
        "Merging generalises better than multitask training",
        "merge minus multitask of held-out ratios, mean over sizes, qualities, methods and counts; "
        f"p: {FLIPPED} size, quality and category",
        "held-out ratio, merge minus multitask",
        "only for IT 64B with 6 or 8 experts, 1.09 against 1.05",
    )
    units, differences, left_out = _held_out(cells, multitask)
    rows = _by_base(units) + share("share of cells above multitask", units, lambda value: value > 0)
    return paired(claim, units, differences, rows, left_out, "no held-out scores of a multitask model")


def _held_out(
    cells: Cells, multitask: Cells | None
) -> tuple[dict[Key, Unit], dict[Key, list[float]], list[str]]:
    """(units: held-out ratios, less multitask's; differences from it, else from 1; what is missing)."""
    units: dict[Key, Unit] = {}
    differences: dict[Key, list[float]] = {}
    left_out = []
    for (size, quality, method, count), row in cells.items():
        where = f"{size} {quality} {method} {count} experts"
        by_category: Mapping[str, Floats | None] = dict.fromkeys(row.all.by_category, np.ones(1))
        drawn = row.all.ratio
        if multitask is not None:
            other = multitask.get((size, quality, "", count))
            by_category = {} if other is None else other.all.by_category
            under = None if other is None else other.all.ratio
            drawn = None if drawn is None or under is None else drawn - under
        if drawn is None:
            left_out.append(where)
            continue
        units[size, quality, method, count] = Unit(where, drawn)
        for category, value in _by_category(row.all.by_category, by_category).items():
            differences.setdefault((size, quality, category), []).append(value)
    return units, differences, left_out


def more_experts(cells: Cells, quality: str) -> Finding:
    """Finding 4 for one quality of base: what is kept from fewest to most experts rises with size."""
    claim = Claim(
        4,
        f"Larger models tolerate more experts: {quality} bases",
        "slope of retention (held-in ratio at the largest number of experts over that at the smallest) "
        f"against log10 of parameters, mean over methods; p: {PERMUTED}",
        f"retention {PER_TEN}",
        "from 2 to 8 experts PT keeps 59%, 62%, 84%, smallest size first; IT 95, 93, 96, 93%: no trend",
    )
    own = {key: row for key, row in cells.items() if key[1] == quality}
    counts = _counts(cells)
    if len(counts) < 2:
        return finding(claim, [], None, (), [], "fewer than two numbers of experts")
    few, left_few = _at(own, min(counts))
    many, left_many = _at(own, max(counts))
    kept = {key: ratio(many[key], few[key], True) for key in few if key in many and few[key][0] != 0}
    lost = [f"{' '.join(key)}: nothing to keep" for key, figure in few.items() if figure[0] == 0]
    return trend(claim, _lines(own, kept), left_few + left_many + lost)


def methods_alike(cells: Cells) -> Finding:
    """Finding 5: at the largest number of experts, methods differ less the larger the models are.

    The resamples of a spread are moved by their bias: noise makes all methods differ.
    """
    claim = Claim(
        5,
        "Methods become alike at scale",
        "slope of the standard deviation between methods of held-in ratios, at the largest number of "
        f"experts, against log10 of parameters, mean over qualities; p: {PERMUTED}",
        f"standard deviation between methods {PER_TEN}",
        "one cell: IT 64B with 8 experts 0.93 for all four methods",
        sign=-1,
    )
    figures, left_out = _at(cells, max(_counts(cells), default=0))
    methods = sorted({method for _, _, method in figures})
    if len(methods) < 2:
        why = "fewer than two methods at the largest number of experts"
        return finding(claim, [], None, (), left_out, why)
    spreads: dict[tuple[str, str, str], Floats] = {}
    for size, quality in dict.fromkeys((size, quality) for size, quality, _ in figures):
        own = [figures[size, quality, method] for method in methods if (size, quality, method) in figures]
        if len(own) == len(methods):
            spread = np.std(np.stack(np.broadcast_arrays(*own)), axis=0, ddof=1)
            if spread.size > 1:
                spread[1:] -= np.nanmean(spread[1:]) - spread[0]
            spreads[size, quality, "methods"] = spread
        else:
            left_out.append(f"{size} {quality}: {len(own)} of {len(methods)} methods")
    return trend(claim, _lines(cells, spreads), left_out)


def _counts(cells: Cells) -> set[int]:
    return {count for _, _, _, count in cells}


def _at(cells: Cells, count: int) -> tuple[dict[tuple[str, str, str], Floats], list[str]]:
    """((size, quality, method) -> ratio of merges of so many experts; what is missing)."""
    found, missing = {}, []
    for size, quality, method in dict.fromkeys(key[:3] for key in cells):
        row = cells.get((size, quality, method, count))
        if row is None or row.all.ratio is None:
            missing.append(f"{size} {quality} {method} {count} experts")
        else:
            found[size, quality, method] = row.all.ratio
    return found, missing


def _lines(cells: Cells, figures: Mapping[tuple[str, str, str], Floats]) -> list[Line]:
    """Figures against size, a line a quality and method."""
    parameters = {key[:2]: row.subject.parameters for key, row in cells.items()}
    points: dict[tuple[str, str], dict[str, tuple[int, Floats]]] = {}
    for (size, quality, method), figure in figures.items():
        points.setdefault((quality, method), {})[size] = (parameters[size, quality], figure)
    return [Line(f"{quality} {method}", quality, found) for (quality, method), found in points.items()]


def _by_base(units: Mapping[Key, Unit]) -> Rows:
    return means(units, lambda key: f"{key[0]}, {key[1]}")
