import pytest
import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.models.llama.modeling_llama import eager_attention_forward

from dropeact.measurements.attention import READINGS
from dropeact.probes.interventions import ZeroDims, intervening
from dropeact.probes.probing import probing
from tests import tiny_models
from tests.tiny_models import implementation


def some_dims(model, rows: int = 1, *, share: float = 0.3, seed: int = 0) -> ZeroDims:
    config, generator = model.config, torch.Generator().manual_seed(seed)
    shape = (rows, config.num_hidden_layers)
    query = torch.rand(*shape, config.num_attention_heads, config.head_dim, generator=generator) < share
    key = torch.rand(*shape, config.num_key_value_heads, config.head_dim, generator=generator) < share
    return ZeroDims(query, key)


@pytest.fixture(params=tiny_models.KINDS)
def model(request: pytest.FixtureRequest):
    return tiny_models.llama(request.param)


def eager_with_zeros(model, ids: Tensor, zeroed: ZeroDims) -> Tensor:
    """Logits with channels zeroed inside the model's own eager attention."""

    def attend(module, query, key, value, mask, **options):
        query = query * ~zeroed.query[:, module.layer_idx, :, None]
        key = key * ~zeroed.key[:, module.layer_idx, :, None]
        hidden = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool).triu(1)
        mask = torch.zeros(hidden.shape).masked_fill(hidden, -torch.inf)
        return eager_attention_forward(module, query, key, value, mask, **options)

    AttentionInterface.register("eager_with_zeros", attend)
    with implementation(model, "eager_with_zeros"):
        return model(ids, use_cache=False).logits


def test_zeroed_channels_agree_with_eager_attention(model) -> None:
    ids, zeroed = tiny_models.tokens(), some_dims(model)
    expected = eager_with_zeros(model, ids, zeroed)
    with intervening(model, zeroed):
        logits = model(ids, use_cache=False).logits
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    assert (logits - model(ids, use_cache=False).logits).abs().max() > 0.1


def test_each_row_of_a_batch_has_its_own_masks_against_one_at_a_time(model) -> None:
    ids, zeroed = tiny_models.tokens(3), some_dims(model, 3)
    with intervening(model, zeroed):
        together = model(ids, use_cache=False).logits
    for row in range(3):
        with intervening(model, ZeroDims(zeroed.query[row : row + 1], zeroed.key[row : row + 1])):
            alone = model(ids[row : row + 1], use_cache=False).logits
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-4, rtol=1e-4)


def test_cached_and_uncached_passes_agree(model) -> None:
    ids, zeroed = tiny_models.tokens(2, 12), some_dims(model)
    with intervening(model, zeroed):
        whole = model(ids, use_cache=False).logits
        step = model(ids[:, :5], use_cache=True)
        logits = [step.logits]
        for t in range(5, 12):
            step = model(ids[:, t : t + 1], past_key_values=step.past_key_values, use_cache=True)
            logits.append(step.logits)
    torch.testing.assert_close(torch.cat(logits, 1), whole, atol=1e-4, rtol=1e-4)


def test_interventions_compose_and_a_probe_sees_what_they_leave(model) -> None:
    ids = tiny_models.tokens()
    one, other = some_dims(model, seed=1), some_dims(model, seed=2)
    both = ZeroDims(one.query | other.query, one.key | other.key)

    def probed(*interventions: ZeroDims) -> tuple[Tensor, Tensor]:
        with intervening(model, *interventions), probing(model, READINGS) as seen:
            logits = model(ids, use_cache=False).logits
        return logits, seen["row_entropy"]

    for composed, merged in zip(probed(one, other), probed(both), strict=True):
        torch.testing.assert_close(composed, merged)


def test_model_is_as_before_after_an_intervention(model) -> None:
    ids = tiny_models.tokens()
    before = model(ids, use_cache=False).logits
    with intervening(model, some_dims(model)):
        model(ids, use_cache=False)
    assert torch.equal(model(ids, use_cache=False).logits, before)
    assert model.config._attn_implementation == "sdpa"
