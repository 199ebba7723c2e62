"""Entries of the American classification of diseases (ICD-10-CM) and the area of medicine each belongs to."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from evals.material import packages
from evals.material.archives import members_ending
from evals.material.items import Archives, Item, asked, balanced, capped, unspoilt

_DEMO_PER_AREA, _STUDY_PER_AREA = 120, 300
_CHARS = 120

#: Chapter of the classification -> the word for it in answers. Chapters without a clear one are left out.
_AREAS = {
    "1": "infection",
    "2": "cancer",
    "3": "blood",
    "4": "metabolism",
    "5": "mental",
    "6": "nerve",
    "7": "eye",
    "8": "ear",
    "9": "heart",
    "10": "lung",
    "11": "digestion",
    "12": "skin",
    "13": "bone",
    "14": "kidney",
    "15": "pregnancy",
    "17": "birth",
    "19": "injury",
}


def diagnoses(archives: Archives) -> list[Item]:
    """Entries of the classification: which area. A code's entries share a key. The demo's choice of them."""
    return balanced(_entries(archives, 3), "diagnoses", _DEMO_PER_AREA)


def many_diagnoses(archives: Archives) -> list[Item]:
    """More entries, without those that name one of the areas offered."""
    return capped(unspoilt(_entries(archives, None)), "many_diagnoses", _STUDY_PER_AREA)


def _entries(archives: Archives, under_a_code: int | None) -> list[Item]:
    """All codes with the first so many of the entries right under each; None: with all at any depth."""
    (table,) = members_ending(archives[packages.ICD10CM.name], ".xml").values()
    items = []
    for chapter in ElementTree.fromstring(table).iter("chapter"):
        area = _AREAS.get(chapter.findtext("name", ""))
        if area is None:
            continue
        for code in chapter.iterfind("section/diag"):
            for entry in [code, *_under(code, under_a_code)]:
                key, text = code.findtext("name", ""), entry.findtext("desc", "")
                if len(text) <= _CHARS:
                    question = f"Diagnosis: {text}\nArea:"
                    items.append(asked(key, question, area, tuple(_AREAS.values())))
    return items


def _under(code: ElementTree.Element, count: int | None) -> list[ElementTree.Element]:
    return code.findall(".//diag") if count is None else code.findall("diag")[:count]
