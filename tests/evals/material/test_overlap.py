"""What counts as repeating a text that is to be answered."""

from __future__ import annotations

import pytest

from evals.material.overlap import PASSAGE_WORDS, Passages

LONG = " ".join(f"word{n}" for n in range(30))


@pytest.mark.parametrize(
    ("held", "text", "shared"),
    [
        ("a cut of beef", "It is: A CUT, of beef!", True),
        ("a cut of beef", "a cut of the beef", False),
        ("a cut of beef", "a cut of", False),
        ("hot dog", "a hot dog", False),
        (LONG, f"so {' '.join(LONG.split()[9 : 9 + PASSAGE_WORDS])} it is", True),
        (LONG, " ".join(LONG.split()[9 : 9 + PASSAGE_WORDS - 1]), False),
        ("it doesn't matter", "it doesn't matter", True),
    ],
)
def test_passages_are_found(held: str, text: str, shared: bool) -> None:
    """Texts of three to thirteen words count whole, longer ones by any thirteen words running."""
    assert Passages([held, "", "something else altogether"]).shared(text) is shared


def test_texts_with_one_beginning_are_all_found() -> None:
    """Held texts that begin alike do not hide each other."""
    index = Passages(["a kind of fish", "a kind of bird", "a kind of"])
    assert index.shared("a kind of bird")
    assert index.shared("some a kind of stone")
    assert not index.shared("kind of bird")
