"""What the page shows, as text in places: sheets of cells, what is missing, whose records. No markup."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evals.studies.report.study import Base, Study
from evals.studies.report.words import HOLE, interval, listing, model_name, number, spread
from evals.studies.tables.values import Estimate, Role, Score, Summary

#: Of a merge that was made once: its interval holds no noise of which experts are drawn, nor of a method's
#: own.
ONE_DRAW = "one draw"
MEASURES = {"ratio": "normalised", "raw": "raw scores", "corrected": "chance-corrected"}
_SAYS = {
    (
        "ratio",
        "held-in",
    ): "Score over that of the expert trained on the category; only categories whose expert is in the merge.",
    ("ratio", "held-out"): "Score over that of the base the experts came from.",
    ("raw", "held-in"): "Mean score; only categories whose expert is in the merge.",
    ("raw", "held-out"): "Mean score.",
    (
        "corrected",
        "held-in",
    ): "Share of the experts' gain over guessing, over all tasks together: 0 is guessing, 1 the experts.",
    (
        "corrected",
        "held-out",
    ): "Share of the base's gain over guessing, over all tasks together: 0 is guessing, 1 the base.",
}


@dataclass(frozen=True)
class Entry:
    """A cell of a sheet. spread: over seeds, or that there is one draw.  anchor: of its records.  note:
    number of what is missing, None where it is there."""

    value: str
    spread: str
    interval: str
    anchor: str
    note: int | None


@dataclass(frozen=True)
class Line:
    """A row of a sheet: a model, and one entry a head, None where nothing was asked for."""

    model: str
    is_merge: bool
    entries: tuple[Entry | None, ...]


@dataclass(frozen=True)
class Sheet:
    """One measure of one role. heads: numbers of experts, then none.  groups: base -> its rows."""

    name: str
    title: str
    says: str
    heads: tuple[str, ...]
    groups: tuple[tuple[Base, tuple[Line, ...]], ...]


@dataclass(frozen=True)
class Behind:
    """What stands behind a cell: the ids of its records, and its parts by seed and category as text."""

    anchor: str
    cell: Summary
    name: str
    by_seed: str
    by_category: str


@dataclass(frozen=True)
class Listing:
    """A plain table of text. heads and rows are equally long."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def cells_behind(study: Study) -> tuple[Behind, ...]:
    """Every cell with its records, in the order of the tables."""
    return tuple(
        Behind(
            f"cell-{study.position(cell)}",
            cell,
            cell_name(cell),
            _parts(
                {f"seed {seed}": value for seed, value in cell.by_seed.items()}
                | {f"run {run}": value for run, value in cell.by_run.items()}
            ),
            _parts(cell.by_category),
        )
        for cell in study.tables.summaries
    )


def cell_name(cell: Summary) -> str:
    """ "held-in: 4m-weak, ties, 8 experts"."""
    one = cell.subject
    count = f", {one.count} experts" if one.count else ""
    return f"{cell.role}: {one.base}, {model_name(one)}{count}"


def lacks(cell: Summary) -> str:
    """What a cell misses and what cannot be formed, in a sentence; "" where nothing is.

    Lines "task of subject: why" with one subject and reason are put together. The cell's own models are not
    named, of merges only their seeds: cells that lack the same for the same reason give the same sentence.
    """
    one = cell.subject
    own = f"{one.base}/{one.method}/{one.count} experts/seed "
    reasons: dict[tuple[str, str], tuple[set[str], set[str]]] = {}
    for line in (*cell.holes, *cell.undefined):
        what, _, rest = line.partition(" of ")
        who, _, why = rest.partition(": ")
        merged = who.startswith(own)
        mine = merged or line in cell.undefined
        brief = why.partition("; where: ")[0]  # all of it stands once in the list of reasons
        things, seeds = reasons.setdefault(("" if mine else f" of {who}", brief), (set(), set()))
        things.add(what)
        if merged and line in cell.holes:
            seeds.add(who.removeprefix(own))
    said = []
    for (who, why), (things, seeds) in reasons.items():
        some = f" (seed {listing(tuple(sorted(seeds)))})" if 0 < len(seeds) < len(cell.by_seed) else ""
        said.append(f"{listing(tuple(sorted(things)))}{who}{some}: {why}")
    return "; ".join(said)


def missing_notes(study: Study) -> dict[str, int]:
    """What is missing -> its number, in the order of the cells that miss it."""
    found = dict.fromkeys(text for text in map(lacks, study.tables.summaries) if text)
    return {text: position for position, text in enumerate(found, start=1)}


def notes_with_cells(study: Study) -> tuple[tuple[int, str, str], ...]:
    """(number, what is missing, which cells lack it: the first three by name, then how many more)."""
    cells: dict[str, list[str]] = {}
    for cell in study.tables.summaries:
        cells.setdefault(lacks(cell), []).append(cell_name(cell))
    found = []
    for text, position in missing_notes(study).items():
        names, more = cells[text][:3], len(cells[text]) - 3
        found.append((position, text, "; ".join(names) + (f"; and {more} more" if more > 0 else "")))
    return tuple(found)


def sheets(study: Study) -> tuple[Sheet, ...]:
    """A sheet a role and measure: rows are a base's merges, then what they are held against."""
    heads = (*(f"{count} experts" for count in study.counts), "not merged")
    return tuple(
        Sheet(f"{role}-{measure}", f"{role.capitalize()}, {label}", _SAYS[measure, role], heads, groups)
        for role in study.roles
        for measure, label in MEASURES.items()
        for groups in [_groups(study, role, measure)]
    )


def _groups(study: Study, role: Role, measure: str) -> tuple[tuple[Base, tuple[Line, ...]], ...]:
    """Each base with its rows: merges first; single experts have their own sheets."""
    order = ("merge", "base", "best expert", "multitask")
    place = {method: at for at, method in enumerate(study.methods)}
    notes = missing_notes(study)
    found: dict[str, dict[tuple[int, str], dict[int, Entry]]] = {}
    for cell in study.tables.summaries:
        one = cell.subject
        if cell.role == role and one.kind in order:
            rows = found.setdefault(one.base, {})
            row = rows.setdefault((order.index(one.kind), model_name(one)), {})
            row[one.count] = _entry(study, cell, measure, notes)
    made = []
    for base in study.bases:
        rows = found.get(base.name, {})
        ordered = sorted(rows, key=lambda key: (key[0], place.get(key[1], 0)))
        lines = [
            Line(key[1], key[0] == 0, tuple(rows[key].get(count) for count in (*study.counts, 0)))
            for key in ordered
        ]
        made.append((base, tuple(lines)))
    return tuple(made)


def expert_sheets(study: Study) -> tuple[Sheet, ...]:
    """A sheet a role and measure: each base's experts side by side, on all categories of the role."""
    notes = missing_notes(study)
    experts = [cell for cell in study.tables.summaries if cell.subject.kind == "expert"]
    heads = tuple(dict.fromkeys("+".join(cell.subject.experts) for cell in experts))
    made = []
    for role in dict.fromkeys(cell.role for cell in experts):
        mine = {(one.subject.base, "+".join(one.subject.experts)): one for one in experts if one.role == role}
        for measure, label in MEASURES.items():
            groups = []
            for base in study.bases:
                cells = [mine.get((base.name, head)) for head in heads]
                entries = [_entry(study, cell, measure, notes) if cell else None for cell in cells]
                groups.append((base, (Line("experts", False, tuple(entries)),)))
            title = f"{role.capitalize()}, {label}: each expert on all categories"
            made.append(Sheet(f"experts-{role}-{measure}", title, "", heads, tuple(groups)))
    return tuple(made)


def _entry(study: Study, cell: Summary, measure: str, notes: Mapping[str, int]) -> Entry:
    """A cell as text; of a hole only the number of its reason."""
    found: Estimate | None = getattr(cell, measure)
    value = number(found.value if found else None)
    anchor = f"cell-{study.position(cell)}"
    if value == HOLE:
        return Entry(HOLE, "", "", anchor, notes.get(lacks(cell)))
    one_draw = cell.subject.kind == "merge" and len(cell.by_seed) == 1
    return Entry(value, spread(found) or (ONE_DRAW if one_draw else ""), interval(found), anchor, None)


def reference_tasks(study: Study) -> tuple[Listing, ...]:
    """Raw scores task by task of every base, its experts and multitask model, a listing a base and run."""
    made = []
    names = [base.name for base in study.bases]
    places = dict.fromkeys((one.subject.base, one.subject.run) for one in study.tables.scores)
    for base, run in sorted(places, key=lambda place: (names.index(place[0]), place[1])):
        columns: dict[str, dict[str, Score]] = {}
        for score in study.tables.scores:
            one = score.subject
            if one.base == base and one.kind != "merge" and (one.run == run or one.kind == "base"):
                name = f"{'+'.join(one.experts)} expert" if one.kind == "expert" else one.kind
                columns.setdefault(name, {})[score.question.task] = score
        rows = [
            (
                f"{question.category}/{question.task}",
                number(question.chance),
                *(_score(scores.get(question.task)) for scores in columns.values()),
            )
            for question in study.tables.questions
        ]
        if columns:
            title = base + (f", run {run} of the experts" if run else "")
            made.append(Listing(title, ("task", "chance", *columns), tuple(rows)))
    return tuple(made)


def _score(score: Score | None) -> str:
    """A score; a dash where it is missing, nothing where it was not asked for."""
    return "" if score is None else number(score.value)


def _parts(values: Mapping[str, float | None]) -> str:
    return ", ".join(f"{name} {number(value)}" for name, value in values.items())
