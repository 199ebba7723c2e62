"""Reading rows, joining prompts and answers, and planning batches."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.training.examples import encode, pad_left, plan_batches, read_examples, read_validation
from tests.helpers.models import write_model
from tests.helpers.tasks import write_rows
from tests.helpers.training import learnable_rows


@pytest.mark.parametrize(
    "bad",
    [
        "{",
        "[]",
        '{"question": "a", "choices": ["b"], "label": 1}',
        '{"question": "a", "choices": ["b", "c"], "label": true}',
        '{"question": "a", "choices": ["b", ""], "label": 0}',
        '{"question": "a", "choices": "bc", "label": 0}',
        '{"choices": ["b", "c"], "label": 0}',
        '{"question": "a", "answer": " "}',
        '{"question": "a", "answer": 3}',
        '{"question": "a", "answer": "b", "choices": ["b", "c"], "label": 9}',
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path: Path, bad: str) -> None:
    """A row that is no example is an InputError that names file and line."""
    file = write_rows(tmp_path / "rows.jsonl", learnable_rows(2))
    file.write_text(file.read_text() + "\n" + bad + "\n")
    with pytest.raises(InputError) as error:
        read_examples(file)
    assert error.value.where == f"{file}, line 4"


def test_training_files_may_mix_kinds_validation_files_may_not(tmp_path: Path) -> None:
    """A model learns from choices and free answers alike; a file that is validated on has one score."""
    mixed = [*learnable_rows(2), {"question": "a", "answer": "b"}]
    file = write_rows(tmp_path / "rows.jsonl", mixed)
    assert [one.free for one in read_examples(file)] == [False, False, True]
    with pytest.raises(InputError, match="validation") as error:
        read_validation(file)
    assert error.value.where == str(file) and "row 3" in error.value.found


def test_empty_and_missing_files_are_input_errors(tmp_path: Path) -> None:
    """A file without rows, or no file, is the user's error."""
    (tmp_path / "empty.jsonl").write_text("\n\n")
    for name in ("empty.jsonl", "missing.jsonl"):
        with pytest.raises(InputError):
            read_examples(tmp_path / name)


def test_free_answers_are_read(tmp_path: Path) -> None:
    """A row with a question and an answer is an example with nothing to choose from."""
    rows = [{"question": "a", "answer": "b c"}, {"question": "d", "answer": "e", "source": "x"}]
    first, second = read_examples(write_rows(tmp_path / "rows.jsonl", rows))
    assert (first.question, first.answer, first.choices, first.free) == ("a", "b c", ("b c",), True)
    assert second.answer == "e"
    choice = read_examples(write_rows(tmp_path / "choices.jsonl", learnable_rows(1)))[0]
    assert (choice.free, choice.answer) == (False, choice.choices[choice.label])


def test_only_a_line_feed_ends_a_row(tmp_path: Path) -> None:
    """Other characters that count as line ends may stand in texts, as JSON allows."""
    row = '{"question": "a\u2028b\u0085c", "answer": "d"}\r\n'
    (tmp_path / "rows.jsonl").write_text(row * 2, encoding="utf-8", newline="")
    assert [one.question for one in read_examples(tmp_path / "rows.jsonl")] == ["a\u2028b\u0085c"] * 2


def test_limit_takes_the_first_rows(tmp_path: Path) -> None:
    """`limit` keeps the first rows, in file order."""
    rows = learnable_rows(5)
    file = write_rows(tmp_path / "rows.jsonl", rows)
    assert [one.question for one in read_examples(file, 3)] == [row["question"] for row in rows[:3]]


def test_the_answer_is_what_the_text_adds_to_the_prompt(tmp_path: Path) -> None:
    """Prompt and answer tokens together are those of the whole text; a long prompt loses its beginning."""
    from transformers import AutoTokenizer

    write_model(tmp_path, vocab=64, tokenizer=True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    whole = encode(tokenizer, "w5 w6 w7 w8", "w9 w10", 64)
    assert (whole.prompt, whole.answer) == ((5, 6, 7, 8), (9, 10))
    assert whole.inputs == (5, 6, 7, 8, 9)
    cut = encode(tokenizer, "w5 w6 w7 w8", "w9 w10", 4)
    assert (cut.prompt, cut.answer) == ((7, 8), (9, 10))
    with pytest.raises(InputError):
        encode(tokenizer, "w5", "w6 w7 w8 w9", 4)
    for question, answer in ((" ", "w6"), ("w5", " ")):
        with pytest.raises(InputError):
            encode(tokenizer, question, answer, 64)


def test_every_epoch_holds_every_row_once() -> None:
    """Batches are at most the asked size, and each row appears once an epoch."""
    lengths = [3, 9, 4, 4, 8, 3, 7, 5, 5, 6, 3]
    batches = plan_batches(lengths, 4, 3, seed=1)
    assert len(batches) == 9
    assert max(map(len, batches)) == 4
    assert Counter(row for batch in batches for row in batch) == Counter(dict.fromkeys(range(11), 3))


def test_batches_hold_rows_of_like_length() -> None:
    """Sorted by their shortest row, batches of one epoch overlap in length by less than a band of 8."""
    lengths = [length for length in range(17, 57) for _ in range(2)]
    spans = sorted(
        (min(lengths[row] for row in batch), max(lengths[row] for row in batch))
        for batch in plan_batches(lengths, 8, 1, seed=3)
    )
    assert all(high - low < 8 for (_, high), (low, _) in pairwise(spans))


def test_short_rows_are_mixed_whatever_their_length() -> None:
    """Among rows of up to 16 tokens length decides nothing: batches hold long and short ones."""
    lengths = [4] * 40 + [12] * 40
    batches = plan_batches(lengths, 8, 1, seed=3)
    assert all(len({lengths[row] for row in batch}) == 2 for batch in batches)


def test_batches_depend_on_the_seed_alone() -> None:
    """The same seed gives the same batches, another one others, and epochs differ."""
    lengths = [4] * 32
    first = plan_batches(lengths, 8, 2, seed=5)
    assert first == plan_batches(lengths, 8, 2, seed=5)
    assert first != plan_batches(lengths, 8, 2, seed=6)
    assert first[:4] != first[4:]


def test_padding_is_on_the_left_and_masked() -> None:
    """Rows end together; the mask is 0 exactly on the filling."""
    ids, mask = pad_left([(5, 6, 7), (8,)], 0)
    assert ids == [[5, 6, 7], [0, 0, 8]]
    assert mask == [[1, 1, 1], [0, 0, 1]]
