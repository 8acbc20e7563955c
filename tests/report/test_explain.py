"""`dropeact explain`: the numbers of every text, of the part that the record shows before any other."""

from dropeact.report.explain import PARTS, explained


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
