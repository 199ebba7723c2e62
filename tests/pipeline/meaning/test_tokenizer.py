"""Tokenizers are told apart by what they make of a text, in whatever files they lie."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.load import parse_config
from pipeline.errors import CheckpointError
from pipeline.meaning.tokenizer import tokenizer_notes
from pipeline.meaning.vocabulary import read_vocabulary
from pipeline.plan.build import plan_merge
from tests.helpers.models import write_family, write_tokenizer

TEMPLATE = "{% for m in messages %}\n{{ m.content }}\n{% endfor %}"


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two directories of one tokenizer."""
    for name in ("base", "a"):
        (tmp_path / name).mkdir()
        write_tokenizer(tmp_path / name, 32)
    return tmp_path / "base", tmp_path / "a"


def notes(pair: tuple[Path, Path]) -> list[str]:
    """What is said of the second against the first."""
    return tokenizer_notes(("base", pair[0]), ("a", pair[1]))


def edit(path: Path, change: Callable[[Any], object]) -> None:
    """Change a JSON file in place."""
    table = json.loads(path.read_text()) if path.exists() else {}
    change(table)
    path.write_text(json.dumps(table))


def sentencepiece(*texts: str) -> bytes:
    """A sentencepiece model of these pieces, by the format's own definition."""
    pieces = [b"\x0a" + bytes([len(text)]) + text.encode() + b"\x15\x00\x00\x80\x3f" for text in texts]
    return b"".join(b"\x0a" + bytes([len(piece)]) + piece for piece in pieces) + b"\x12\x02\x08\x01"


def swap(table: dict[str, Any]) -> None:
    vocabulary = table["model"]["vocab"]
    vocabulary["w7"], vocabulary["w9"] = vocabulary["w9"], vocabulary["w7"]


@pytest.mark.parametrize(
    ("file", "change", "expected"),
    [
        ("tokenizer.json", swap, 'tokenizer of "a" gives number 7 to "w9", "base" to "w7"'),
        (
            "tokenizer.json",
            lambda table: table["model"]["vocab"].update(new=32),
            'tokenizer of "a" has 33 tokens, "base" 32',
        ),
        (
            "tokenizer.json",
            lambda table: table["added_tokens"][1].update(lstrip=True),
            'tokenizer of "a" differs from that of "base" in tokenizer.json: '
            "added_tokens.<s>.lstrip true instead of none given",
        ),
        (
            "tokenizer.json",
            lambda table: table.update(normalizer={"type": "Lowercase"}),
            'tokenizer of "a" differs from that of "base" in tokenizer.json: '
            'normalizer {"type":"Lowercase"} instead of none given',
        ),
        (
            "tokenizer_config.json",
            lambda table: table.update(eos_token={"content": "<pad>", "lstrip": False}),
            'tokenizer of "a" differs from that of "base": eos_token "<pad>" instead of "</s>"',
        ),
        (
            "tokenizer_config.json",
            lambda table: table.update(chat_template="x\ny"),
            'chat template: "a" has one of 3 characters, "base" none',
        ),
    ],
)
def test_every_difference_is_named_with_both_values(
    file: str, change: Callable[[Any], object], expected: str, pair: tuple[Path, Path]
) -> None:
    """Order, size, added tokens, rules, end tokens and templates each make one sentence."""
    edit(pair[1] / file, change)
    assert notes(pair) == [expected]


def test_one_tokenizer_in_two_spellings_is_one(pair: tuple[Path, Path]) -> None:
    """Tokens with or without flags, merges as texts or pairs, defaults and state do not make another."""
    model = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}}
    for path, merges in zip(pair, (["a b"], [["a", "b"]]), strict=True):
        edit(path / "tokenizer.json", lambda table, m=merges: table.update(model={**model, "merges": m}))
    edit(pair[1] / "tokenizer.json", lambda table: table["model"].update(ignore_merges=False, dropout=None))
    edit(pair[1] / "tokenizer.json", lambda table: table.update(truncation={"max_length": 8}, version="2.0"))
    edit(pair[1] / "tokenizer_config.json", lambda table: table.update(eos_token={"content": "</s>"}))
    edit(
        pair[1] / "tokenizer_config.json",
        lambda table: table.update(tokenizer_class="Other", padding_side="left"),
    )
    assert notes(pair) == []


def test_a_template_is_one_wherever_it_is_kept(pair: tuple[Path, Path]) -> None:
    """A template in the config, in a list of it, or in a file of its own is compared as one text."""
    listed = [{"name": "default", "template": TEMPLATE}, {"name": "tool", "template": "t"}]
    edit(pair[0] / "tokenizer_config.json", lambda table: table.update(chat_template=listed))
    (pair[1] / "chat_template.jinja").write_text(TEMPLATE + "\n")
    folder = pair[1] / "additional_chat_templates"
    folder.mkdir()
    (folder / "tool.jinja").write_text("t")
    assert notes(pair) == []
    (folder / "tool.jinja").write_text("u")
    (pair[1] / "chat_template.jinja").write_text(TEMPLATE.replace("m.content", "m.text"))
    assert notes(pair) == [
        'chat template: "a" has one of 49 characters, "base" one of 52 characters; '
        'line 2 is "{{ m.text }}" instead of "{{ m.content }}"',
        'chat template "tool": "a" has one of 1 characters, "base" one of 1 characters; '
        'line 1 is "u" instead of "t"',
    ]


def test_vocabularies_of_sentencepiece_are_read(pair: tuple[Path, Path]) -> None:
    """A model whose only vocabulary is a sentencepiece file is compared piece by piece."""
    for path in pair:
        (path / "tokenizer.json").unlink()
    (pair[0] / "spm.model").write_bytes(sentencepiece("<unk>", "the", "cat"))
    (pair[1] / "spm.model").write_bytes(sentencepiece("<unk>", "cat", "the", "sat"))
    assert notes(pair)[:2] == [
        'tokenizer of "a" has 4 tokens, "base" 3',
        'tokenizer of "a" gives number 1 to "cat", "base" to "the"',
    ]


def test_plain_lists_of_tokens_are_read(pair: tuple[Path, Path]) -> None:
    """vocab.txt and vocab.json give numbers to texts; tokens added beside them count."""
    for path in pair:
        (path / "tokenizer.json").unlink()
        (path / "vocab.txt").write_text("x\ny\n")
    (pair[1] / "added_tokens.json").write_text('{"<more>": 2}')
    assert notes(pair) == ['tokenizer of "a" has 3 tokens, "base" 2']


def test_tokenizers_in_files_of_other_kinds_are_not_compared_in_silence(pair: tuple[Path, Path]) -> None:
    """Where two models share no vocabulary file, or one has none at all, that is said."""
    (pair[1] / "tokenizer.json").rename(pair[1] / "vocab.json")
    assert notes(pair) == [
        'tokenizer of "a" keeps its tokens in vocab.json, "base" in tokenizer.json: not compared'
    ]
    for path in pair[1].iterdir():
        path.unlink()
    assert notes(pair) == ['"a" has no tokenizer files, "base" has: tokenizers are not compared']
    assert tokenizer_notes(("a", pair[1]), ("a2", pair[1])) == []


@pytest.mark.parametrize("raw", [b"{}", b"[", b'{"model": {"vocab": {"x": []}}}', b"\xff", b'{"model": 7}'])
def test_damaged_vocabularies_are_refused_in_words(raw: bytes, tmp_path: Path) -> None:
    """Whatever stands in a vocabulary file, reading it ends in one error that names it."""
    for name in ("tokenizer.json", "spm.model"):
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(CheckpointError) as caught:
            read_vocabulary(tmp_path / name)
        assert caught.value.where == str(tmp_path / name)


def test_plan_says_it_and_a_damaged_tokenizer_of_an_expert_is_a_note(tmp_path: Path) -> None:
    """Planning compares every expert's tokenizer with the one that the merged model gets."""
    base, experts = write_family(tmp_path, experts=2, tokenizer=True)
    models = [{"model": str(path), "parameters": {"weight": 0.5}} for path in experts]
    config = parse_config({"merge_method": "task_arithmetic", "base_model": str(base), "models": models})
    assert plan_merge(config).notes == ()
    edit(experts[0] / "tokenizer.json", swap)
    (experts[1] / "tokenizer.json").write_text("{")
    first, second = plan_merge(config).notes
    assert first == f'tokenizer of "{experts[0]}" gives number 7 to "w9", "{base}" to "w7"'
    assert "cannot be compared" in second and str(experts[1]) in second
