"""What may lie where a merge is to go: decided before anything is started, written or removed.

    OUT                         absent, empty, or an earlier merge of ours
    OUT.mergescale/             the work directory, see `work_directory.py`: absent, empty or ours

Nothing that mergescale did not make is ever touched, and an output is never an input.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.checkpoint.commit import check_replaceable, missing_files
from pipeline.checkpoint.files import free_bytes
from pipeline.checkpoint.manifest import MANIFEST_NAME, Manifest, read_manifest, record_name
from pipeline.checkpoint.synthetic import is_synthetic
from pipeline.errors import LIST_ITEM, OutputError, shown
from pipeline.plan.plan import MergePlan
from pipeline.plan_record import PLAN_NAME, PlannedFile, input_records, is_same_file, read_plan_record
from pipeline.work_directory import (
    MARKER_NAME,
    Marker,
    check_ours,
    holds_receipts,
    model_name,
    model_of,
    work_directory,
)

_MOST_SHOWN = 10
_LONGEST_NAME_BYTES = 255
_DISCARD = "discard:"
_ELSEWHERE = "give another output directory"
_START_OVER = "give another output directory, or --fresh to start over"


def destination(text: str | Path) -> tuple[Path, bool]:
    """Where OUT is, and whether `discard:` before it says that merged weights are digested and dropped."""
    found = str(text)
    return Path(found.removeprefix(_DISCARD)), found.startswith(_DISCARD)


def absolute(out: str | Path) -> Path:
    """The output as an absolute path. Raises OutputError for a path that names no directory of its own, or
    whose name is too long for the work directory to have it too.
    """
    path = Path(os.path.abspath(out))
    if not str(out) or not path.name:
        raise OutputError("the output needs a name", where=repr(str(out)), hint="give a directory to be made")
    longest_bytes = _LONGEST_NAME_BYTES - len(work_directory(path).name) + len(path.name)
    name_bytes = len(os.fsencode(path.name))
    if name_bytes > longest_bytes:
        raise OutputError(
            "the output's name is too long",
            where=str(path),
            expected=f"at most {longest_bytes} bytes, since the work directory's name is longer",
            found=f"{name_bytes} bytes",
            hint="give a shorter name",
        )
    return path


def places_in(out: str | Path, names: Sequence[str]) -> list[Path]:
    """Where the models of one run go: one to `out` itself, several to a directory each in it.

    Raises OutputError where several would lie inside a model.
    """
    whole = absolute(out)
    if len(names) == 1:
        return [whole]
    if record_name(whole) is not None:
        raise OutputError(
            "the output directory is a merge itself, and several models cannot lie in it",
            where=str(whole),
            hint=_ELSEWHERE,
        )
    return [absolute(whole / name) for name in names]


def merges_in(out: Path) -> list[Path]:
    """`out` itself, or where several merges went into it, the place of each, finished or not."""
    if record_name(out) is not None or not out.is_dir() or work_directory(absolute(out)).exists():
        return [out]
    finished = {path for path in out.iterdir() if record_name(path) is not None}
    roots = [path for path in out.iterdir() if model_of(path) is not None and (path / PLAN_NAME).exists()]
    return sorted(finished | {place for root in roots if (place := model_of(root)) is not None}) or [out]


def check_outputs(plans: Sequence[MergePlan], outs: Sequence[Path], fresh: bool) -> list[Manifest | None]:
    """`check_output` for merges of one run, which must also keep out of each other's way: no output is an
    input of another, and together they fit on the disk.
    """
    _apart_from_inputs(plans, outs)
    found = [_check_output(plan, out, fresh) for plan, out in zip(plans, outs, strict=True)]
    open_ = [
        (plan, out)
        for plan, out, done in zip(plans, outs, found, strict=True)
        if done is None and not plan.discard
    ]
    if open_:
        _enough_room(open_)
    return found


def check_output(plan: MergePlan, out: Path, fresh: bool) -> Manifest | None:
    """The manifest of `out` when it already holds this very merge; None when there is work to do.

    Raises OutputError for whatever would keep the merge from being begun, continued or published: something
    that is not ours, an input, another merge (unless `fresh`), a disk too small.
    """
    _apart_from_inputs([plan], [out])
    return _check_output(plan, out, fresh)


def _check_output(plan: MergePlan, out: Path, fresh: bool) -> Manifest | None:
    """`check_output` of an output that is known to overlap no input."""
    _below_a_directory(out)
    held = check_ours(work_directory(out))
    if not fresh and record_name(out) is not None and not out.is_symlink():
        return _same_merge(plan, out)
    check_replaceable(out, replace=fresh)
    if not fresh:
        _same_plan(plan, work_directory(out), held.marker)
    if not plan.discard:
        _enough_room([(plan, out)])
    return None


def check_apart(out: str | Path, directories: Iterable[str | Path], files: Iterable[str | Path] = ()) -> None:
    """Check that an output overlaps no input, whatever links lead there. For every command that writes.

    Args:
        out: where the command writes; it need not be there yet.
        directories: model directories that the command reads: `out` may not be, hold or lie in one.
        files: weight files that it reads, which may be links: `out` may not hold the file itself.

    Raises:
        OutputError: naming the output and the input.
    """
    _check_apart(out, _Read([*directories, *files]))


class _Read:
    """Paths that a command reads, resolved once: `real` holds each, `around` the directories above one."""

    def __init__(self, paths: Iterable[str | Path]) -> None:
        self.real = {Path(os.path.realpath(path)): path for path in paths}
        self.around = {above: path for real, path in self.real.items() for above in real.parents}


def _check_apart(out: str | Path, read: _Read) -> None:
    ours = Path(os.path.realpath(out))
    lies_in = next((read.real[above] for above in (ours, *ours.parents) if above in read.real), None)
    overlapping = read.around.get(ours, lies_in)
    if overlapping is not None:
        raise OutputError(
            "the output directory overlaps an input model",
            where=str(out),
            expected="a directory beside the models, neither in nor around one",
            found=f"the input {overlapping}",
            hint=_ELSEWHERE,
        )


def _apart_from_inputs(plans: Sequence[MergePlan], outs: Sequence[Path]) -> None:
    """Neither an output nor its work directory may overlap a model that any of the plans reads."""
    models = {
        index.directory: index
        for plan in plans
        for index in (*plan.indexes, plan.companion)
        if not is_synthetic(index.directory)
    }
    # Paths are resolved once for all outputs: that costs a system call for each of their parts.
    read = _Read([*models, *(file.path for index in models.values() for file in index.files)])
    for out in outs:
        for place in (out, work_directory(out)):
            _check_apart(place, read)


def _below_a_directory(out: Path) -> None:
    """The nearest thing that exists above the output must be a directory."""
    above = next(path for path in out.parents if os.path.lexists(path))
    if not above.is_dir():
        raise OutputError(
            "the output lies below something that is not a directory",
            where=str(above),
            expected="a directory",
            found="a file or a broken link",
            hint=_ELSEWHERE,
        )


def _same_merge(plan: MergePlan, out: Path) -> Manifest:
    """The manifest at `out`, which must be that of this very merge of these very files."""
    manifest = read_manifest(out, record_name(out) or MANIFEST_NAME)
    if manifest.fingerprint != plan.fingerprint:
        raise OutputError(
            "the output directory holds the result of another merge",
            where=str(out),
            expected=f"plan {plan.fingerprint[:12]}",
            found=f"plan {manifest.fingerprint[:12]}",
            hint=_START_OVER,
        )
    noted = [record for model in manifest.inputs for record in model["files"]]
    _same_inputs(plan, [{**record, "inode": 0, "ctime_ns": 0} for record in noted], out)
    wrong = missing_files(out, manifest) if record_name(out) == MANIFEST_NAME else []
    if wrong:
        raise OutputError(
            "this merge was done, and its output is not complete any more",
            where=str(out),
            expected="every file that its manifest lists, with its size",
            found=LIST_ITEM.join(wrong[:_MOST_SHOWN]),
            hint="copy the files back, or merge again with --fresh; move what you changed elsewhere before",
        )
    return manifest


def _same_plan(plan: MergePlan, root: Path, marker: Marker | None) -> None:
    """Another plan's interrupted run, or this plan's on other files, is not continued."""
    if marker is None:
        return
    held = read_plan_record(root)
    if marker.fingerprint != plan.fingerprint:
        raise OutputError(
            "an interrupted merge of another plan is waiting here",
            where=str(root),
            expected=f"plan {plan.fingerprint[:12]} ({plan.config.merge_method})",
            found=f"plan {marker.fingerprint[:12]}" + ("" if held is None else f" ({shown(held.method)})"),
            hint=_START_OVER,
        )
    if not marker.id:
        raise OutputError(
            "an interrupted merge of an older version is waiting here",
            where=str(root),
            expected=f"a work directory with its {MARKER_NAME}",
            hint="finish it with the version that began it, or --fresh to start over",
        )
    if held is not None:
        _same_inputs(plan, held.input_files, root)
    elif holds_receipts(root):
        raise OutputError(
            "the plan of an interrupted merge is missing, so its inputs are not known",
            where=str(root / PLAN_NAME),
            hint=_START_OVER,
        )


def _same_inputs(plan: MergePlan, held: Sequence[PlannedFile], where: Path) -> None:
    """Files that changed since they were first read, or other files of the same name, make another model."""
    now = input_records(plan)
    for new, old in zip(now, [*held, *[None] * len(now)], strict=False):
        if old is None or not is_same_file(old, new):
            raise OutputError(
                "an input is not the one this merge was begun with, or has changed since",
                where=new["path"],
                expected="the path, size and time of change noted in " + str(where),
                found="another file" if old is None or old["path"] != new["path"] else "a file changed since",
                hint="--fresh starts over with the new inputs",
            )


def _enough_room(merges: Sequence[tuple[MergePlan, Path]]) -> None:
    """The outputs, which lie side by side, must fit on their disk, less what earlier attempts have taken."""
    parent = next(path for path in merges[0][1].parents if path.exists())
    needed = 0
    for plan, out in merges:
        model = work_directory(out) / model_name(plan.fingerprint)
        held = sum(path.lstat().st_size for path in model.glob("*.safetensors"))
        needed += sum(shard.size_bytes for shard in plan.shards) - held
    free = free_bytes(parent)
    if needed > free:
        raise OutputError(
            f"the merged model{'s do' if len(merges) > 1 else ' does'} not fit on the disk",
            where=str(parent),
            expected=f"{needed / 1e9:.2f} GB free",
            found=f"{free / 1e9:.2f} GB free",
            hint="give an output directory on a larger disk",
        )
