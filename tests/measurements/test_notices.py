"""What is said of a pair before its first cell is measured."""

from pathlib import Path

import pytest

from dropeact import pairs
from dropeact.measurements import notices
from dropeact.measurements.measuring import Measuring
from dropeact.measurements.request import Request
from dropeact.store import Store
from tests.checkpoints import tiny
from tests.checkpoints.tiny import edited
from tests.measurements.described import described


@pytest.mark.parametrize(
    ("drope", "said"),
    [({}, True), ({"rope": False}, False), ({"sha256": "1"}, False)],
    ids=["it rotates", "it does not", "the model itself"],
)
def test_a_drope_side_that_rotates_is_told(tmp_path, drope, said, capsys):
    notices.rotation(described(tmp_path, drope=drope))
    told = capsys.readouterr().err
    assert ("two is a qwen2 and measured with its rotation" in told) == said
    assert bool(told) == said


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model_type": "llama_drope", "head_dim": None}, ""),
        ({"num_attention_heads": 8, "hidden_size": 64}, "(num_attention_heads 4 and 8)"),
        ({"num_key_value_heads": 4}, "(num_key_value_heads 2 and 4)"),
        ({"head_dim": 16}, "(head_dim 8 and 16)"),
        ({"model_type": "qwen2"}, "(architecture llama and qwen2)"),
    ],
)
def test_two_sides_of_different_shape_are_told_by_the_first_field_that_differs(tmp_path, capsys, fields, said):
    rope, drope = (str(tiny.saved(tmp_path / name)) for name in ("rope", "drope"))
    edited(Path(drope), "config.json", **fields)
    capsys.readouterr()  # the bars of saving
    notices.tell(Measuring(Request(pairs.of(rope, drope)), Store(tmp_path / "out")))
    told = capsys.readouterr().err
    assert (said in told, told.count("\n")) == (True, bool(said))


@pytest.mark.parametrize(
    ("pair", "config", "said"),
    [(None, 512, ""), (None, 511, "511"), (256, 4096, "256"), (4096, 256, "")],
    ids=["as long as the texts", "one token less", "the pair says less", "the pair says more"],
)
def test_texts_longer_than_what_the_model_was_made_for_are_told(tmp_path, capsys, pair, config, said):
    folder = str(edited(tiny.saved(tmp_path / "model"), "config.json", max_position_embeddings=config))
    capsys.readouterr()
    notices.tell(Measuring(Request(pairs.Pair("x", folder, folder, training_length=pair)), Store(tmp_path / "out")))
    told = capsys.readouterr().err
    assert (f"was made for {said} tokens and reads 512 of every text" in told, bool(told)) == (bool(said), bool(said))
