"""Items: drawing them, balancing them, and the scores of guessers that understand nothing."""

from __future__ import annotations

from collections import Counter

import pytest

from evals.material.items import Item, among, balanced, capped, copying, dealt, draw, majority, unspoilt


def item(text: str, choices: tuple[str, ...] = ("cat", "dog"), label: int = 0) -> Item:
    """A question that shows `text`."""
    return Item(text, f"Text: {text}\nAnimal:", choices, label)


def test_the_majority_counts_words_and_places() -> None:
    """The best constant guess is the commoner of a word and of a position."""
    same_word = [item("k", ("a", "b"), 0), item("k", ("b", "a"), 1), item("k", ("c", "d"), 1)]
    assert majority(same_word) == pytest.approx(2 / 3)
    assert majority([item("k", ("a", "b"), 1), item("k", ("c", "d"), 1)]) == 1.0


def test_copying_takes_what_the_question_shows() -> None:
    """A shown choice is taken, among several shown one by chance, and with none shown any."""
    assert copying([item("the Cat sat", label=0)]) == 1.0
    assert copying([item("the cat sat", label=1)]) == 0.0
    assert copying([item("a dog, a cat")]) == copying([item("a bird")]) == 0.5
    assert copying([item("one big dog", ("big dog", "small dog"))]) == 1.0


def test_spoilt_items_are_left_out() -> None:
    """An item whose question shows a choice goes; a part of a word is not that word."""
    kept = unspoilt([item("a dog barks"), item("category"), item("the CAT")])
    assert [one.key for one in kept] == ["category"]


def test_the_name_of_a_line_is_no_text() -> None:
    """What an item shows is its lines without their names and without the line that asks."""
    assert Item("k", "Word: a b\nFirst: c: d\nMeaning:", ("x", "y"), 0).texts == ["a b", "c: d"]


def test_balancing_keeps_as_many_of_each_answer() -> None:
    """`balanced` cuts to the rarest answer or the limit; `capped` to the limit only."""
    items = [item(f"t{n}", label=int(n % 5 == 0)) for n in range(50)]

    def counts(found: list[Item]) -> dict[str, int]:
        return dict(Counter(one.answer for one in found))

    assert counts(balanced(items, "s")) == {"cat": 10, "dog": 10}
    assert counts(balanced(items, "s", 4)) == {"cat": 4, "dog": 4}
    assert counts(capped(items, "s", 20)) == {"cat": 20, "dog": 10}
    assert balanced(items[::-1], "s", 4)[0] in balanced(items, "s", 4)


def test_wrong_answers_are_others_and_repeatable() -> None:
    """Four different choices, none of which would be right as well; the same ones every time."""
    others = [f"w{n}" for n in range(8)]
    one = among("k", "Word: q\nOpposite:", "w1", others, {"w2", "w3"})
    assert one.answer == "w1"
    assert len(set(one.choices)) == 4
    assert not {"w2", "w3"} & set(one.choices)
    assert one == among("k", "Word: q\nOpposite:", "w1", others, {"w2", "w3"})


def test_places_are_dealt_evenly() -> None:
    """With choices drawn for each item every place is right as often; fixed choices keep their order."""
    drawn = [item(f"t{n}", tuple(f"{n}{k}" for k in range(4)), 0) for n in range(40)]
    turned = dealt(drawn)
    assert Counter(one.label for one in turned) == {0: 10, 1: 10, 2: 10, 3: 10}
    assert [one.answer for one in turned] == [one.answer for one in drawn]
    assert [set(one.choices) for one in turned] == [set(one.choices) for one in drawn]
    fixed = [item(f"t{n}", label=n % 2) for n in range(5)]
    assert dealt(fixed) == fixed


def test_draws_stay_in_range_and_differ() -> None:
    """A draw depends on its salt only and reaches every number."""
    assert {draw(str(n), 3) for n in range(60)} == {0, 1, 2}
    assert draw("a", 1000) == draw("a", 1000)
