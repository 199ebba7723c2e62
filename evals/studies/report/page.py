"""The page in its two forms, HTML and Markdown, from the same contents. It computes nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from evals.studies.report import lists
from evals.studies.report.about import About
from evals.studies.report.figures.drawn import Picture
from evals.studies.report.figures.style import FAINT, INK, PAPER
from evals.studies.report.study import Study
from evals.studies.report.view import (
    Behind,
    cells_behind,
    expert_sheets,
    notes_with_cells,
    reference_tasks,
    sheets,
)
from evals.studies.report.words import HOLE, figure, listing, probability, several, verdict_text
from evals.studies.tables.values import Verdict

if TYPE_CHECKING:
    from jinja2 import Environment

#: Verdict -> the sign beside the word, told apart by shape.
_SIGNS: dict[Verdict, str] = {
    "supported": "✓",
    "the opposite is seen": "✗",
    "no larger difference": "≈",
    "cannot tell": "?",
}
_SCHEME = {INK: "var(--ink)", FAINT: "var(--faint)", PAPER: "var(--paper)"}


@dataclass(frozen=True)
class Contents:
    """All that both forms show."""

    study: Study
    about: About
    pictures: tuple[Picture, ...]
    cells: tuple[Behind, ...]

    def values(self) -> Mapping[str, Any]:
        """The names that templates use."""
        study, about = self.study, self.about
        smallest = study.tables.smallest_effect
        missing = [score for score in study.tables.scores if score.value is None]
        return {
            "about": about,
            "lede": lede(study),
            "missing_count": len(missing),
            "findings": study.tables.findings,
            "said": {one: f"{sign} {verdict_text(one, smallest)}" for one, sign in _SIGNS.items()},
            "smallest": f"{smallest:g}",
            "pictures": self.pictures,
            "sheets": sheets(study),
            "expert_sheets": expert_sheets(study),
            "references": reference_tasks(study),
            "notes": notes_with_cells(study),
            "law": [
                lists.law_fits(study),
                lists.law_holes(study),
                lists.law_tests(study),
                lists.law_predictions(study),
            ],
            "costs": lists.costs(study),
            "tuning": lists.tuning(about),
            "origins": lists.origins(about),
            "versions": lists.versions(about),
            "cells": self.cells,
            "hole": HOLE,
        }


def contents(study: Study, about: About, pictures: tuple[Picture, ...]) -> Contents:
    """Gather what both forms show."""
    return Contents(study, about, pictures, cells_behind(study))


def lede(study: Study) -> str:
    """What was studied, in two sentences."""
    tables = study.tables
    merges = len({one.subject for one in tables.scores if one.subject.kind == "merge"})
    seeds = len({one.subject.seed for one in tables.scores if one.subject.kind == "merge"})
    tasks = {
        role: several(sum(one.role == role for one in tables.questions), f"{role} task")
        for role in ("held-in", "held-out")
    }
    counts = listing(tuple(map(str, study.counts)))
    sizes = listing(tuple(study.sizes))
    return (
        f"{several(merges, 'merge')} of {counts or 'no'} experts by {listing(study.methods) or 'no method'}, "
        f"{several(seeds, 'draw')} of experts each, "
        f"into {several(len(study.bases), 'base')} ({listing(study.qualities)}; {sizes}). "
        f"Scores on {tasks['held-in']} are set over that of the task's own expert, "
        f"those on {tasks['held-out']} over that of the base that a model came from."
    )


def as_html(found: Contents) -> bytes:
    """One file that needs no other: style and figures are in it, and no script."""
    env = _html()
    drawn = {picture.name: _inline(picture) for picture in found.pictures if not picture.why}
    return env.get_template("page.html").render(**found.values(), drawn=drawn).encode()


def as_markdown(found: Contents) -> bytes:
    """The same for a terminal or a repository's pages; figures and cells' records are files beside it."""
    text = _markdown().get_template("page.md").render(**found.values())
    return (re.sub(r"\n{3,}", "\n\n", text).strip() + "\n").encode()


def _inline(picture: Picture) -> str:
    """The figure as an element of a page: in the page's colours, with ids of its own, without metadata."""
    text = picture.svg.decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\b(id="|href="#|url\(#)', rf"\1{picture.name}-", text)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) width="([\d.]+pt)"', r'\1 style="max-width: \2"', text, count=1)
    for plain, variable in _SCHEME.items():
        text = text.replace(plain, variable)
    return text


@cache
def _html() -> Environment:
    return _environment(autoescape=True)


@cache
def _markdown() -> Environment:
    env = _environment(finalize=_plain)
    env.filters["fenced"] = _fenced
    return env


def _environment(**settings: Any) -> Environment:
    """Templates of this room; a name they use that is not there is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    env = Environment(
        loader=PackageLoader("evals.studies.report"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **settings,
    )
    env.filters["figure"] = figure
    env.filters["probability"] = probability
    return env


class _Ready(str):
    """Markdown that is not to be escaped."""


def _plain(value: object) -> str:
    """Text as Markdown that shows it as it is, in a table cell too."""
    if isinstance(value, _Ready):
        return value
    text = " ".join(str(value).split("\n"))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"[\\`*|~]|\](?=[(\[:])", lambda found: "\\" + found[0], text)
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)


def _fenced(text: str) -> _Ready:
    """A block of code whose fence is longer than any inside it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return _Ready(f"{fence}yaml\n{text.rstrip()}\n{fence}")
