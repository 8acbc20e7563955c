import numpy as np
import pytest
import torch

from dropeact.measurements import massive_activations, residual_share
from dropeact.measurements.observe import observe
from dropeact.measurements.residual_share import QUANTITIES, read_added
from dropeact.probes.architectures import blocks_of
from dropeact.probes.probing import Readings, Seen, probing
from dropeact.probes.residual import Added, first_of
from tests import tiny_models
from tests.tiny_models import weight

PHENOMENA = (massive_activations, residual_share)


def test_shares_against_hand_count() -> None:
    attention, mlp = torch.tensor([[[3.0, 0.0], [1.0, 1.0]]]), torch.tensor([[[-1.0, 0.0], [1.0, -1.0]]])
    read = read_added(Added(torch.zeros(1, 2, 2), attention, mlp, attention + mlp))
    assert read["attention_share"][0].tolist() == pytest.approx([0.75, 0.5])
    assert read["attention_projection"][0].tolist() == pytest.approx([1.5, 0.5])  # <(3,0), (2,0)> / 4
    assert read["mlp_projection"][0].tolist() == pytest.approx([-0.5, 0.5])


def test_classes_of_tokens_share_no_token_against_hand_labels() -> None:
    """In text 0 the first token is massive, too, and in text 1 none is: each counts in one class alone."""
    massive = torch.tensor([[True, False, True, False, False], [False] * 5])
    values = torch.tensor([[9.0, 1.0, 5.0, 2.0, 3.0], [8.0, 1.0, 2.0, 4.0, 6.0]])
    seen = Seen()
    seen.keep(0, {"massive_tokens": massive, **dict.fromkeys(QUANTITIES, values)})
    classes = residual_share.labelled(seen)
    for name in QUANTITIES:
        found = classes[name].isel(layer=0)
        expected = {"first": [9, 8], "massive": [5, np.nan], "ordinary": [2, 3]}  # medians of 1 2 3 and of 1 2 4 6
        for token_class, medians in expected.items():
            np.testing.assert_array_equal(found.sel(token_class=token_class), medians)


@pytest.mark.parametrize("kind", tiny_models.KINDS)
def test_contributions_add_up_to_what_the_block_leaves(kind: str) -> None:
    model, ids = tiny_models.llama(kind), tiny_models.tokens(2, 20)

    def read(added: Added) -> dict:
        return {"sum": added.before + added.attention + added.mlp, "after": added.after} | read_added(added)

    with probing(model, Readings(added=(read,))) as seen:
        model(ids, use_cache=False)
    torch.testing.assert_close(seen["sum"], seen["after"], atol=1e-5, rtol=1e-5)
    total = seen["attention_projection"] + seen["mlp_projection"]
    torch.testing.assert_close(total, torch.ones_like(total), atol=1e-4, rtol=0)


def keeping(kept: list[torch.Tensor]):
    def hook(_module: torch.nn.Module, _args: tuple, output: torch.Tensor | tuple) -> None:
        kept.append(first_of(output))

    return hook


def test_medians_per_token_class_agree_with_hooks_in_float64() -> None:
    model, ids = tiny_models.llama(), tiny_models.tokens(3, 21)
    observed = observe(model, ids, ids=list("abc"), halves=["A"] * 3, phenomena=PHENOMENA)
    outputs: dict[str, list[torch.Tensor]] = {"self_attn": [], "mlp": []}
    for block in blocks_of(model.double()):
        for name, module in zip(outputs, (block.attention, block.mlp), strict=True):
            module.register_forward_hook(keeping(outputs[name]))
    model(ids, use_cache=False)
    a, m = (torch.stack(outputs[name]).norm(dim=-1).transpose(0, 1).numpy() for name in outputs)
    shares = a / (a + m)
    classes = observed["attention_share"]
    np.testing.assert_allclose(classes.sel(token_class="first"), shares[..., 0], atol=1e-4)
    np.testing.assert_allclose(classes.sel(token_class="ordinary"), np.median(shares[..., 1:], -1), atol=1e-4)
    assert classes.sel(token_class="massive").isnull().all()
    of_means = a.mean(-1) / (a.mean(-1) + m.mean(-1))
    np.testing.assert_allclose(observed["attention_share_of_means"], of_means, atol=1e-4)


def test_one_planted_massive_token_sets_the_mean_and_not_the_median_of_ordinary_tokens() -> None:
    # as in the study's experiment 8: the printed share is that of one or two tokens
    model = tiny_models.llama("gqa-rope", gain=1.0)
    ids = tiny_models.tokens(2, 40).clamp(min=1)
    before = observe(model, ids, ids=["a", "b"], halves=["A", "A"], phenomena=PHENOMENA)
    embeddings, at = model.get_parameter("model.embed_tokens.weight"), int(ids[0, 7])
    ids[ids == at] = (at + 1) % 97 or 1
    ids[:, 7] = at
    embeddings[:, 31] = 0
    embeddings[at, 31] = 2000  # read by the MLP alone, which writes a lot where it sees it
    for name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"):
        weight(model, 0, name)[:, 31] = 0
    weight(model, 0, "self_attn.o_proj")[31] = 0
    weight(model, 0, "mlp.gate_proj")[0] = 0
    weight(model, 0, "mlp.up_proj")[0] = 0
    weight(model, 0, "mlp.gate_proj")[0, 31] = weight(model, 0, "mlp.up_proj")[0, 31] = 10.0
    weight(model, 0, "mlp.down_proj")[:, 0] = 0
    weight(model, 0, "mlp.down_proj")[31, 0] = 1.0
    after = observe(model, ids, ids=["a", "b"], halves=["A", "A"], phenomena=PHENOMENA)
    assert (after["massive_activation_tokens"].sel(depth=1) == 1).all()
    ordinary = [data["attention_share"].sel(token_class="ordinary", layer=0).mean().item() for data in (before, after)]
    of_means = [data["attention_share_of_means"].sel(layer=0).mean().item() for data in (before, after)]
    massive = after["attention_share"].sel(token_class="massive", layer=0)
    assert (massive < 0.01).all()
    assert ordinary[1] == pytest.approx(ordinary[0], abs=0.1)
    assert of_means[1] < 0.1 * of_means[0]
