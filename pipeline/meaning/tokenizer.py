"""Compare two models' tokenizers: file by file, and where bytes differ by what they mean.

Vocabulary size, the first token of another number, rules of splitting, special tokens and chat templates are
named with both values. One spelling of a tokenizer equals another of the same meaning.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from pipeline.checkpoint.beside import TEMPLATES_DIRECTORY
from pipeline.checkpoint.files import digest_bytes, read_json_object
from pipeline.checkpoint.index import list_names
from pipeline.errors import shown
from pipeline.meaning.differences import find_differences, say, value_text
from pipeline.meaning.vocabulary import SUFFIXES, VOCABULARIES, Vocabulary, read_vocabulary
from pipeline.untrusted import read_small

_CONFIG, _SPECIAL, _ADDED = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
_TEMPLATE, _OLDER_TEMPLATE = "chat_template.jinja", "chat_template.json"
_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_MORE_TOKENS = ("additional_special_tokens", "extra_special_tokens")
#: Settings that change a text's tokens, compared where both models state them.
_SETTINGS = (
    *("add_bos_token", "add_eos_token", "add_prefix_space", "do_lower_case", "split_special_tokens"),
    *("strip_accents", "tokenize_chinese_chars", "do_basic_tokenize", "word_delimiter_token"),
)


def tokenizer_notes(reference: tuple[str, Path], other: tuple[str, Path]) -> list[str]:
    """Sentences on how one model's tokenizer differs from the reference's; none where they mean the same.

    Args:
        reference, other: of each model its name as the user wrote it, and its directory.

    Raises CheckpointError: a file of a tokenizer cannot be read.
    """
    states = [_state(directory) for _, directory in (reference, other)]
    return list(_notes(reference, other, *states))


_State = tuple[tuple[str, int, int, int], ...]


def _state(directory: Path) -> _State:
    """(name, inode, size, time of change) of every file of a tokenizer."""
    names = [name for name in list_names(directory) if _belongs(name)]
    folder = directory / TEMPLATES_DIRECTORY
    if folder.is_dir():
        names += [f"{TEMPLATES_DIRECTORY}/{name}" for name in list_names(folder) if name.endswith(".jinja")]
    found = [(name, (directory / name).stat()) for name in names if os.path.exists(directory / name)]
    return tuple((name, held.st_ino, held.st_size, held.st_mtime_ns) for name, held in found)


def _belongs(name: str) -> bool:
    known = (*VOCABULARIES, _CONFIG, _SPECIAL, _ADDED, _TEMPLATE, _OLDER_TEMPLATE)
    return name in known or name.endswith(SUFFIXES)


@lru_cache(maxsize=256)
def _notes(
    reference: tuple[str, Path], other: tuple[str, Path], ours: _State, theirs: _State
) -> tuple[str, ...]:
    """The sentences, made once as long as no file changes."""
    names = [[name for name, *_ in state] for state in (ours, theirs)]
    label, measure = (f'"{shown(each)}"' for each in (other[0], reference[0]))
    if not names[0] or not names[1]:
        if names[0] == names[1]:
            return ()
        without, having = (label, measure) if names[0] else (measure, label)
        return (f"{without} has no tokenizer files, {having} has: tokenizers are not compared",)
    vocabulary = _vocabulary_notes(reference[1], other[1], names[0], names[1], label, measure)
    settings = _setting_notes(reference[1], other[1], label, measure)
    return (*vocabulary, *settings, *_template_notes(reference[1], other[1], label, measure))


def _vocabulary_notes(
    reference: Path, other: Path, ours: list[str], theirs: list[str], label: str, measure: str
) -> list[str]:
    held = [
        [name for name in names if name in VOCABULARIES or name.endswith(SUFFIXES)]
        for names in (ours, theirs)
    ]
    shared = sorted(set(held[0]) & set(held[1]), key=lambda name: (_rank(name), name))
    if not shared:
        if not held[0] and not held[1]:
            return []
        where = [shown(", ".join(names) or "no file") for names in held]
        return [f"tokenizer of {label} keeps its tokens in {where[1]}, {measure} in {where[0]}: not compared"]
    for name in shared:
        if _same_bytes(reference / name, other / name) and _added(reference) == _added(other):
            continue
        sides = [read_vocabulary(directory / name) for directory in (reference, other)]
        sides = [
            Vocabulary({**side.numbers, **_added(directory)} if side.numbers else {}, side.rules)
            for side, directory in zip(sides, (reference, other), strict=True)
        ]
        found = _compare(name, sides[0], sides[1], label, measure)
        if found:  # what the other files hold is the same vocabulary once more
            return found
    return []


def _rank(name: str) -> int:
    return VOCABULARIES.index(name) if name in VOCABULARIES else len(VOCABULARIES)


def _same_bytes(one: Path, other: Path) -> bool:
    return one.stat().st_size == other.stat().st_size and _digest(one) == _digest(other)


def _digest(path: Path) -> str:
    return digest_bytes(read_small(path))


def _added(directory: Path) -> dict[str, int]:
    """Tokens that the tokenizer's config adds to its vocabulary."""
    added = {text: number for text, number in _read(directory / _ADDED).items() if isinstance(number, int)}
    listed = _read(directory / _CONFIG).get("added_tokens_decoder")
    for number, token in listed.items() if isinstance(listed, Mapping) else ():
        if str(number).isdecimal() and len(str(number)) < 10:
            added[str(_content(token))] = int(number)
    return added


def _compare(name: str, ours: Vocabulary, theirs: Vocabulary, label: str, measure: str) -> list[str]:
    notes = []
    if len(ours.numbers) != len(theirs.numbers):
        notes.append(f"tokenizer of {label} has {len(theirs.numbers)} tokens, {measure} {len(ours.numbers)}")
    texts = [{number: text for text, number in side.numbers.items()} for side in (ours, theirs)]
    first = min(
        (number for number in texts[0] if texts[1].get(number, texts[0][number]) != texts[0][number]),
        default=None,
    )
    if first is not None:
        other, own = value_text(texts[1][first]), value_text(texts[0][first])
        notes.append(f"tokenizer of {label} gives number {first} to {other}, {measure} to {own}")
    rules = say(find_differences(ours.rules, theirs.rules))
    if rules:
        notes.append(f"tokenizer of {label} differs from that of {measure} in {shown(name)}: {rules}")
    return notes


def _setting_notes(reference: Path, other: Path, label: str, measure: str) -> list[str]:
    sides = [_read(directory / _SPECIAL) | _read(directory / _CONFIG) for directory in (reference, other)]
    tokens = [{key: _content(side[key]) for key in _TOKENS if side.get(key) is not None} for side in sides]
    for side, named in zip(sides, tokens, strict=True):
        listed = next(
            (side[key] for key in _MORE_TOKENS if isinstance(side.get(key), list) and side[key]), None
        )
        if listed is not None:
            named["additional_special_tokens"] = sorted(str(_content(token)) for token in listed)
    # Who states no special token at all leaves them to the tokenizer's class.
    found = find_differences(tokens[0], tokens[1]) if all(tokens) else iter(())
    both = [key for key in _SETTINGS if all(side.get(key) is not None for side in sides)]
    stated = [{key: side[key] for key in both} for side in sides]
    settings = find_differences(stated[0], stated[1])
    said = say(list(chain(found, settings)))
    return [f"tokenizer of {label} differs from that of {measure}: {said}"] if said else []


def _template_notes(reference: Path, other: Path, label: str, measure: str) -> list[str]:
    notes = []
    ours, theirs = _templates(reference), _templates(other)
    for name in dict.fromkeys((*ours, *theirs)):
        one, another = ours.get(name), theirs.get(name)
        if one == another:
            continue
        title = "chat template" + ("" if name == "default" else f' "{shown(name)}"')
        sides = ["none" if text is None else f"one of {len(text)} characters" for text in (one, another)]
        first = ""
        if one is not None and another is not None:
            lines = [[*text.split("\n"), ""] for text in (one, another)]
            place = next(
                (at for at, pair in enumerate(zip(*lines, strict=False)) if pair[0] != pair[1]),
                min(map(len, lines)) - 1,
            )
            line, was = value_text(lines[1][place]), value_text(lines[0][place])
            first = f"; line {place + 1} is {line} instead of {was}"
        notes.append(f"{title}: {label} has {sides[1]}, {measure} {sides[0]}{first}")
    return notes


def _templates(directory: Path) -> dict[str, str]:
    """Name -> chat template, wherever the model's version of the library keeps it."""
    stated = _read(directory / _CONFIG).get("chat_template") or _read(directory / _OLDER_TEMPLATE).get(
        "chat_template"
    )
    found: dict[str, Any] = {"default": stated} if isinstance(stated, str) else {}
    for entry in stated if isinstance(stated, list) else []:
        if isinstance(entry, Mapping):
            found[str(entry.get("name"))] = str(entry.get("template"))
    paths = {"default": directory / _TEMPLATE}
    folder = directory / TEMPLATES_DIRECTORY
    for name in list_names(folder) if folder.is_dir() else []:
        if name.endswith(".jinja"):
            paths[name.removesuffix(".jinja")] = folder / name
    for name, path in paths.items():
        if os.path.lexists(path):
            found[name] = read_small(path).decode("utf-8", "replace")
    return {name: text.removesuffix("\n") for name, text in found.items()}


def _content(token: Any) -> Any:
    """The text of a token, which is written with or without its flags."""
    return token.get("content") if isinstance(token, Mapping) else token


def _read(path: Path) -> dict[str, Any]:
    return read_json_object(path) if os.path.lexists(path) else {}
