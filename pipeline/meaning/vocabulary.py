"""Read a tokenizer's vocabulary file, of whatever format, as plain data: which text has which number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import CheckpointError
from pipeline.untrusted import parse_json, read_small

#: Files that hold a vocabulary, the first of them that two models share is compared.
VOCABULARIES = (
    *(
        "tokenizer.json",
        "tekken.json",
        "tokenizer.model",
        "spm.model",
        "spiece.model",
        "sentencepiece.bpe.model",
    ),
    *("vocab.json", "merges.txt", "vocab.txt", "source.spm", "target.spm"),
)
SUFFIXES = (".tiktoken", ".spm", ".model")
#: Parts of tokenizer.json that say how batches were made last, not what a text's tokens are.
_STATE = ("version", "truncation", "padding")


@dataclass(frozen=True)
class Vocabulary:
    """Text of a token -> its number; `rules`: everything else that decides what a text's tokens are."""

    numbers: Mapping[str, int]
    rules: Any = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises ValueError for numbers that are none."""
        if not all(isinstance(number, int) for number in self.numbers.values()):
            raise ValueError("a token's number is not a whole number")


def read_vocabulary(path: Path) -> Vocabulary:
    """Read a vocabulary file. Raises CheckpointError where it cannot be read, or not as its name says."""
    raw = read_small(path)
    try:
        if path.name == "tokenizer.json":
            return _fast(parse_json(raw))
        if path.suffix == ".json":
            return _table(parse_json(raw))
        if path.suffix in (".model", ".spm"):
            pieces = list(_pieces(raw))
            return Vocabulary(
                {text: number for number, (text, _) in enumerate(pieces)}, [rest for _, rest in pieces]
            )
        lines = [line.rstrip("\r") for line in raw.decode("utf-8").split("\n")]
        lines = [line for line in lines if not line.startswith("#version")]
        return Vocabulary({line: number for number, line in enumerate(lines) if line})
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise CheckpointError(
            "not a vocabulary that can be compared", where=str(path), found=str(error) or type(error).__name__
        ) from error


def _fast(table: Mapping[str, Any]) -> Vocabulary:
    """tokenizer.json: vocabulary, added tokens, and all that splits and joins texts."""
    model, added = dict(table["model"]), table.get("added_tokens") or []
    listed = model.pop("vocab")
    scores = []
    if isinstance(listed, list):
        scores = [score for _, score in listed]
        listed = {text: number for number, (text, _) in enumerate(listed)}
    merges = model.pop("merges", None) or []
    numbers = {**listed, **{token["content"]: token["id"] for token in added}}
    rules = {key: value for key, value in table.items() if key not in (*_STATE, "model", "added_tokens")}
    flags = {
        token["content"]: {
            key: value for key, value in token.items() if key not in ("id", "content") and value
        }
        for token in added
    }
    pairs = [tuple(pair.split(" ", 1)) if isinstance(pair, str) else tuple(pair) for pair in merges]
    return Vocabulary(
        numbers,
        {
            "merges": [" ".join(pair) for pair in pairs],
            "scores": scores,
            "added_tokens": flags,
            "model": _without_defaults(model),
            **_without_defaults(rules),
        },
    )


def _without_defaults(value: Any) -> Any:
    """The value without keys that are null, false or empty: what a library's older version does not write."""
    if isinstance(value, Mapping):
        return {
            key: _without_defaults(item)
            for key, item in value.items()
            if item not in (None, False, "", [], {})
        }
    return [_without_defaults(item) for item in value] if isinstance(value, list) else value


def _table(table: Any) -> Vocabulary:
    """vocab.json, text -> number; any other JSON as it stands."""
    if isinstance(table, Mapping) and all(isinstance(number, int) for number in table.values()):
        return Vocabulary(dict(table))
    return Vocabulary({}, table)


def _pieces(raw: bytes) -> Iterator[tuple[str, str]]:
    """(text, all else) of every piece of a sentencepiece model: field 1 of a protobuf message."""
    for number, value in _fields(raw):
        if number == 1 and isinstance(value, bytes):
            fields = list(_fields(value))
            text = next((each for key, each in fields if key == 1 and isinstance(each, bytes)), b"")
            rest = [
                (key, each.hex() if isinstance(each, bytes) else each) for key, each in fields if key != 1
            ]
            yield text.decode("utf-8"), str(rest)


def _fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of every field of a protobuf message. Raises ValueError where it ends too early."""
    at = 0
    while at < len(raw):
        key, at = _varint(raw, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(raw, at)
            yield key >> 3, value
            continue
        length = {1: 8, 5: 4}.get(kind)
        if kind == 2:
            length, at = _varint(raw, at)
        if length is None or at + length > len(raw):
            raise ValueError("not a sentencepiece model")
        yield key >> 3, raw[at : at + length]
        at += length


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """A number of variable length and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = raw[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("not a sentencepiece model")
