"""What the fields of a study file may hold: names, texts, counts and lists, each checked where it stands.

Knows no key of the file; reads no other file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from evals.strict import Node
from evals.suites import expand_env
from evals.task import NAME
from pipeline.config.place import describe
from pipeline.errors import near

Name = TypeVar("Name", bound=str)
#: The largest whole number that a column of the report's records holds.
MOST = 2**63 - 1


def name_of(node: Node) -> str:
    """The `name` of what stands here. ConfigError: it cannot stand in labels and file names."""
    name = node.take("name", str)
    if not NAME.fullmatch(name):
        raise node.wrong("name", "not a name", expected="letters, digits, _, - and .")
    return name


def text_of(node: Node, key: str) -> str:
    """Text that is not empty, with its ${NAME} filled in.

    ConfigError: missing, empty, a variable not set, characters that cannot be printed.
    """
    text = expand_env(node.place.key(key).text(node.take(key, str), "a text"), node.where(key))
    if not text.isprintable():
        raise node.wrong(key, "a text with control characters", expected="text in one line")
    return text


def chosen(
    node: Node,
    key: str,
    known: Sequence[Name],
    least: int = 1,
    advice: Callable[[str], str] = lambda name: "",
) -> tuple[Name, ...]:
    """Those of the known names that a list names, all where there is no list; in the order they are known.

    ConfigError, with `advice` or else the nearest name: one is not known. ConfigError: one stands there
    twice, or fewer than `least`.
    """
    if key not in node:
        return tuple(known)
    names = node.take(key, list)
    for index, name in enumerate(names):
        place = node.place.key(key).item(index)
        if name not in known:
            hint = advice(str(name)) or near(str(name), list(known))
            raise place.error("unknown name", found=describe(name), hint=hint)
        if name in names[:index]:
            raise place.error("this stands here twice", found=describe(name))
    if len(names) < least:
        raise node.wrong(key, "an empty list", expected=f"some of {', '.join(known)}")
    return tuple(name for name in known if name in names)


def rising(node: Node, key: str, low: int) -> tuple[int, ...]:
    """A list of different whole numbers from `low` on, from small to large. ConfigError: it is none."""
    numbers = node.take(key, list)
    for index, number in enumerate(numbers):
        if not isinstance(number, int) or isinstance(number, bool) or not low <= number <= MOST:
            raise (
                node.place.key(key)
                .item(index)
                .error("not such a number", expected=_expected(number, low), found=describe(number))
            )
    if not numbers or numbers != sorted(set(numbers)):
        raise node.wrong(key, "not a rising list", expected="different whole numbers, the smallest first")
    return tuple(numbers)


def whole(node: Node, key: str, low: int) -> int | None:
    """A whole number from `low` on, also written as 1.0e9; None when absent. ConfigError: it is none."""
    if key not in node:
        return None
    number = node.raw(key)
    exact = isinstance(number, int) or (isinstance(number, float) and number.is_integer())
    if not exact or isinstance(number, bool) or not low <= number <= MOST:
        raise node.wrong(key, "not such a number", expected=_expected(number, low))
    return int(number)


def _expected(number: object, low: int) -> str:
    """What a whole number should be; of its upper end only numbers beyond it hear."""
    is_large = isinstance(number, (int, float)) and number > MOST
    return f"a whole number, {low} to {MOST}" if is_large else f"a whole number, {low} or more"


def count(node: Node, key: str) -> int | None:
    """A whole number from 1 on; None when absent. ConfigError: it is none."""
    return whole(node, key, 1)
