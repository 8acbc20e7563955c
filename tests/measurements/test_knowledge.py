"""Facts asked of planted models, whose answers are known, and of tiny random ones."""

import numpy as np
import pytest
import torch
import xarray as xr

from dropeact.axes import InputError
from dropeact.corpus.facts import PARAMETRIC, cities, reviews, sports
from dropeact.measurements import knowledge as measurement
from dropeact.measurements.conditions import CONDITIONS, conditions
from dropeact.measurements.knowledge import UNPARSED, _labelled, knowledge, parsed
from dropeact.measurements.manipulation import manipulation
from dropeact.probes.architectures import blocks_of
from dropeact.probes.first_token import DropFirstMlp
from tests.planted_models import ByteTokenizer, copier, knower, planted
from tests.tiny_models import llama

ITEMS = (*cities()[:8], *sports()[:8], *reviews()[:4])
BASELINE = {"baseline": ()}


@pytest.fixture(autouse=True)
def answers_of_bytes(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(measurement, "ANSWER_TOKENS", 5)


class SmallTokenizer(ByteTokenizer):
    """Bytes folded into the vocabulary of the tiny models."""

    def __call__(self, text, *, add_special_tokens=False):
        return {"input_ids": [byte % 96 + 1 for byte in text.encode()]}


def asked(model, tokenizer, items=ITEMS, conditions=None, **options):
    return knowledge(model, tokenizer, items, conditions or BASELINE, write_layer=0, selected_on="B", **options)


def test_a_model_that_knows_every_fact_is_always_right():
    found = asked(planted(knower(ITEMS)), ByteTokenizer()).sel(condition="baseline")
    assert found["correct"].values.tolist() == [1] * len(ITEMS)
    assert found["yes_correct"].values.tolist() == [1] * len(ITEMS)
    assert found["answer_correct"].values.tolist() == [1] * len(ITEMS)
    assert found["answer"].values.tolist() == [int(item.asked) for item in ITEMS]


def test_a_model_that_only_copies_is_at_chance_and_its_answers_are_unparsed_and_wrong():
    found = asked(planted(copier), ByteTokenizer()).sel(condition="baseline")
    parametric = found.isel(text=np.isin(found["task"].values, PARAMETRIC))
    assert float(parametric["correct"].mean()) <= 0.5
    assert found["answer"].values.tolist() == [UNPARSED] * len(ITEMS)
    assert found["answer_correct"].sum() == 0
    assert found["answer_correct"].size == len(ITEMS)


def test_a_model_that_always_says_yes_is_right_in_exactly_half():
    def yes(text):
        tail = text.rsplit(":", 1)[-1]
        return " Yes\0"[len(tail) :][:1] if " Yes".startswith(tail) else ""

    found = asked(planted(yes), ByteTokenizer()).sel(condition="baseline")
    assert found["yes_correct"].sum() * 2 == len(ITEMS)
    assert found["answer_correct"].sum() * 2 == len(ITEMS)
    assert (found["answer"] == 1).all()


@pytest.mark.parametrize("kind", ["gqa-rope", "gqa-nope"])
def test_batches_give_what_items_give_one_by_one(kind):
    model, tokenizer = llama(kind), SmallTokenizer()
    conditions = {"baseline": (), "first-mlp": (DropFirstMlp(1),)}
    batched = asked(model, tokenizer, ITEMS[6:10], conditions)
    alone = asked(model, tokenizer, ITEMS[6:10], conditions, at_once=1)
    xr.testing.assert_allclose(batched, alone, atol=1e-3)


def whole(model, prompt, completion, first_ids):
    """The log-probability of a completion after `first_ids` and the prompt, from one pass over everything."""
    before, after = ([*SmallTokenizer()(part)["input_ids"]] for part in (prompt, completion))
    before = [*first_ids, *before]
    logits = model(torch.tensor([[*before, *after]]), use_cache=False).logits[0].double().log_softmax(-1)
    return sum(float(logits[len(before) - 1 + place, token]) for place, token in enumerate(after))


@pytest.mark.parametrize("first_ids", [(), (5,)], ids=["plain", "begun"])
def test_both_forms_and_the_checks_begin_with_the_arms_token_against_whole_passes(first_ids):
    model, items = llama("gqa-nope"), ITEMS[:4]
    found = asked(model, SmallTokenizer(), items, first_ids=first_ids).sel(condition="baseline")
    for item, form, per_token, asking in zip(
        items, *(found[name].values for name in ("log_odds", "log_odds_per_token", "yes_log_odds")), strict=True
    ):
        true, false = (whole(model, item.prompt, text, first_ids) for text in item.completions)
        counts = [len(text) for text in item.completions]
        assert form == pytest.approx(true - false, abs=1e-3)
        assert per_token == pytest.approx(true / counts[0] - false / counts[1], abs=1e-3)
        yes, no = (whole(model, item.yes_no_prompt, word, first_ids) for word in (" Yes", " No"))
        assert asking == pytest.approx(yes - no, abs=1e-3)
    ratios = []
    for item in items:
        ids = torch.tensor([[*first_ids, *SmallTokenizer()(item.prompt)["input_ids"]]])
        norms = model(ids, output_hidden_states=True).hidden_states[1][0].norm(dim=-1).numpy()  # after block 0
        ratios.append(norms[0] / np.median(norms[1:]))
    assert found["first_ratio"].item() == pytest.approx(np.mean(ratios), rel=1e-4)
    assert found["selected_on"].values.tolist() == ["B"]


def test_every_condition_and_column_asks_the_same_items():
    one = asked(llama("gqa-rope"), SmallTokenizer(), ITEMS[:4], {"baseline": (), "first-mlp": (DropFirstMlp(0),)})
    other = asked(llama("gqa-nope"), SmallTokenizer(), ITEMS[:4])
    assert one["text"].values.tolist() == other["text"].values.tolist() == [item.id for item in ITEMS[:4]]
    assert set(one["half"].values.tolist()) == {"A", "B"}
    assert one["correct"].dims == ("text", "condition")


def test_an_answer_says_yes_or_no_only_as_a_whole_word():
    assert [parsed(text) for text in (" Yes", "no.", "Yes, it is", " NO\nQuestion", "Yes\nno")] == [1, 0, 1, 0, 1]
    assert [parsed(text) for text in (" now", "I know", "yes or no", "", "incorrect", "\nYes")] == [
        *[UNPARSED] * 5,
        1,
    ]


def test_a_tie_is_a_wrong_answer_against_hand_labels():
    scores = {"log_odds": np.array([0.0, 0.1, -0.1, 0.0]), "yes_log_odds": np.array([0.0, 0.1, -0.1, 0.0])}
    found = _labelled(scores, np.array([1, 1, 0, 0]), np.array([True, True, False, False]))
    assert found["correct"].values.tolist() == [0, 1, 0, 0]
    assert found["yes_correct"].values.tolist() == [0, 1, 1, 0]
    assert found["answer_correct"].values.tolist() == [1, 1, 1, 1]


def test_the_mlp_of_the_first_token_alone_is_dropped_cached_or_not_padded_or_not():
    model = llama("gqa-rope")
    ids = torch.tensor([[4, 9, 33, 2, 71, 15]])
    plain = model(ids, use_cache=False).logits
    with DropFirstMlp(0).entered(model):
        whole = model(ids, use_cache=False).logits
        cached = model(ids[:, :3], use_cache=True)
        step = model(ids[:, 3:], past_key_values=cached.past_key_values, use_cache=True).logits
        padded = model(
            torch.cat([torch.zeros(1, 2, dtype=torch.long), ids], 1),
            attention_mask=torch.tensor([[0, 0, 1, 1, 1, 1, 1, 1]]),
            position_ids=torch.tensor([[1, 1, 0, 1, 2, 3, 4, 5]]),
            use_cache=False,
        ).logits[:, 2:]
    assert (whole - plain).abs().max() > 1e-2
    torch.testing.assert_close(torch.cat([cached.logits, step], 1), whole, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(padded, whole, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model(ids, use_cache=False).logits, plain)


def test_the_first_token_after_its_ablated_block_against_hand_computation():
    model = llama("gqa-rope")
    ids = torch.tensor([[4, 9, 33, 2]])
    hidden = []
    block = blocks_of(model)[0]
    hook = block.module.register_forward_hook(lambda _m, _a, output: hidden.append(output))
    attention = []
    other = block.attention.register_forward_hook(lambda _m, _a, output: attention.append(output[0]))
    with DropFirstMlp(0).entered(model):
        model(ids, use_cache=False)
    model(ids, use_cache=False)
    for handle in (hook, other):
        handle.remove()
    embedded = model.model.embed_tokens(ids)
    torch.testing.assert_close(hidden[0][:, 0], embedded[:, 0] + attention[0][:, 0])
    torch.testing.assert_close(hidden[0][:, 1:], hidden[1][:, 1:])


def test_the_manipulation_check_sees_a_condition_that_changes_nothing():
    prompts = [[3, 5, 60, 20, 11], [9, 8, 7, 6]]
    checks = manipulation(
        llama("gqa-rope"), prompts, {"baseline": (), "same": (), "first": (DropFirstMlp(1),)}, layer=1
    )
    assert checks["first_ratio"].dims == ("condition",)
    same, first = (checks.sel(condition=name) for name in ("same", "first"))
    assert float(same["first_ratio"]) == float(checks["first_ratio"][0])
    assert float(first["first_ratio"]) != float(same["first_ratio"])


def hand_made_masks():
    names = ["baseline", "massive", "random-0"]
    query, key = np.zeros((3, 3, 4, 8), bool), np.zeros((3, 3, 2, 8), bool)
    query[1, :, :, 2] = key[1, :, :, 2] = True
    query[2, :, 0, 5] = True
    return xr.Dataset(
        {
            "query": (("condition", "layer", "head", "dim"), query),
            "key": (("condition", "layer", "kv_head", "dim"), key),
        },
        coords={"condition": names},
    )


def test_conditions_hold_the_interventions_they_are_named_for():
    made = conditions(hand_made_masks(), write_layer=1, names=(*CONDITIONS, "random-0"))
    assert {name: [type(each).__name__ for each in value] for name, value in made.items()} == {
        "baseline": [],
        "massive": ["ZeroDims"],
        "first-mlp": ["DropFirstMlp"],
        "combined": ["ZeroDims", "DropFirstMlp"],
        "random-0": ["ZeroDims"],
    }
    with pytest.raises(InputError, match="expected a condition of baseline"):
        conditions(hand_made_masks(), write_layer=1, names=["typo"])


def test_items_under_every_condition_against_items_one_by_one():
    model, made = llama("gqa-nope"), conditions(hand_made_masks(), write_layer=1)
    batched = asked(model, SmallTokenizer(), ITEMS[8:11], made)
    xr.testing.assert_allclose(batched, asked(model, SmallTokenizer(), ITEMS[8:11], made, at_once=1), atol=1e-3)
    losses = [batched["log_odds"].sel(condition=name).values for name in CONDITIONS]
    assert all(not np.allclose(losses[0], other) for other in losses[1:])
