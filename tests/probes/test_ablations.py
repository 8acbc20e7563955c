"""Every intervention on its own and under a cache: one pass over the whole text is what decoding must agree with."""

from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from typing import get_args

import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from torch import Tensor
from transformers import PreTrainedModel

from dropeact.axes import InputError
from dropeact.measurements.completions import Cached
from dropeact.probes.ablations import PARTS, DropOutputs, Part, Tokens
from dropeact.probes.architectures import blocks_of
from dropeact.probes.attention import attending
from dropeact.probes.channels import Fixed, OnePerHead, ReplaceDims, Site, Value, ZeroProjectedDims
from dropeact.probes.edits import prompt_tokens
from dropeact.probes.first_token import DropFirstMlp, ZeroFirstValue
from dropeact.probes.interventions import Intervention, ZeroDims, intervening
from dropeact.probes.probing import Readings, probing
from dropeact.probes.resuming import resuming
from tests import tiny_models

TEXTS = ([*range(4, 24)], [17, 5, 90, 23, 6, 41, 12, 62, 3])
PROMPTS = (15, 4)  # the first is longer than the window of the tiny Gemma models
Make = Callable[[tuple[int, ...] | None], Intervention]
PARTED: tuple[tuple[Part, ...], ...] = (("attention",), ("mlp",), PARTS)
TOKENS: tuple[Tokens, ...] = ("all", "first")


def shapes(model) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(layer, head, dim) of queries and of keys."""
    config = model.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    layers, heads = config.num_hidden_layers, config.num_attention_heads
    return (layers, heads, width), (layers, getattr(config, "num_key_value_heads", heads), width)


def some(model, share: float = 0.3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.rand(1, *shape, generator=generator) < share for shape in shapes(model))
    return query, key


def made(model) -> dict[str, Make]:
    """Every intervention, given the length of the rows' prompts."""
    masks = some(model)
    replaced: dict[str, Make] = {
        f"{value}-{site}": partial(ReplaceDims, Fixed(*masks), value, site)
        for value in get_args(Value)
        for site in get_args(Site)
    }
    jin: dict[str, Make] = {f"jin-{site}": partial(ReplaceDims, OnePerHead(), "mean", site) for site in get_args(Site)}
    control = partial(ReplaceDims, OnePerHead(largest=False), "mean", "attended")
    fixed: dict[str, Intervention] = {
        f"{'+'.join(parts)}-{tokens}": DropOutputs(1, parts, tokens) for parts in PARTED for tokens in TOKENS
    }
    fixed |= {"zero-dims": ZeroDims(*masks), "zero-projected-dims": ZeroProjectedDims(*masks)}
    fixed |= {"first-value": ZeroFirstValue((1,)), "first-values": ZeroFirstValue(), "first-mlp": DropFirstMlp(1)}
    return replaced | jin | {"jin-control": control} | {name: _whatever(value) for name, value in fixed.items()}


def _whatever(intervention: Intervention) -> Make:
    return lambda _prompt: intervention


MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    **{kind: partial(tiny_models.llama, kind) for kind in tiny_models.KINDS},
    **{name: partial(tiny_models.of, name) for name in tiny_models.ARCHITECTURES},
}
NAMES = tuple(made(tiny_models.llama()))


def whole(model, ids: list[int], intervention: Intervention) -> Tensor:
    """Logits of one text in one pass without a cache."""
    with intervening(model, intervention), torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False).logits[0]


def decoded(model, intervention: Intervention) -> list[Tensor]:
    """Logits of both texts together: prompts padded on the left, then the rest token by token, from the cache."""
    rest = [ids[n:] for ids, n in zip(TEXTS, PROMPTS, strict=True)]
    with intervening(model, intervention), torch.no_grad():
        cached = Cached(model, len(TEXTS))
        width = max(PROMPTS)
        prefill = cached.extend([ids[:n] for ids, n in zip(TEXTS, PROMPTS, strict=True)], keep=width)
        steps = [prefill[row, width - n :] for row, n in enumerate(PROMPTS)]
        for t in range(max(map(len, rest))):
            logits = cached.extend([ids[t : t + 1] for ids in rest])
            for row, ids in enumerate(rest):
                if t < len(ids):
                    steps[row] = torch.cat([steps[row], logits[row]])
    return steps


def disagreement(model, make: Make) -> float:
    """Largest difference of a logit between decoding from the cache and one pass over the text."""
    steps = decoded(model, make(PROMPTS))
    return max(
        float((logits - whole(model, ids, make((n,)))).abs().max())
        for logits, ids, n in zip(steps, TEXTS, PROMPTS, strict=True)
    )


@pytest.mark.parametrize("kind", MODELS)
def test_cached_and_uncached_passes_agree_under_every_intervention(kind: str) -> None:
    model = MODELS[kind]()
    for name, make in made(model).items():
        assert disagreement(model, make) < 1e-4, name


@pytest.mark.parametrize("lengths", [(200,), (200, 170)], ids=["alone", "padded"])
def test_soft_capped_decoding_after_a_long_cache_against_eager_passes_over_the_whole_text(lengths) -> None:
    """200 keys are more than any block of a few queries begins with: one query has to see them all."""
    model, more = tiny_models.of("gemma2"), 3
    texts = [tiny_models.tokens(1, n + more, seed=n)[0].tolist() for n in lengths]
    with attending(model), torch.no_grad():
        cached = Cached(model, len(texts))
        cached.extend([ids[:n] for ids, n in zip(texts, lengths, strict=True)])
        steps = [
            cached.extend([[ids[n + step]] for ids, n in zip(texts, lengths, strict=True)]) for step in range(more)
        ]
    with tiny_models.implementation(model, "eager"), torch.no_grad():
        whole = torch.cat([model(torch.tensor([ids]), use_cache=False).logits[:, -more:] for ids in texts])
    torch.testing.assert_close(torch.cat(steps, 1), whole, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", MODELS)
def test_every_intervention_changes_something_and_leaves_the_model_as_it_was(kind: str) -> None:
    model, ids = MODELS[kind](), list(TEXTS[0])
    plain = whole(model, ids, _Nothing())
    for name, make in made(model).items():
        assert (whole(model, ids, make(None)) - plain).abs().max() > 1e-3, name
        assert torch.equal(whole(model, ids, _Nothing()), plain), name


class _Nothing:
    @contextmanager
    def entered(self, model):
        yield


class _MeanOverTheCall:
    """A hook of the study: channels replaced by their mean over the tokens of each call."""

    def entered(self, model):
        query, key = some(model)
        layers = {id(block.attention): block.layer for block in blocks_of(model)}

        def edit(attended):
            layer = layers[id(attended.module)]
            heads = ((attended.query, query), (attended.key, key))
            edited = [torch.where(chosen[:, layer, :, None], x.mean(2, keepdim=True), x) for x, chosen in heads]
            return type(attended)(attended.module, *edited, attended.value, attended.scaling, attended.positions)

        return attending(model, editors=[edit])


@pytest.mark.parametrize("wrong", [DropOutputs(1, ("mlp",), "call"), _MeanOverTheCall()], ids=["index 0", "mean"])
def test_a_hook_on_the_tokens_of_the_call_fails_where_the_interventions_agree(wrong: Intervention) -> None:
    model = tiny_models.llama("gqa-rope")
    assert disagreement(model, lambda _prompt: wrong) > 1e-2


@pytest.mark.parametrize("parts", PARTED)
@pytest.mark.parametrize("tokens", TOKENS)
def test_the_stream_after_a_block_without_its_parts_against_hand_computation(parts, tokens) -> None:
    model, ids = tiny_models.llama("gqa-rope"), tiny_models.tokens()
    stream = Readings(stream=(lambda hidden: {"hidden": hidden},), added=(lambda a: {"attention": a.attention},))
    with probing(model, stream) as plain:
        model(ids, use_cache=False)
    with intervening(model, DropOutputs(1, parts, tokens)), probing(model, stream) as changed:
        model(ids, use_cache=False)
    middle, block = plain["hidden"][1], blocks_of(model)[1]
    if "attention" not in parts:
        middle = middle + plain["attention"][1]
    mlp = block.mlp(block.module.get_submodule("post_attention_layernorm")(middle))
    expected = middle if "mlp" in parts else middle + mlp
    after, untouched = changed["hidden"][2], plain["hidden"][2]
    torch.testing.assert_close(after[:, :1], expected[:, :1])
    torch.testing.assert_close(after[:, 1:], expected[:, 1:] if tokens == "all" else untouched[:, 1:])


def test_jins_channels_against_hand_computation() -> None:
    model, ids = tiny_models.llama("gqa-rope"), tiny_models.tokens(2, 9)
    heads = Readings(attended=(lambda a: {"query": a.query, "key": a.key},))
    with probing(model, heads) as plain:
        model(ids, use_cache=False)
    with intervening(model, ReplaceDims(OnePerHead())), probing(model, heads) as seen:
        model(ids, use_cache=False)
    for tensor in ("query", "key"):
        before, after = plain[tensor][0], seen[tensor][0]  # the first layer: nothing below it was changed
        for text in range(2):
            for head in range(before.shape[1]):
                top = int(before[text, head].norm(dim=0).argmax())
                expected = before[text, head].clone()
                expected[:, top] = expected[:, top].mean()
                torch.testing.assert_close(after[text, head], expected)


def test_mean_smallest_and_largest_are_those_of_the_prompt_without_padding() -> None:
    heads = torch.tensor([[9.0, 1.0, 2.0, 6.0], [9.0, 9.0, 4.0, 8.0]])[:, None, :, None]
    positions = torch.tensor([[1, 0, 1, 2], [1, 1, 0, 1]])
    choice = Fixed(torch.ones(1, 1, 1, 1, dtype=torch.bool), torch.ones(1, 1, 1, 1, dtype=torch.bool))
    expected: dict[Value, tuple[int, int]] = {"zero": (0, 0), "mean": (3, 6), "min": (1, 4), "max": (6, 8)}
    for value, numbers in expected.items():
        where, given = ReplaceDims(choice, value)._replacement("query", 0, heads, positions)
        assert given.flatten().tolist() == list(numbers)
        assert where[:, 0, :, 0].tolist() == [[False, True, True, True], [False, False, True, True]]


def test_a_prompt_begins_where_its_position_is_zero() -> None:
    assert prompt_tokens(torch.tensor([[0, 1, 2, 3]]), (2,)).tolist() == [[True, True, False, False]]
    assert prompt_tokens(torch.tensor([[0, 0, 0, 1]])).tolist() == [[False, False, True, True]]
    assert prompt_tokens(torch.tensor([[4, 5]]), (2,)).tolist() == [[False, False]]


def test_a_prompt_in_two_calls_is_refused() -> None:
    model = tiny_models.llama()
    with intervening(model, ReplaceDims(OnePerHead(), prompt=(6,))), pytest.raises(InputError, match="in one call"):
        model(tiny_models.tokens(1, 4), use_cache=True)


@pytest.mark.parametrize("layer", range(3))
@pytest.mark.parametrize("tokens", get_args(Tokens))
def test_a_model_spread_over_devices_is_changed_wherever_the_layer_is(layer: int, tokens: Tokens) -> None:
    """Blocks 1 and 2 are on `meta`, whose kernels refuse a tensor of another device as those of a GPU do."""
    model = tiny_models.llama()
    devices = {"model.embed_tokens": "cpu", "model.rotary_emb": "cpu"}
    devices |= {f"model.layers.{index}": "cpu" if index == 0 else "meta" for index in range(3)}
    for name, device in (devices | {"model.norm": "meta", "lm_head": "meta"}).items():
        part = model.get_submodule(name).to(device)
        add_hook_to_module(part, AlignDevicesHook(execution_device=device, place_submodules=False))
    for intervention in (DropOutputs(layer, tokens=tokens), ZeroFirstValue((layer,)), ZeroFirstValue()):
        with intervening(model, intervention), torch.no_grad():
            assert model(tiny_models.tokens(), use_cache=False).logits.device.type == "meta"


@pytest.mark.parametrize("intervention", [DropOutputs(3), DropFirstMlp(-1), ZeroFirstValue((0, 7))])
def test_a_layer_that_is_not_there_is_refused(intervention: Intervention) -> None:
    with pytest.raises(InputError, match=r"expected a layer of 0\.\.2"), intervention.entered(tiny_models.llama()):
        pass


def test_the_first_token_writes_nothing_without_its_value_against_its_attention() -> None:
    model, ids = tiny_models.llama("gqa-rope"), tiny_models.tokens()
    outputs = Readings(outputs=(lambda attended, output: {"first": output[:, :, 0], "value": attended.value[:, :, 0]},))
    with intervening(model, ZeroFirstValue((1,))), probing(model, outputs) as seen:
        model(ids, use_cache=False)
    assert not seen["first"][1].any()
    assert not seen["value"][1].any()
    assert seen["value"][0].abs().min() > 0


def test_zeroing_the_first_value_leaves_everything_else_against_the_undisturbed_pass() -> None:
    model, ids = tiny_models.llama("gqa-rope"), tiny_models.tokens()
    heads = Readings(attended=(lambda a: {"query": a.query, "key": a.key, "value": a.value},))
    with probing(model, heads) as plain:
        model(ids, use_cache=False)
    with intervening(model, ZeroFirstValue((1,))), probing(model, heads) as seen:
        model(ids, use_cache=False)
    for tensor in ("query", "key"):
        assert torch.equal(seen[tensor][1], plain[tensor][1]), tensor
    assert torch.equal(seen["value"][1, :, :, 1:], plain["value"][1, :, :, 1:])
    assert not seen["value"][1, :, :, 0].any()


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_pass_that_begins_in_the_middle_against_the_whole_pass(kind: str, layer: int) -> None:
    model, ids = MODELS[kind](), tiny_models.tokens()
    stream = Readings(stream=(lambda hidden: {"hidden": hidden},))
    with probing(model, stream) as seen:
        expected = model(ids, use_cache=False).logits
    with resuming(model, layer, seen["hidden"][layer]), torch.no_grad():
        torch.testing.assert_close(model(ids, use_cache=False).logits, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(model(ids, use_cache=False).logits, model(ids, use_cache=False).logits)
    assert "forward" not in vars(blocks_of(model)[0].module)


def test_a_wrapped_forward_is_there_again_after_a_pass_that_began_in_the_middle() -> None:
    model, ids = MODELS["llama"](), tiny_models.tokens()
    block = blocks_of(model)[0].module
    plain = block.forward
    block.forward = wrapped = lambda *args, **options: plain(*args, **options)  # as accelerate's hooks do
    with probing(model, Readings(stream=(lambda hidden: {"hidden": hidden},))) as seen:
        model(ids, use_cache=False)
    with resuming(model, 1, seen["hidden"][1]):
        assert block.forward is not wrapped
    assert block.forward is wrapped
