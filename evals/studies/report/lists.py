"""The report's plain tables: the law's fits and predictions, cost, tuning, where everything came from."""

from __future__ import annotations

from evals.studies.report.about import About
from evals.studies.report.study import Study
from evals.studies.report.view import Listing
from evals.studies.report.words import HOLE, figure, interval, number, size_text, time_text
from evals.studies.tables.values import Estimate, Fit, Point

#: Whether a measured score lies in the interval of its prediction.
_SAID = {True: "yes", False: "no", None: ""}


def law_fits(study: Study) -> Listing:
    """A row a fit and size: what is left with ever more experts, what few experts add, how well it fits."""
    rows: list[tuple[str, ...]] = []
    for fit in study.tables.fits:
        head = (fit.role, fit.quality, fit.method)
        if fit.why:
            rows.append((*head, "", "", "", "", f"not fitted: {fit.why}"))
        for size in fit.limit:
            if fit.is_line:
                numbers = (HOLE, HOLE, "a straight line in k: no limit can be told")
            else:
                offset = (
                    figure(fit.offset) if fit.is_offset_told else f"cannot be told {interval(fit.offset)}"
                )
                numbers = (figure(fit.limit[size]), figure(fit.amplitude.get(size)), offset)
            rows.append((*head, size, *numbers, number(fit.rmse)))
    heads = ("role", "quality", "method", "size", "S∞(N)", "A(N)", "b", "root mean square error")
    return Listing("Fits", heads, tuple(rows))


def law_tests(study: Study) -> Listing:
    """Points that were kept out of the fit: what was seen beside what the fit says."""
    return _points(study, "The largest merges, predicted by a fit without them", held=True)


def law_predictions(study: Study) -> Listing:
    """What the fit says of merges that were not run."""
    return _points(study, "Predictions for merges that were not run", held=False)


def _points(study: Study, title: str, *, held: bool) -> Listing:
    heads: tuple[str, ...] = ("role", "quality", "method", "size", "experts", "predicted", "95% interval")
    heads = (*heads, "measured", "inside") if held else heads
    rows: list[tuple[str, ...]] = []
    for fit in study.tables.fits:
        for point in fit.points:
            if held and point.held:
                rows.append((*_point(fit, point), number(point.observed), _SAID[point.inside]))
            elif not held and point.observed is None:
                rows.append(_point(fit, point))
    return Listing(title, heads, tuple(rows))


def _point(fit: Fit, point: Point) -> tuple[str, ...]:
    limits = interval(Estimate(point.predicted, None, point.low, point.high))
    return (fit.role, fit.quality, fit.method, point.size, str(point.count), number(point.predicted), limits)


def law_holes(study: Study) -> Listing:
    """Sizes and counts that no fit could use."""
    rows = tuple((fit.role, fit.quality, fit.method, hole) for fit in study.tables.fits for hole in fit.holes)
    return Listing("Not in the fits", ("role", "quality", "method", "what"), rows)


def costs(study: Study) -> Listing:
    """What each kind of work took: a row a kind and size."""
    rows = tuple(
        (
            cost.kind,
            cost.size,
            str(cost.units),
            time_text(cost.seconds),
            size_text(cost.read_bytes),
            size_text(cost.peak_bytes),
        )
        for cost in study.tables.costs
    )
    return Listing("Cost", ("work", "size", "units", "seconds together", "read", "peak memory"), rows)


def tuning(about: About) -> Listing:
    """Every setting that was tried on validation rows."""
    rows = tuple(
        (
            one.base,
            one.method,
            str(one.count),
            one.settings,
            number(one.score),
            "; ".join(part for part in ("✓ chosen" if one.chosen else "", _brief(one.why)) if part),
        )
        for one in about.tuning
    )
    return Listing("Tuning", ("base", "method", "experts", "settings", "validation score", ""), rows)


def _brief(why: str) -> str:
    """A reason without where and what to do: all of it stands once in the list of reasons."""
    return why.partition("; where: ")[0]


def origins(about: About) -> Listing:
    """Every checkpoint and file with the digest of its content."""
    rows = tuple((one.what, one.path, one.digest) for one in about.origins)
    return Listing("Inputs", ("what", "path", "digest"), rows)


def versions(about: About) -> Listing:
    """Every program that decides a score."""
    return Listing("Versions", ("program", "version"), tuple(sorted(about.versions.items())))
