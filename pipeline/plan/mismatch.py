"""Say why the tensor names of two models differ: a wrapper's prefix, or tensors that are missing."""

from __future__ import annotations

from collections.abc import Collection

from pipeline.checkpoint.index import CheckpointIndex
from pipeline.errors import CheckpointError, shown

#: Parts that training wrappers put into names, at their start or in front of any module they wrap.
_WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module", "module")
_LISTED = 5


def check_names(first: CheckpointIndex, other: CheckpointIndex, *, apart: Collection[str]) -> None:
    """Raise CheckpointError where two models do not hold the same tensor names, naming the cause.

    Args:
        apart: names that need not be in both: those left out, and those that another tensor stands in for.
    """
    wanted = {name for name in first.tensors if name not in apart}
    found = {name for name in other.tensors if name not in apart}
    if wanted == found:
        return
    for longer, shorter, names, plain in (
        (other, first, found, wanted),
        (first, other, wanted, found),
    ):
        wrapper = _wrapper(names, plain) or _prefix(names, plain)
        if wrapper:
            raise _wrapped(longer, shorter, wrapper, names, plain)
    missing = [name for name in first.tensors if name in wanted - found]
    extra = [name for name in other.tensors if name in found - wanted]
    what, names_ = ("misses", missing) if missing else ("has extra", extra)
    raise CheckpointError(
        f'model "{other.ref}" {what} tensor "{shown(names_[0])}"'
        + (f" and {len(names_) - 1} more" if len(names_) > 1 else ""),
        where=other.directory,
        expected=f'the {len(first.tensors)} tensor names of "{first.ref}"',
        found=f"{len(missing)} missing, {len(extra)} extra: "
        + ", ".join(shown(name) for name in (missing + extra)[:_LISTED]),
        hint="merge models of one architecture; check that the checkpoint is complete",
    )


def _wrapped(
    longer: CheckpointIndex,
    shorter: CheckpointIndex,
    wrapper: str,
    names: Collection[str],
    plain: Collection[str],
) -> CheckpointError:
    """The error for names of `longer` that are those of `shorter` but for a wrapper's part."""
    example = next(name for name in longer.tensors if name in names and wrapper in name and name not in plain)
    rest = len({_without(name, wrapper) for name in names} ^ set(plain))
    return CheckpointError(
        f'the tensor names of model "{longer.ref}" carry "{shown(wrapper)}", which those of "{shorter.ref}" '
        "do not",
        where=longer.directory,
        expected=f'"{shown(_without(example, wrapper))}"',
        found=f'"{shown(example)}"' + (f"; without it {rest} names still differ" if rest else ""),
        hint=f'save the model itself, not what wraps it, or take "{shown(wrapper)}" out of its tensor names',
    )


def _without(name: str, wrapper: str) -> str:
    """A name without the parts of a wrapper, wherever they stand, or without a prefix."""
    if wrapper.removesuffix(".") in _WRAPPERS:
        part = wrapper.removesuffix(".")
        return ".".join(each for each in name.split(".") if each != part)
    return name.removeprefix(wrapper)


def _wrapper(names: Collection[str], plain: Collection[str]) -> str:
    """The known wrapper's part without which the names are those of the other model; else ""."""
    return next((f"{part}." for part in _WRAPPERS if _helps(names, plain, f"{part}.")), "")


def _prefix(names: Collection[str], plain: Collection[str]) -> str:
    """The prefix without which the names are those of the other model; "" where there is none."""
    tried: dict[str, None] = {}
    for name in names:
        if name not in plain and len(tried) < _LISTED:
            starts = [at + 1 for at, char in enumerate(name) if char == "."]
            short = next((name[start:] for start in starts if name[start:] in plain), None)
            if short is not None and short not in names:
                tried.setdefault(name.removesuffix(short))
    return next((prefix for prefix in tried if _helps(names, plain, prefix)), "")


def _helps(names: Collection[str], plain: Collection[str], wrapper: str) -> bool:
    """Whether most of the names with a wrapper's part are the other model's without it, and not with it."""
    carrying = [name for name in names if _without(name, wrapper) != name]
    gained = sum(_without(name, wrapper) in plain for name in carrying)
    return 2 * gained > len(carrying) and gained > sum(name in plain for name in carrying)
