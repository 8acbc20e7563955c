from dropeact.axes import HALVES
from dropeact.report.extent import Extent, extents
from dropeact.store import Cell, Store
from tests.synthetic_results import PAIR, results


def test_texts_and_tokens_are_those_that_the_cells_were_measured_on(tmp_path):
    store = Store(results(tmp_path, texts=16, cells=("observations", "disruption"), corpora=("passages",)))
    assert extents(store, store.read_run()) == []  # planted: of no tokens
    for half in HALVES:
        for name, length in (("observations", 512), ("disruption", 256)):
            data = store.load("rope", "passages", PAIR.primary_arm, name)
            mine = data.isel(text=data["half"].values == half)
            store.save(Cell("rope", "passages", PAIR.primary_arm, half, name, {"length": length}), mine, {})
    found = extents(store, store.read_run())
    assert [(row.measurement, row.texts, row.tokens) for row in found] == [
        ("observations", 16, 512),
        ("disruption", 16, 256),
    ]
    assert found[1] == Extent("loss with massive or random channels zeroed", "disruption", 16, 256)
