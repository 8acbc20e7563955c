"""`dropeact explain`: the numbers of every text, of the part that the record shows before any other."""

import xarray as xr

import dropeact
from dropeact import bundled
from dropeact.estimators.contrasts import mean
from dropeact.pairs import DEFAULT
from dropeact.report.explain import PARTS, columns, explained


def test_the_part_that_the_record_shows_comes_first_and_the_rest_is_counted():
    """Thirty layers are claimed of; the measured one is layer 11."""
    lines = explained("massive-layer1-only")
    measured = next(line for line in lines if line.startswith("  measured"))
    heads = [line.split("denominator")[1].strip() for line in lines if line.startswith("text ")]
    assert f"({heads[0]})" in measured
    assert len(heads) == len(set(heads)) == PARTS
    layers = next(line for line in lines if line.startswith("and ")).split()
    assert int(layers[1]) > 0


def test_the_means_of_the_columns_are_the_measured_ratio():
    lines = explained("massive-query-reduction")
    over, under = (float(value) for value in next(line for line in lines if line.startswith("mean  ")).split()[1:])
    measured = float(next(line for line in lines if line.startswith("  measured")).split()[1])
    assert abs(over / under - measured) < 0.001


def test_every_text_is_named_against_the_store():
    """A count of a text is found again under its name, whichever half it is of."""
    stored = dropeact.open(bundled.folder("results") / DEFAULT)
    lines = [line.split() for line in explained("massive-query-reduction")]
    told = {words[0]: [float(value) for value in words[1:]] for words in lines if len(words) == 3 and "-" in words[0]}
    site = {"tensor": "query", "site": "attended", "mean_over": "layer", "threshold": 5.0}
    drope, rope = (
        stored[column]["passages-first/observations"]["massive_count"].sel(site).sum("layer").to_series()
        for column in ("drope", "rope")
    )
    assert told == {text: [drope[text], rope[text]] for text in rope.index}


def test_texts_without_a_name_are_numbered():
    assert columns("", mean(xr.DataArray([1.0, 3.0], dims="text"), unit="x"))[1:] == [
        "1                 1",
        "2                 3",
        "mean              2",
    ]
