import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from dropeact.checkpoints import products
from dropeact.measurements.attention import READINGS, SINKS, row_entropy
from dropeact.probes import attention
from dropeact.probes.architectures import blocks_of
from dropeact.probes.attention import attend
from dropeact.probes.probing import Readings, probing
from dropeact.probes.rows import Attended, Rows, blocks, softmax
from tests import tiny_models
from tests.tiny_models import eager_attention, implementation, rows_entropy

pytestmark = pytest.mark.usefixtures("small_blocks")


@pytest.fixture(params=tiny_models.KINDS)
def model(request: pytest.FixtureRequest):
    return tiny_models.llama(request.param)


def weights_of(model, ids: Tensor) -> Tensor:
    """Every probed row, [layer, batch, head, query, key]."""

    def whole(rows: Rows) -> dict[str, Tensor]:
        missing = ids.shape[1] - rows.weights.shape[-1]
        return {"weights": nn.functional.pad(rows.weights, (0, missing)).clone()}

    with probing(model, Readings(rows=(whole,))) as seen:
        model(ids, use_cache=False)
    return seen["weights"]


def statistics(model, ids: Tensor, **inputs: Tensor) -> tuple[Tensor, Tensor]:
    with probing(model, READINGS) as seen:
        model(ids, use_cache=False, **inputs)
    return seen["first_key_mass"], seen["row_entropy"]


def test_rows_agree_with_eager_attention(model) -> None:
    ids = tiny_models.tokens()
    torch.testing.assert_close(weights_of(model, ids), eager_attention(model, ids), atol=1e-5, rtol=0)


def test_sink_mass_and_entropy_agree_with_eager_attention(model) -> None:
    ids = tiny_models.tokens()
    eager = eager_attention(model, ids)
    mass, entropy = statistics(model, ids)
    torch.testing.assert_close(mass, eager[..., 0], atol=1e-4, rtol=0)
    torch.testing.assert_close(entropy.double(), rows_entropy(eager), atol=1e-4, rtol=0)


def test_logits_with_the_probe_agree_with_logits_without(model) -> None:
    ids = tiny_models.tokens()
    without = model(ids, use_cache=False).logits
    with probing(model, READINGS):
        probed = model(ids, use_cache=False).logits
    torch.testing.assert_close(probed, without, atol=1e-5, rtol=1e-5)


def test_rebuilt_attention_output_equals_the_module_output(model) -> None:
    outputs: dict[str, list[Tensor]] = {"plain": [], "probed": []}
    ids, kept = tiny_models.tokens(), outputs["plain"]
    hooks = [
        block.attention.register_forward_hook(lambda _m, _a, output: kept.append(output[0]))
        for block in blocks_of(model)
    ]
    model(ids, use_cache=False)
    kept = outputs["probed"]
    with probing(model, READINGS):
        model(ids, use_cache=False)
    for hook in hooks:
        hook.remove()
    for plain, probed in zip(outputs["plain"], outputs["probed"], strict=True):
        torch.testing.assert_close(probed, plain, atol=1e-5, rtol=1e-4)


def test_implementation_is_restored_and_hooks_are_gone_even_after_an_error(model) -> None:
    def hooks() -> int:
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())

    before = hooks()
    readings = Readings(projected=(lambda p: {},), stream=(lambda h: {},), rows=(lambda r: {},))
    during = []

    def fail() -> None:
        with probing(model, readings):
            during.append(hooks())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert during[0] > before
    assert hooks() == before
    assert model.config._attn_implementation == "sdpa"
    assert attention._observer.get() is None


@pytest.mark.parametrize("heads", tiny_models.HEADS)
def test_a_probe_that_forgets_the_rotation_disagrees_with_eager_attention(heads: str) -> None:
    ids = tiny_models.tokens()
    for rotation, agrees in (("rope", False), ("nope", True)):
        model = tiny_models.llama(f"{heads}-{rotation}")
        assert torch.allclose(_weights_of_projections(model, ids), eager_attention(model, ids), atol=1e-4) is agrees


def _weights_of_projections(model, ids: Tensor) -> Tensor:
    """Wrong on purpose where there is a rotation: attention rebuilt from q_proj and k_proj."""
    kept: dict[str, list[Tensor]] = {"query": [], "key": [], "value": []}

    def keep(projected) -> dict[str, Tensor]:
        kept[projected.tensor].append(projected.heads.transpose(1, 2))
        return {}

    with probing(model, Readings(projected=(keep,))):
        model(ids, use_cache=False)
    groups = model.config.num_attention_heads // model.config.num_key_value_heads
    query, key = torch.stack(kept["query"]), torch.stack(kept["key"]).repeat_interleave(groups, 2)
    scores = query @ key.mT * model.config.head_dim**-0.5
    hidden = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).triu(1)
    return scores.masked_fill(hidden, -math.inf).softmax(-1)


def test_a_probe_that_clamps_disagrees_with_float64_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    # scores of several hundred, as in layer 1 of the published DroPE model, where the study clamped at 100
    model = tiny_models.llama("mha-nope", gain=80.0)
    ids = tiny_models.tokens()
    exact = eager_attention(model.double(), ids)
    model.float()
    torch.testing.assert_close(weights_of(model, ids)[0], exact[0].float(), atol=1e-3, rtol=0)
    clamped = "dropeact.probes.rows.softmax"
    monkeypatch.setattr(clamped, lambda first, s, *rest: softmax(first, s.clamp(-100, 100), *rest))
    assert (weights_of(model, ids)[0] - exact[0]).abs().max() > 0.1


def test_scores_beyond_half_precision_are_exact_against_float64() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key = (400 * torch.randn(1, 2, 30, 16, generator=generator) for _ in range(2))
    value = torch.randn(1, 2, 30, 16, generator=generator)
    rows = list(_rows(query, key, value))
    exact = _exact(query, key, value)
    assert (query.double() @ key.double().mT).abs().max() > 65504  # float16 would overflow here
    torch.testing.assert_close(torch.cat([r.first_key for r in rows], 2), exact[..., 0].float(), atol=1e-3, rtol=0)
    entropy = torch.cat([row_entropy(r) for r in rows], 2)
    assert entropy.isfinite().all()
    torch.testing.assert_close(entropy, rows_entropy(exact).float(), atol=1e-3, rtol=0)


def _rows(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, **options):
    module = nn.Module()
    attended = Attended(module, query, key, value, query.shape[-1] ** -0.5)
    for rows, _output in blocks(attended, mask, options):
        # the next block overwrites what a reading has seen
        yield replace(rows, scores=rows.scores.clone(), exponentials=rows.exponentials.clone())


def _exact(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    visible: Tensor | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """Attention weights in float64, written down plainly."""
    key = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
    scores = query.double() @ key.double().mT * query.shape[-1] ** -0.5
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    visible = torch.ones(scores.shape[-2:], dtype=torch.bool).tril() if visible is None else visible
    scores = scores.masked_fill(~visible, -math.inf)
    if sinks is not None:
        column = sinks.double().view(1, -1, 1, 1).expand(*scores.shape[:-1], 1)
        return torch.cat([scores, column], -1).softmax(-1)[..., :-1]
    return scores.softmax(-1)


OPTIONS = {
    "plain": {},
    "soft-capping": {"softcap": 2.0},
    "learned sinks": {"s_aux": torch.tensor([0.5, -1.0, 3.0, 0.0])},
    "both": {"softcap": 3.0, "s_aux": torch.tensor([0.5, -1.0, 3.0, 0.0])},
}


@pytest.mark.parametrize("onednn", [True, False], ids=["oneDNN", "MKL"])
@pytest.mark.parametrize("window", [None, 7])
@pytest.mark.parametrize("name", OPTIONS)
def test_rows_and_output_agree_with_plain_float64_attention(
    name: str, window: int | None, onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", onednn)
    generator = torch.Generator().manual_seed(3)
    query = 2 * torch.randn(2, 4, 40, 8, generator=generator)
    key, value = (2 * torch.randn(2, 2, 40, 8, generator=generator) for _ in range(2))
    positions = torch.arange(40)
    visible = positions[:, None] >= positions
    if window:
        visible &= positions[:, None] - positions < window
    options = OPTIONS[name]
    exact = _exact(query, key, value, visible=visible, softcap=options.get("softcap"), sinks=options.get("s_aux"))
    output = (exact @ value.double().repeat_interleave(2, 1)).transpose(1, 2).float()
    for mask in _masks(visible, causal=window is None):
        rows = list(_rows(query, key, value, mask, **options))
        weights = torch.cat([nn.functional.pad(r.weights, (0, 40 - r.weights.shape[-1])) for r in rows], 2)
        torch.testing.assert_close(weights, exact.float(), atol=1e-6, rtol=0)
        seen = torch.cat([nn.functional.pad(r.visible, (0, 40 - r.visible.shape[-1])) for r in rows], 2)
        assert torch.equal(seen, visible.expand_as(seen))
        entropy = torch.cat([row_entropy(r) for r in rows], 2)
        torch.testing.assert_close(entropy, rows_entropy(exact).float(), atol=1e-5, rtol=0)
        with attention_is_read():
            attended, _ = attend(nn.Module(), query, key, value, mask, **options)
        torch.testing.assert_close(attended, output, atol=1e-5, rtol=0)


@pytest.mark.skipif(not products.IS_THERE, reason="no AVX-512 here, or a torch without oneDNN's product")
def test_weights_of_products_have_no_gaps_however_heads_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    def product(rows: Tensor, weight: Tensor) -> Tensor:
        assert weight.is_contiguous() or weight.mT.is_contiguous()  # gaps would take a thousand times as long
        return products.product(rows, weight)

    monkeypatch.setattr("dropeact.probes.rows.product", product)
    query = torch.randn(2, 40, 4, 8).transpose(1, 2)
    key, value = (torch.randn(2, 50, 2, 8).transpose(1, 2)[:, :, :40] for _ in range(2))
    first, *_ = rows = list(_rows(query, key, value))
    assert len(rows) > 1
    seen = first.weights.shape[2]
    torch.testing.assert_close(first.weights, _exact(query, key, value)[:, :, :seen, :seen].float())


@pytest.mark.skipif(not products.IS_THERE, reason="no AVX-512 here, or a torch without oneDNN's product")
def test_blocks_with_a_sixteenth_of_the_keys_at_a_time_agree_with_plain_float64_attention(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three queries a block and keys by fours: a block sees keys that come after all of its queries."""
    monkeypatch.setattr("dropeact.probes.rows.SMALLEST_BLOCK", 3)
    monkeypatch.setattr("dropeact.probes.rows.BLOCK_ELEMENTS", {"cpu": 1})
    generator = torch.Generator().manual_seed(4)
    query = 2 * torch.randn(2, 4, 70, 8, generator=generator)
    key, value = (2 * torch.randn(2, 2, 70, 8, generator=generator) for _ in range(2))
    rows, exact = list(_rows(query, key, value)), _exact(query, key, value)
    assert [r.weights.shape[-1] for r in rows] == [min(70, 4 * math.ceil((r.first + 3) / 4)) for r in rows]
    weights = torch.cat([nn.functional.pad(r.weights, (0, 70 - r.weights.shape[-1])) for r in rows], 2)
    torch.testing.assert_close(weights, exact.float(), atol=1e-6, rtol=0)
    assert [int(r.visible[0, 0].sum()) for r in rows] == [sum(range(r.first + 1, min(r.first + 4, 71))) for r in rows]
    with attention_is_read():
        attended, _ = attend(nn.Module(), query, key, value, None)
    expected = (exact @ value.double().repeat_interleave(2, 1)).transpose(1, 2)
    torch.testing.assert_close(attended, expected.float(), atol=1e-5, rtol=0)


def _masks(visible: Tensor, *, causal: bool) -> list[Tensor | None]:
    """The same mask as transformers may hand it over: not at all, as booleans, as numbers to add."""
    boolean = visible[None, None].expand(2, 1, -1, -1)
    numbers = [torch.zeros(boolean.shape).masked_fill(~boolean, n) for n in (-math.inf, torch.finfo().min)]
    return [*([None] if causal else []), boolean, *numbers]


class attention_is_read:
    """An observer that wants rows, so that `attend` computes them itself."""

    wants_rows, wants_first_key = True, False

    def attended(self, attended: Attended) -> None: ...

    def rows(self, module: nn.Module, rows: Rows) -> None: ...

    def first_key(self, module: nn.Module, first: int, weight: Tensor) -> None: ...

    def outputs(self, attended: Attended, output: Tensor) -> None: ...

    def __enter__(self) -> None:
        self.token = attention._observer.set(self)

    def __exit__(self, *_: object) -> None:
        attention._observer.reset(self.token)


@pytest.mark.parametrize("side", ["left", "right"])
def test_rows_of_real_tokens_do_not_see_padding(model, side: str) -> None:
    ids = tiny_models.tokens(1, 30)
    padding = torch.zeros(1, 10, dtype=torch.long)
    parts = [padding, ids] if side == "left" else [ids, padding]
    real = torch.cat([torch.zeros_like(padding), torch.ones_like(ids)], 1)
    real = real if side == "left" else real.flip(1)
    positions = (real.cumsum(1) - 1).clamp(min=0)
    _, entropy = statistics(model, torch.cat(parts, 1), attention_mask=real, position_ids=positions)
    _, alone = statistics(model, ids)
    torch.testing.assert_close(entropy[..., real[0].bool()], alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kv_heads", [1, 2, 4], ids=["mqa", "gqa", "mha"])
def test_masked_attention_that_repeats_no_key_against_eager_attention(kv_heads: int, monkeypatch) -> None:
    """Four query heads, a few queries after a cache, every row with padding of its own: the path of answers."""
    generator = torch.Generator().manual_seed(kv_heads)
    query, key, value = (
        torch.randn(3, heads, tokens, 8, generator=generator)
        for heads, tokens in ((4, 5), (kv_heads, 11), (kv_heads, 11))
    )
    mask = torch.ones(5, 11, dtype=torch.bool).tril(6).expand(3, 1, 5, 11).clone()
    for row, padding in enumerate((0, 2, 4)):
        mask[row, ..., :padding] = False
    monkeypatch.setattr(attention, "sdpa_attention_forward", lambda *_, **__: pytest.fail("keys were repeated"))
    output, _ = attend(nn.Module(), query, key, value, mask, scaling=0.7)
    repeated = [heads.repeat_interleave(4 // kv_heads, 1) for heads in (key, value)]
    scores = (0.7 * query.double() @ repeated[0].double().mT).masked_fill(~mask, -torch.inf)
    expected = (scores.softmax(-1) @ repeated[1].double()).transpose(1, 2)
    torch.testing.assert_close(output.double(), expected, atol=1e-6, rtol=1e-6)


def test_a_mean_that_counts_padding_disagrees_with_the_unpadded_text(model) -> None:
    ids = tiny_models.tokens(1, 30)
    padded = torch.cat([ids, torch.zeros(1, 10, dtype=torch.long)], 1)
    real = torch.cat([torch.ones_like(ids), torch.zeros(1, 10, dtype=torch.long)], 1)
    mass, _ = statistics(model, padded, attention_mask=real)
    alone, _ = statistics(model, ids)
    torch.testing.assert_close(mass[..., :30].mean(-1), alone.mean(-1), atol=1e-4, rtol=0)
    assert (mass.mean(-1) - alone.mean(-1)).abs().max() > 1e-3


def test_nothing_is_computed_row_by_row_without_a_reader_of_rows(model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "blocks", None)
    with probing(model, Readings(attended=(lambda a: {"sum": a.query.sum((1, 2, 3))},))) as seen:
        model(tiny_models.tokens(), use_cache=False)
    assert seen["sum"].shape == (3, 2)


def first_key_mass(model, ids: Tensor, **inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Weight on key 0 when nothing else is read, and the logits of that pass."""
    with probing(model, SINKS) as seen:
        logits = model(ids, use_cache=False, **inputs).logits
    return seen["first_key_mass"], logits


def test_first_key_alone_needs_no_rows_and_agrees_with_eager_attention(model, monkeypatch) -> None:
    ids = tiny_models.tokens()
    expected, without = eager_attention(model, ids)[..., 0], model(ids, use_cache=False).logits
    monkeypatch.setattr(attention, "blocks", None)
    mass, logits = first_key_mass(model, ids)
    torch.testing.assert_close(mass, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(logits, without, atol=1e-5, rtol=1e-5)


def test_first_key_beside_padding_comes_from_rows_and_agrees_with_the_unpadded_text(model) -> None:
    ids = tiny_models.tokens(1, 30)
    padded, real = torch.cat([ids, torch.zeros(1, 10, dtype=torch.long)], 1), torch.ones(1, 40, dtype=torch.long)
    real[:, 30:] = 0
    mass, _ = first_key_mass(model, padded, attention_mask=real)
    torch.testing.assert_close(mass[..., :30], first_key_mass(model, ids)[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("offset", [0.0, 5000.0])
def test_first_key_of_scores_beyond_half_precision_against_float64(offset: float) -> None:
    # an offset common to all keys, as in layer 1 of the published DroPE model, cancels in the softmax
    generator = torch.Generator().manual_seed(0)
    query, key = (100 * torch.randn(1, 2, 30, 16, generator=generator) for _ in range(2))
    key = (key + offset).round()  # so that the offset is exact
    value = torch.randn(1, 2, 30, 16, generator=generator)
    output, weight = attention.with_first_key(Attended(nn.Module(), query, key, value, 0.25))
    exact = _exact(query, key, value)
    assert (query.double() @ key.double().mT).abs().max() > 65504
    assert weight.max() <= 1
    torch.testing.assert_close(weight, exact[..., 0].float(), atol=1e-3, rtol=0)
    torch.testing.assert_close(output, (exact @ value.double()).float(), atol=1e-3, rtol=0)


def test_names_keep_clear_of_those_that_transformers_interprets() -> None:
    assert not any(part in attention.NAME for part in ("sdpa", "flash", "flex_attention", "/"))


def test_implementation_may_be_any_before(model) -> None:
    with implementation(model, "eager"):
        with probing(model, READINGS):
            assert model.config._attn_implementation == attention.NAME
        assert model.config._attn_implementation == "eager"


def test_weights_of_masked_and_of_far_smaller_scores_are_exactly_0_and_nan_stays() -> None:
    lowest = torch.finfo(torch.float32).min
    rows = softmax(0, torch.tensor([[[[5.0, 4.0, lowest, 5.0 - 88.0, 5.0 - 86.0]]]]), None)
    weights = rows.weights.flatten().tolist()
    assert weights[2:4] == [0.0, 0.0]
    assert weights[4] == pytest.approx(math.exp(-86.0) / (1 + math.exp(-1.0)), rel=1e-4)
    assert softmax(0, torch.tensor([[[[1.0, math.nan]]]]), None).weights.isnan().any()
