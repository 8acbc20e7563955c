"""Hidden numbers asked of planted models, whose answers are known, and of tiny random ones."""

from itertools import product

import numpy as np
import pytest
import torch
import xarray as xr

from dropeact.corpus.facts import cities
from dropeact.corpus.retrieval import ERRORS, FORMS, prompts
from dropeact.files import read_dataset, write_dataset
from dropeact.measurements import retrieval as measurement
from dropeact.measurements.retrieval import error_class, retrieval
from dropeact.probes.first_token import DropFirstMlp
from dropeact.probes.interventions import ZeroDims, intervening
from tests.planted_models import ByteTokenizer, copier, knower, planted
from tests.tiny_models import llama

SMALL = {"half": "A", "lengths": (400,), "depths": (0.2, 0.8), "keys": 4}
BASELINE = {"baseline": ()}


class SmallTokenizer(ByteTokenizer):
    """Bytes folded into the vocabulary of the tiny models, and back into digits now and then."""

    def __call__(self, text, *, add_special_tokens=False):
        return {"input_ids": [byte % 96 + 1 for byte in text.encode()]}

    def decode(self, ids):
        return "".join(chr(token % 96 + 32) for token in ids)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def test_a_model_that_only_copies_finds_every_number_and_ranks_it_first():
    found = retrieval(planted(copier), ByteTokenizer(), BASELINE, **SMALL)
    assert found["exact"].min() == 1
    assert found["substring"].min() == 1
    assert (found["error"] == ERRORS.index("right")).all()
    assert (found["candidate_log_probability"].argmax("candidate") == 0).all()
    agreed = found["candidate_yes"].sel(form="plain")
    np.testing.assert_allclose(agreed, np.broadcast_to(agreed.isel(candidate=[0]), agreed.shape), atol=1e-6)
    assert found["candidate_yes"].sel(form="cued").isnull().all()


def test_a_model_that_knows_facts_and_copies_nothing_finds_no_number():
    found = retrieval(planted(knower(cities()[:4])), ByteTokenizer(), BASELINE, **SMALL)
    assert found["exact"].max() == 0
    assert found["substring"].max() == 0
    assert (found["error"] == ERRORS.index("no number")).all()


def test_a_number_inside_a_longer_one_is_found_and_not_exact():
    def longer(text):
        return copier(text).replace("\0", "0")  # one digit more where the number ends

    found = retrieval(planted(longer), ByteTokenizer(), BASELINE, **SMALL)
    assert found["exact"].max() == 0
    assert found["substring"].min() == 1
    assert (found["error"] == ERRORS.index("one digit more or less")).all()


class NulTokenizer(ByteTokenizer):
    """Reads x as the byte 0, as tokenizers that fall back to bytes may."""

    def decode(self, ids):
        return super().decode(ids).replace("x", "\0")


def test_an_answer_with_a_nul_is_stored_with_a_mark_in_its_place(tmp_path):
    found = retrieval(planted(lambda text: "x"), NulTokenizer(), BASELINE, **SMALL)
    assert set(found["answer"].values.ravel()) == {"\N{REPLACEMENT CHARACTER}" * measurement.ANSWER_TOKENS}
    write_dataset(tmp_path / "answers.nc", found)
    assert (read_dataset(tmp_path / "answers.nc")["answer"] == found["answer"]).all()


@pytest.mark.parametrize("kind", ["gqa-rope", "gqa-nope"])
def test_batches_answer_as_prompts_one_by_one(kind, monkeypatch):
    model, conditions = llama(kind), {"baseline": (), "first-mlp": (DropFirstMlp(1),)}
    batched = retrieval(model, SmallTokenizer(), conditions, **SMALL)
    monkeypatch.setattr(measurement, "TOKENS_AT_ONCE", 1)
    alone = retrieval(model, SmallTokenizer(), conditions, **SMALL)
    assert batched["answer"].values.tolist() == alone["answer"].values.tolist()
    xr.testing.assert_allclose(batched.drop_vars("answer"), alone.drop_vars("answer"), atol=1e-3)


def uncached(model, text, continuation, first_ids=()):
    """The log-probability of a continuation, from one pass over everything."""
    before, after = (SmallTokenizer()(part)["input_ids"] for part in (text, continuation))
    before = [*first_ids, *before]
    with torch.no_grad():
        logits = model(torch.tensor([[*before, *after]]), use_cache=False).logits[0].double().log_softmax(-1)
    return sum(float(logits[len(before) - 1 + place, token]) for place, token in enumerate(after))


def half_of_channels(model):
    """Every other channel of all queries zeroed."""
    config = model.config
    key = torch.zeros(1, config.num_hidden_layers, config.num_key_value_heads, config.head_dim, dtype=torch.bool)
    query = torch.arange(config.head_dim).expand(1, config.num_hidden_layers, config.num_attention_heads, -1) % 2 == 0
    return ZeroDims(query, key)


@pytest.mark.parametrize("kind", ["gqa-rope", "gqa-nope"])
def test_ranking_and_verification_against_whole_passes_without_a_cache(kind):
    model, options = llama(kind), {**SMALL, "depths": (0.5,), "forms": ("plain",)}
    conditions = {"baseline": (), "massive": (half_of_channels(model),)}
    found = retrieval(model, SmallTokenizer(), conditions, **options).squeeze(["form", "length"])
    made = prompts(SmallTokenizer(), half="A", form="plain", length=400, depths=(0.5,), keys=4)
    for condition, interventions in conditions.items():
        with intervening(model, *interventions):
            scores = [[uncached(model, p.text, f" {number}") for number in p.candidates] for p in made]
        own = found["candidate_log_probability"].sel(condition=condition)
        np.testing.assert_allclose(own, scores, rtol=1e-4)
    apart = found["candidate_log_probability"].diff("condition")
    assert float(abs(apart).max()) > 0.05  # the conditions differ by more than the tolerance
    yes, no = (
        np.array([[uncached(model, p.verification(number), word) for number in p.candidates] for p in made])
        for word in (" Yes", " No")
    )
    agreed = found["candidate_yes"].sel(condition="baseline")
    np.testing.assert_allclose(np.log(agreed / (1 - agreed)), yes - no, atol=1e-3)
    assert np.ptp(yes - no, axis=1).min() > 2e-3  # the candidates differ by more than the tolerance
    assert found["candidate_yes"].sel(condition="massive").isnull().all()  # verified undisturbed alone


def test_prompts_and_verifications_begin_with_the_arms_token_against_whole_passes_without_a_cache():
    model, options = llama("gqa-nope"), {**SMALL, "depths": (0.5,), "forms": ("plain",)}
    found = retrieval(model, SmallTokenizer(), BASELINE, first_ids=(5,), **options).squeeze(drop=True)
    made = prompts(SmallTokenizer(), half="A", form="plain", length=400, depths=(0.5,), keys=4)
    begun, plain = (
        np.array([[uncached(model, p.text, f" {number}", ids) for number in p.candidates] for p in made])
        for ids in ((5,), ())
    )
    np.testing.assert_allclose(found["candidate_log_probability"], begun, rtol=1e-4)
    assert abs(begun / plain - 1).max() > 1e-3  # the first token makes more of a difference than the tolerance
    yes, no = (
        np.array([[uncached(model, p.verification(number), word, (5,)) for number in p.candidates] for p in made])
        for word in (" Yes", " No")
    )
    agreed = found["candidate_yes"]
    np.testing.assert_allclose(np.log(agreed / (1 - agreed)), yes - no, atol=1e-3)


def test_every_condition_and_model_is_asked_the_same_prompts():
    options = {**SMALL, "depths": (0.5,), "forms": ("plain",)}
    rope, nope = (retrieval(llama(kind), SmallTokenizer(), BASELINE, **options) for kind in ("mha-rope", "mha-nope"))
    for name in ("text", "value", "half", "needle_depth"):
        assert rope[name].values.tolist() == nope[name].values.tolist()


def test_combinations_stand_where_they_are_named_against_each_alone():
    lengths, model = (400, 450), llama("gqa-rope")
    conditions = {"baseline": (), "first-mlp": (DropFirstMlp(0),)}

    def asked(conditions, lengths, forms):
        options = {**SMALL, "depths": (0.5,), "lengths": lengths, "forms": forms}
        return retrieval(model, SmallTokenizer(), conditions, **options)

    found = asked(conditions, lengths, FORMS)
    for form, length, name in product(FORMS, lengths, conditions):
        alone = asked({name: conditions[name]}, (length,), (form,))
        xr.testing.assert_equal(found.sel(form=[form], length=[length], condition=[name]), alone)


def test_errors_are_classed_by_the_first_number_against_hand_labels():
    labels = {
        " 48213.": "right",
        "it is 48213": "right",
        "the number": "no number",
        "4821": "one digit more or less",
        "482130": "one digit more or less",
        "48": "other length",
        "482": "other length",
        "4821300": "other length",
        "48,213": "other length",
        "48214": "near miss",
        "84213": "near miss",
        "12345": "more digits wrong",
    }
    assert {answer: ERRORS[error_class(answer, "48213")] for answer in labels} == labels
