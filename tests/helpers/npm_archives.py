"""Small stand-ins for the study's packages: the same layout and columns, invented rows."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from evals.material import packages
from tests.helpers.archives import tarred, word, write_archives, write_wheel

_TOPICS = {"noun": (5, 13, 18, 20), "verb": (30, 32, 35, 38), "adj": (0,), "adv": (2,)}
_TAIL = {"noun": "a sort of", "verb": "to do some", "adj": "being like", "adv": "in the way of"}
_LANGUAGES = ("de", "en", "es", "fr", "it", "nl", "pt")


def write_study_archives(folder: Path, rows: int = 120) -> dict[str, Path]:
    """Package name -> a small archive for every package that the miniature study reads."""
    found = write_archives(folder)
    members = {
        packages.WORDNET: wordnet_files(rows),
        packages.MAILS: _mails(rows),
        packages.SPEECHES: _speeches(rows),
        packages.MOBY_DICK: {"package/data/chapter_1.txt": b"CHAPTER 1. Call me something. It is a whale."},
    }
    for package, files in members.items():
        found[package.name] = folder / package.file
        found[package.name].write_bytes(tarred(files))
    found[packages.SPELLCHECKER.name] = write_wheel(
        folder / packages.SPELLCHECKER.file,
        {
            f"spellchecker/resources/{code}.json.gz": gzip.compress(
                json.dumps({word(n) + code: 9 for n in range(rows)} | {"everywhere": 99}).encode()
            )
            for code in _LANGUAGES
        },
    )
    return found


def synset_word(number: int) -> str:
    """The first word of a stand-in synset; different numbers differ at the beginning and at the end."""
    letters = word(number)[:5]
    return f"{letters}{letters[::-1]}"


def wordnet_files(rows: int) -> dict[str, bytes]:
    """Four data files: synsets in pairs of opposites below one of seven others, each with two examples."""
    files = {}
    for part, pos in zip(("noun", "verb", "adj", "adv"), "nvar", strict=True):
        lines = ["  1 This software and database is being provided to you under a licence."]
        for n in range(rows * 3):
            name = synset_word(n)
            above = f"@ {n % 7:08d} {pos} 0000"
            other = f"! {n ^ 1:08d} {pos} 0101"
            has = f"%p {(n + 3) % (rows * 3):08d} {pos} 0000 #m {(n + 5) % (rows * 3):08d} {pos} 0000"
            topics = _TOPICS[part]
            links = f"004 {above} {other} {has}"
            examples = f'"we saw the {name} at home {n}"; "here {name} was so {n}"'
            note = f"{_TAIL[part]} {name}ness number{n}; {examples}"
            fields = f"{n:08d} {topics[n % len(topics)]:02d} {pos} 02 {name} 0 like{name} 0 {links}"
            lines.append(f"{fields} | {note}  ")
        files[f"package/dict/data.{part}"] = ("\n".join(lines) + "\n").encode()
    return files


def mail(subject: str, body: str, **headers: str) -> str:
    """A mail as it was sent."""
    lines = [f"Subject: {subject}", "From: a@b.c", *(f"{name}: {value}" for name, value in headers.items())]
    return "\n".join(lines) + "\n\n" + body


def _mails(rows: int) -> dict[str, bytes]:
    """Half of them junk; the third of each ten answers another, and some have hardly any text."""
    files = {"package/data/file_list.json": b"[]", "package/package.json": b'{"name": "x"}'}
    for n in range(rows * 2):
        group = ("easy-ham-1", "spam-2")[n % 2]
        subject = f"{'Re: ' if n % 10 == 3 else ''}about {word(n - n % 10 // 3)}"
        body = f"Dear {word(n)}, here are ten words which say {word(n + 7000)} is <b>number</b> &amp; {n}."
        row = {"id": str(n), "group": group, "text": mail(subject, "" if n % 50 == 0 else body)}
        files[f"package/data/{group}/{n}.json"] = json.dumps(row).encode()
    return files


def _speeches(rows: int) -> dict[str, bytes]:
    """One address a year, of sentences that are never the same."""
    files = {"package/data/file_list.json": b"[]"}
    for number in range(rows):
        year = 1790 + 230 * number // rows
        said = [" ".join(word(number * 97 + k * 13 + n) for n in range(12)) for k in range(8)]
        text = ". ".join(one.capitalize() for one in said) + ". We met 3 times."
        row = {"year": year, "name": "Somebody", "party": "None", "text": text}
        files[f"package/data/{year}_{number}.json"] = json.dumps(row).encode()
    return files
