"""Numbers and names as a report prints them. A missing number is a dash, never a figure."""

from __future__ import annotations

import math

from evals.studies.tables.values import Estimate, Subject, Verdict

HOLE = "–"
_UNITS = ("B", "KB", "MB", "GB", "TB", "PB")


def number(value: float | None) -> str:
    """Three digits after the point below ten, one above; a dash for what is missing or not finite."""
    if value is None or not math.isfinite(value):
        return HOLE
    text = f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
    return text.replace("-", "−")


def spread(estimate: Estimate | None) -> str:
    """ "±0.012", the standard deviation over seeds; "" where there is none."""
    return "" if estimate is None or estimate.spread is None else f"±{number(estimate.spread)}"


def interval(estimate: Estimate | None) -> str:
    """ "[0.890, 0.934]", the 95% interval; "" where there is none."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    return f"[{number(estimate.low)}, {number(estimate.high)}]"


def figure(estimate: Estimate | None) -> str:
    """An estimate on one line: value, spread, interval, whichever there are."""
    value = number(None if estimate is None else estimate.value)
    return " ".join(part for part in (value, spread(estimate), interval(estimate)) if part)


def probability(p: float | None) -> str:
    """A p to two digits, "= 0.02" or "< 0.0001"; a dash where there is none."""
    if p is None:
        return HOLE
    return "< 0.0001" if p < 1e-4 else f"= {p:.2g}"


def verdict_text(verdict: Verdict, smallest: float) -> str:
    """A verdict with the smallest effect of interest where it is about that."""
    return f"no difference larger than {smallest:g}" if verdict == "no larger difference" else verdict


def size_text(size_bytes: int) -> str:
    """Bytes in decimal units, "1.3 GB"."""
    amount = float(size_bytes)
    for unit in _UNITS:
        if amount < 1000 or unit == _UNITS[-1]:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    raise AssertionError("the last unit takes everything")


def time_text(elapsed_s: float) -> str:
    """Seconds below two minutes, minutes below two hours, then hours."""
    if elapsed_s < 120:
        return f"{elapsed_s:.1f} s"
    return f"{elapsed_s / 60:.1f} min" if elapsed_s < 7200 else f"{elapsed_s / 3600:.1f} h"


def model_name(subject: Subject) -> str:
    """A row's name inside its base: a merge's method, else the kind of model and its category."""
    if subject.kind == "merge":
        return subject.method
    one = subject.experts[0] if len(subject.experts) == 1 else ""
    return f"{subject.kind} ({one})" if one else subject.kind


def several(count: int, thing: str) -> str:
    """ "1 score", "2 scores"."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def listing(names: tuple[str, ...]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)
