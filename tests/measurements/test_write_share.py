import pytest
import torch
from torch import Tensor, nn

from dropeact.axes import InputError
from dropeact.measurements import attention, write_share
from dropeact.measurements.observe import observe
from dropeact.measurements.write_share import written_norms
from dropeact.probes.probing import Readings, probing
from dropeact.probes.rows import Attended
from tests import tiny_models
from tests.tiny_models import eager_attention, weight


@pytest.mark.parametrize("kind", tiny_models.KINDS)
def test_write_share_agrees_with_eager_attention_in_float64(kind: str) -> None:
    model, ids = tiny_models.llama(kind), tiny_models.tokens(2, 40)
    observed = observe(model, ids, ids=["a", "b"], halves=["A", "A"], phenomena=(attention, write_share))
    model.double()
    eager, values = eager_attention(model, ids), values_of(model, ids)
    for layer in range(3):
        output = weight(model, layer, "self_attn.o_proj").unflatten(1, (4, 8))  # [hidden, head, channel]
        repeated = values[layer].repeat_interleave(4 // values.shape[2], 1)
        written = torch.einsum("bhtj,bhjc,dhc->bhtjd", eager[layer], repeated, output)
        share = written[:, :, :, 0].norm(dim=-1) / written.sum(3).norm(dim=-1)
        got = torch.tensor(observed["write_share"].sel(layer=layer).values)
        torch.testing.assert_close(got.double(), share[..., 1:].mean(-1), atol=1e-4, rtol=1e-4)
        score = eager[layer][..., 1:, 0].mean(-1) * repeated[:, :, 0].norm(dim=-1)
        got = torch.tensor(observed["write_score"].sel(layer=layer).values)
        torch.testing.assert_close(got.double(), score, atol=1e-4, rtol=1e-4)
        norms = values[layer].norm(dim=-1)
        for name, expected in (("first_value_norm", norms[..., 0]), ("other_value_norm", norms[..., 1:].mean(-1))):
            got = torch.tensor(observed[name].sel(layer=layer).values)
            torch.testing.assert_close(got.double(), expected, atol=1e-4, rtol=1e-4)


def values_of(model, ids: Tensor) -> Tensor:
    with probing(model, Readings(attended=(lambda a: {"value": a.value},))) as seen:
        model(ids, use_cache=False)
    return seen["value"]


def test_what_a_head_writes_against_the_output_projection() -> None:
    generator = torch.Generator().manual_seed(0)
    given = torch.randn(2, 4, 10, 8, generator=generator)
    output = torch.randn(32, 32, generator=generator)
    for head in range(4):
        alone = torch.zeros_like(given)
        alone[:, head] = given[:, head]
        expected = (alone.transpose(1, 2).flatten(2) @ output.T).norm(dim=-1)
        torch.testing.assert_close(written_norms(given, output)[:, head], expected, rtol=1e-4, atol=1e-4)


def test_a_first_token_without_a_value_writes_nothing_however_large_its_mass() -> None:
    model, ids = tiny_models.llama("mha-nope"), tiny_models.tokens(2, 40).clamp(min=1)
    ids[:, 0] = 0
    model.get_parameter("model.embed_tokens.weight")[0] = 0  # its values are 0; in layer 0 attention moves nothing in
    observed = observe(model, ids, ids=["a", "b"], halves=["A", "A"], phenomena=(attention, write_share))
    assert (observed["write_share"].sel(layer=0) == 0).all()
    assert (observed["write_score"].sel(layer=0) == 0).all()
    assert (observed["sink_score"].sel(layer=0) > 0).all()


def test_an_output_projection_of_another_name_is_one_line() -> None:
    module = nn.Sequential()
    module.add_module("query", nn.Linear(8, 8))
    module.add_module("output", nn.Linear(8, 8))
    heads = torch.zeros(1, 2, 3, 4)
    attended = Attended(module, heads, heads, heads, scaling=1.0)
    with pytest.raises(InputError) as refused:
        write_share.read_outputs(attended, heads)
    assert str(refused.value) == (
        "expected an output projection o_proj or dense; got Sequential with query, output; choose another checkpoint"
    )
