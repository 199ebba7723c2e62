"""Countries, their capitals and continents."""

from __future__ import annotations

import json
from collections import Counter

from evals.material import packages
from evals.material.archives import members_ending
from evals.material.items import Archives, Item, balanced

_CONTINENTS = ("Africa", "America", "Asia", "Europe")


def capitals(archives: Archives) -> list[tuple[str, str, str]]:
    """(capital, country, continent) of every country that has all three, in the order of their files."""
    found = []
    for text in members_ending(archives[packages.COUNTRYINFO.name], ".json").values():
        country = json.loads(text)
        capital = country.get("capital")
        continent = str(country.get("region", "")).removesuffix("s")
        if isinstance(capital, str) and capital and continent in _CONTINENTS:
            found.append((capital, str(country["name"]), continent))
    return found


def continents(archives: Archives) -> list[Item]:
    """Capitals: on which continent."""
    items = [
        Item(
            capital,
            f"Capital: {capital}, {country}\nContinent:",
            _CONTINENTS,
            _CONTINENTS.index(continent),
        )
        for capital, country, continent in capitals(archives)
    ]
    single = Counter(item.key for item in items)
    return balanced([item for item in items if single[item.key] == 1], "continents")
