"""Real e-mails (the SpamAssassin public corpus): junk or wanted. Mails with one subject share a key.

Mails are read with a few plain rules of our own, so that every version of Python reads the same text.
"""

from __future__ import annotations

import html
import json
import quopri
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from evals.material import packages
from evals.material.archives import members_ending
from evals.material.items import Archives, Item, balanced, unspoilt, words_of

_SHOWN_WORDS, _LEAST_WORDS = 60, 10
_TAGS = re.compile(r"<!--.*?-->|<(style|script|title)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)
_PART_LINE = re.compile(
    r"^(?:--\S|Content-|MIME-|This is a multi-?part|\s+(?:charset|boundary|name)=).*$", re.M
)
_SUBJECT_NOISE = re.compile(r"\b(?:re|fw|fwd)\b|\[[^\]]*\]|[^a-z ]+")
_LONGEST_WORD = 25


@dataclass(frozen=True)
class Mail:
    """One mail: junk or not, its subject and its body as plain words on one line."""

    junk: bool
    subject: str
    body: str


def mails(archives: Archives) -> list[Mail]:
    """All mails that can be read as text, in the order of their files, every body once."""
    return list(_read(archives[packages.MAILS.name]))


@lru_cache(maxsize=1)
def _read(archive: Path) -> tuple[Mail, ...]:
    """Unpacked once, for the task and the corpus."""
    found: dict[str, Mail] = {}
    for file in members_ending(archive, ".json").values():
        row = json.loads(file)
        if isinstance(row, dict) and "group" in row and "text" in row:
            for mail in _mail(str(row["group"]), str(row["text"])):
                found.setdefault(mail.body, mail)
    return tuple(found.values())


def _mail(group: str, text: str) -> Iterator[Mail]:
    """One mail, or none where most of it is encoded or in another script, or there is hardly any text.

    Long words (addresses, encoded files) and words with other than ASCII characters are left out.
    """
    head, _, body = text.replace("\r\n", "\n").partition("\n\n")
    head = re.sub(r"\n[ \t]+", " ", head)
    subject = next(
        (line[8:].strip() for line in head.splitlines() if line.lower().startswith("subject:")), ""
    )
    if "=?" in subject:  # encoded
        subject = ""
    if "quoted-printable" in text.lower():
        body = quopri.decodestring(body.encode("utf-8", errors="replace")).decode("utf-8", errors="replace")
    body = html.unescape(_TAGS.sub(" ", _PART_LINE.sub(" ", body)))
    words = [word for word in body.split() if len(word) <= _LONGEST_WORD and word.isascii()]
    if 2 * len(words) >= len(body.split()) and len(words) >= _LEAST_WORDS:
        yield Mail(group.startswith("spam"), " ".join(subject.split()), " ".join(words))


def spam(archives: Archives) -> list[Item]:
    """The beginnings of mails: wanted or junk."""
    items = []
    for mail in mails(archives):
        shown = " ".join(f"{mail.subject} - {mail.body}".split()[:_SHOWN_WORDS])
        key = " ".join(_SUBJECT_NOISE.sub(" ", mail.subject.lower()).split())
        if "\ufffd" not in shown and len(words_of(shown)) >= _LEAST_WORDS:
            items.append(Item(key, f"Mail: {shown}\nKind:", ("wanted", "junk"), int(mail.junk)))
    return balanced(unspoilt(items), "spam")
