"""What is refused of two checkpoints before the first cell is measured."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from dropeact import pairs
from dropeact.axes import InputError
from dropeact.measurements import plan, preconditions
from dropeact.measurements.core import tasks
from dropeact.measurements.measuring import Measuring
from dropeact.measurements.request import Request
from dropeact.store import Store
from tests.checkpoints import tiny
from tests.checkpoints.tiny import edited
from tests.measurements.described import described


@pytest.mark.parametrize("column", ["rope", "drope"])
def test_packed_weights_are_refused_and_dequantised_ones_are_not(tmp_path, column):
    preconditions.dense_weights(described(tmp_path, **{column: {"quantization": "GGUF Q4_1, dequantised to float32"}}))
    with pytest.raises(InputError, match=r"expected weights in full or half precision; got .*, quantised by gptq"):
        preconditions.dense_weights(described(tmp_path, **{column: {"quantization": "gptq"}}))


def same_tokens(home: Path, *, sets: str = "core", last: str = "", **fields: Any) -> None:
    """The check of two saved checkpoints on sixteen texts."""
    texts = home / "texts.txt"
    texts.write_text("\n\n".join(tiny.documents(16)) + last)
    pair = pairs.Pair("x", str(home / "rope"), str(home / "drope"), **fields)
    preconditions.same_tokens(Measuring(Request(pair, sets=sets, texts=str(texts)), Store(home / "out")))


@pytest.mark.parametrize(
    ("sets", "fields", "message"),
    [
        (
            "core",
            {"primary_arm": "bos"},
            r"begin texts with the same token in the arm bos; got .* \[0\] and 'Y' \[\d+\]",
        ),
        (
            "observe",
            {"other_arms": ("bos",)},
            r"begin texts with the same token in the arm bos; got .* and 'Y' \[\d+\]",
        ),
        (
            "core",
            {"primary_arm": "separator"},
            r"begin texts with the same token in the arm separator; got .* \[0\] and 'Z' \[\d+\]",
        ),
        ("observe", {}, r"part texts by the same separator; got .* \[0\] and 'Z' \[\d+\]"),
    ],
)
def test_tokenizers_that_begin_or_part_texts_otherwise_are_refused_with_both_ids(tmp_path, sets, fields, message):
    tiny.saved(tmp_path / "rope")
    edited(tiny.saved(tmp_path / "drope"), "tokenizer_config.json", bos_token="Y", eos_token="Z")
    if sets == "observe":
        same_tokens(tmp_path, **fields)  # core measures no other arm
    with pytest.raises(InputError, match=rf"expected .* to {message}; put the tokenizer of the one beside the other"):
        same_tokens(tmp_path, sets=sets, **fields)


def test_tokenizers_that_read_only_the_last_text_otherwise_are_refused(tmp_path):
    for name in ("rope", "drope"):
        tiny.saved(tmp_path / name)
    file = tmp_path / "drope" / "tokenizer.json"
    vocabulary = (body := json.loads(file.read_text()))["model"]["vocab"]
    vocabulary["Z"], vocabulary["Y"] = vocabulary["Y"], vocabulary["Z"]
    file.write_text(json.dumps(body))
    same_tokens(tmp_path)
    with pytest.raises(InputError, match="to read texts as the same tokens; got others for text-16"):
        same_tokens(tmp_path, last="ZZ")


@pytest.mark.parametrize(
    ("fields", "remedy"),
    [
        ({"primary_arm": "bos"}, "choose --arm=first"),
        ({"other_arms": ("bos",)}, "remove bos from other_arms of the pair"),
    ],
)
def test_an_arm_without_its_token_is_refused_at_the_start_with_the_remedy_that_helps(tmp_path, fields, remedy):
    for name in ("rope", "drope"):
        edited(tiny.saved(tmp_path / name), "tokenizer_config.json", bos_token=None)
    with pytest.raises(
        InputError, match=rf"expected a token for the arm bos; got a tokenizer without one beside .*; {remedy}$"
    ):
        same_tokens(tmp_path, sets="observe", **fields)


def test_a_config_without_a_depth_and_one_that_fits_no_heads_are_not_blamed_on_something_else(tmp_path):
    for name in ("rope", "drope"):
        tiny.saved(tmp_path / name)
    edited(tmp_path / "rope", "config.json", hidden_size=30)
    with pytest.raises(InputError, match=r"expected a config\.json that transformers can read .* hidden size \(30\)"):
        same_tokens(tmp_path)
    edited(tmp_path / "rope", "config.json", num_hidden_layers=None)
    with pytest.raises(InputError, match=r"expected num_hidden_layers in the config of .*rope; got none; correct it"):
        preconditions.same_depth(pairs.of(str(tmp_path / "rope"), str(tmp_path / "drope")))


def test_a_column_that_cannot_read_two_tokens_is_refused_before_its_first_cell(tmp_path):
    rotation = {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4, "partial_rotary_factor": 0.5}
    folder = str(edited(tiny.saved(tmp_path / "model"), "config.json", rope_parameters=rotation))
    measuring = Measuring(Request(pairs.of(folder, folder)), Store(tmp_path / "out"))
    with pytest.raises(InputError, match=f"expected a model that reads two tokens in {folder}; got "):
        measuring.checkpoint("rope")


def test_a_length_with_no_room_for_a_question_is_refused_before_anything_is_measured(tmp_path):
    folder = str(tiny.saved(tmp_path / "model"))
    asked = Request(pairs.of(folder, folder), sets="long", lengths=(16, 8192), texts=None)
    with pytest.raises(
        InputError, match=r"expected room for a text; got 16 tokens, \d+ of them taken; choose a longer"
    ):
        plan.measure_pair(asked, tmp_path / "out")
    assert not list(tmp_path.rglob("*.nc"))


def test_measuring_multiplies_float32_in_full_whatever_was_set_before(tmp_path):
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        Measuring(Request(pairs.load(pairs.DEFAULT)), Store(tmp_path))
        assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.set_float32_matmul_precision(before)


def test_what_other_cells_wait_for_is_measured_before_the_noise_floor(tmp_path):
    planned = list(tasks(Measuring(Request(pairs.load(pairs.DEFAULT)), Store(tmp_path))))
    places = {name: [i for i, t in enumerate(planned) if t.cell.measurement == name] for name in
              ("observations", "noise-floor", "disruption")}  # fmt: skip
    assert max(places["observations"]) < min(places["noise-floor"]) < min(places["disruption"])
