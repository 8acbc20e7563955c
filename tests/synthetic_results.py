"""Stored results with planted effects, written without a model: what the engine and the report are tested on."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dropeact.axes import COLUMNS, HALVES, SITES, TENSORS, THRESHOLDS, Column, other_half
from dropeact.corpus import REGISTERS, corpus_hash, passages
from dropeact.pairs import Pair
from dropeact.store import Cell, Store, canonical

LAYERS, HEADS, KV_HEADS, HEAD_DIM, WRITE = 6, 4, 2, 8, 2
CONDITIONS = ("baseline", "massive", "random-0", "random-1", "random-2", "random-3", "norm-matched")
DISRUPTED = (3.0, 4.0, 7.0, 10.0)
ABLATED = ("top1-mean", "bottom1-mean", "next-largest", "smallest", "first-mlp", "first-value", "first-values")
EFFECTS = ("baseline", "first-mlp", "first")
DECODED = ("baseline", "first-mlp", "call-mlp")
ATLAS = ("mlp", "attention", "both", "first", "first-mlp")
PAIR = Pair(name="synthetic", rope="rope", drope="drope", title="Synthetic")
KEPT: dict[str, Path] = {}


def results(directory: Path, **asked: Any) -> Path:
    """A folder of results with what `_made` is asked for.

    Each is written once in a process and copied after that: writing its many files takes seconds.
    """
    key = _key(asked)
    if key is None:
        return _made(directory, **asked)
    if key not in KEPT:
        KEPT[key] = _made(Path(tempfile.mkdtemp(dir=_home())) / "run", **asked)
    return shutil.copytree(KEPT[key], directory, dirs_exist_ok=True)


def _key(asked: dict[str, Any]) -> str | None:
    """Text that tells arguments apart; None where one of them has no such text (an array, an infinite number)."""
    try:
        return canonical(asked | {"pair": asked.get("pair", PAIR).as_dict()})
    except (TypeError, ValueError):
        return None


@cache
def _home() -> Path:
    """A folder that ends with this process."""
    home = Path(tempfile.mkdtemp(prefix="dropeact-results-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    return home


def _made(
    directory: Path,
    *,
    pair: Pair = PAIR,
    texts: int = 32,
    seed: int = 0,
    same: bool = False,
    plant: dict[Column, dict[str, float]] | None = None,
    cells: tuple[str, ...] = ("observations", "disruption", "phenomena"),
    corpora: tuple[str, ...] = ("passages", "repeated"),
) -> Path:
    """A folder of results. `plant[column]` moves a column's quantities; `same` makes the columns equal."""
    store = Store(directory)
    arm = pair.primary_arm
    for corpus in corpora:
        for half in HALVES:
            ids = text_ids(corpus, half, texts // 2)
            for column in COLUMNS:
                rng = np.random.default_rng(
                    [seed, len(corpus), HALVES.index(half), 0 if same else COLUMNS.index(column)]
                )
                moved = (plant or {}).get(column, {})
                published = ("published_disruption",) if corpus == "repeated" and "disruption" in cells else ()
                for name in (*cells, *published):
                    store.save(Cell(column, corpus, arm, half, name), MADE[name](rng, ids, half, moved), {})
    sets = [name for name, cell in SETS.items() if cell in cells]
    store.write_run(run_record(pair, texts) | {"sets": sets})
    return directory


def text_ids(corpus: str, half: str, count: int) -> list[str]:
    """Names of texts: passages by register, as the project's own are named."""
    names = REGISTERS if corpus == "passages" else (corpus,)
    return [f"{names[i % len(names)]}-{half}{i:05d}" for i in range(count)]


def run_record(pair: Pair, texts: int) -> dict[str, Any]:
    """The run.json of synthetic results."""
    identity = {"id": "synthetic", "sha256": "0" * 64, "quantization": None, "adapter": None}
    return {
        "pair": pair.as_dict(),
        "checkpoints": dict.fromkeys(COLUMNS, identity),
        "sets": ["core"],
        "arm": pair.primary_arm,
        "corpus": corpus_hash(passages()),
        "texts": texts,
        "dtype": "float32",
        "device": "cpu (planted)",
        "seed": 0,
        "versions": {"dropeact": "0"},
        "date": "2026-01-01",
    }


def observations(rng: np.random.Generator, ids: list[str], half: str, moved: dict[str, float]) -> xr.Dataset:
    """Counts, sinks, norms, entropies and losses of one half of the texts."""
    n, counts = len(ids), np.array([40.0, 30.0, 4.0])
    scale = np.array([moved.get(f"{tensor}_count", 1.0) for tensor in TENSORS])
    rates = (counts * scale)[None, None, :, None, None, None] * (5 / np.array(THRESHOLDS))
    massive = rng.poisson(np.broadcast_to(rates, (n, LAYERS, 3, 2, 2, len(THRESHOLDS))))
    massive[:, WRITE, 0] = rng.poisson(8 * moved.get("surge", 1.0), massive[:, WRITE, 0].shape)
    sinks = np.clip(rng.normal(moved.get("sink", 0.6), 0.1, (n, LAYERS, HEADS, 2, 2)), 0, 1)
    first = np.concatenate([np.full(WRITE + 1, 10.0), np.full(LAYERS - WRITE, 1000.0 * moved.get("peak", 1.0))])
    nats = rng.normal(3.0 + moved.get("loss", 0.0), 0.1, (n, 4))
    entropy = rng.normal(1.0 + moved.get("entropy", 0.0), 0.05, (n, LAYERS + 1))
    text = ("text", "depth")
    return xr.Dataset(
        {
            "massive_count": (("text", "layer", "tensor", "site", "mean_over", "threshold"), massive.astype(np.int16)),
            "query_norm": (
                ("selected_on", "site", "layer", "head", "dim"),
                rng.random((1, 2, LAYERS, HEADS, HEAD_DIM)),
            ),
            "key_norm": (
                ("selected_on", "site", "layer", "kv_head", "dim"),
                rng.random((1, 2, LAYERS, KV_HEADS, HEAD_DIM)),
            ),
            "value_norm": (
                ("selected_on", "site", "layer", "kv_head", "dim"),
                rng.random((1, 2, LAYERS, KV_HEADS, HEAD_DIM)),
            ),
            "sink_score": (("text", "layer", "head", "length", "convention"), sinks),
            "first_norm": (text, first * rng.normal(1, 0.01, (n, 1))),
            "other_norm_mean": (text, np.full((n, LAYERS + 1), 20.0)),
            "other_norm_median": (text, np.full((n, LAYERS + 1), 20.0)),
            "entropy": (text, entropy),
            "entropy_without_first": (text, entropy + 2),
            "nats": (("text", "position_bin"), nats),
            "nats_mean": (("text",), nats.mean(1)),
        },
        coords={
            "text": ids,
            "half": ("text", [half] * n),
            "layer": range(LAYERS),
            "depth": range(LAYERS + 1),
            "tensor": list(TENSORS),
            "site": list(SITES),
            "mean_over": ["layer", "head"],
            "threshold": list(THRESHOLDS),
            "length": [64, 512],
            "convention": ["without_first_query", "with_first_query"],
            "position_bin": [0, 128, 256, 384],
            "selected_on": [half],
        },
    )


def phenomena(rng: np.random.Generator, ids: list[str], half: str, moved: dict[str, float]) -> xr.Dataset:
    """What else a pass shows: write scores, local mass, residual shares, lengths of Q and K, massive activations."""
    n = len(ids)

    def around(center: float, *shape: int) -> np.ndarray:
        return center * rng.normal(1, 0.02, (n, *shape))

    share = around(moved.get("attention_share", 0.4), LAYERS, 3)
    lengths = {
        f"{t}_length": (("text", "layer", "site"), around(moved.get("length", 50.0), LAYERS, 2)) for t in TENSORS[:2]
    }
    tokens = np.full((n, LAYERS + 1, 3), int(moved.get("token", 0)))
    channels = np.where(np.arange(n) < n * moved.get("channel", 1.0), 5, np.arange(n) % 2 + 6)
    written = around(moved.get("write", 0.2), LAYERS, HEADS)
    written[:, WRITE] *= moved.get("write_at_w", 1.0)
    written[:, -1] *= moved.get("write_late", 1.0)
    slow = np.arange(HEAD_DIM // 2) >= HEAD_DIM // 4
    turning = np.where(slow, moved.get("slow", 0.8), 1 - moved.get("slow", 0.8))
    pairs = turning * around(10.0, LAYERS, 2, len(turning))
    return xr.Dataset(
        lengths
        | {
            "write_score": (("text", "layer", "head"), written),
            "rotary_count": (("text", "layer", "tensor", "pair"), pairs),
            "local_mass": (("text", "layer", "head"), around(moved.get("local", 0.2), LAYERS, HEADS)),
            "attention_share": (("text", "layer", "token_class"), share),
            "massive_activation_channels": (("text", "depth"), np.full((n, LAYERS + 1), int(moved.get("channels", 2)))),
            "activation_token": (("text", "depth", "rank"), tokens),
            "activation_channel": (("text", "depth", "rank"), np.broadcast_to(channels[:, None, None], tokens.shape)),
        }
        | by_threshold(pairs[..., slow].sum(-1), pairs[..., ~slow].sum(-1), moved.get("fast_from", np.inf)),
        coords={
            "text": ids,
            "half": ("text", [half] * n),
            "layer": range(LAYERS),
            "depth": range(LAYERS + 1),
            "rank": [1, 2, 3],
            "site": list(SITES),
            "tensor": list(TENSORS[:2]),
            "pair": range(HEAD_DIM // 2),
            "threshold": list(THRESHOLDS),
            "token_class": ["first", "massive", "ordinary"],
        },
    )


def by_threshold(slow: np.ndarray, fast: np.ndarray, fast_from: float) -> dict[str, Any]:
    """Either half of the rotary pairs at every lambda: fewer as it grows, and exchanged from `fast_from` on."""
    thresholds = np.array(THRESHOLDS)
    counts = [(half[..., None] * 5 / thresholds) for half in (slow, fast)]
    exchanged = [np.where(thresholds >= fast_from, *pair) for pair in zip(counts[::-1], counts, strict=True)]
    dims = ("text", "layer", "tensor", "threshold")
    return {f"rotary_{name}_count": (dims, values) for name, values in zip(("slow", "fast"), exchanged, strict=True)}


def disruption(rng: np.random.Generator, ids: list[str], half: str, moved: dict[str, float]) -> xr.Dataset:
    """Losses under the conditions, paired by text; technical texts may lose more than the others."""
    increase = np.array([0.0, moved.get("massive", 1.5), *[moved.get("random", 0.0)] * 4, 0.3])
    technical = np.array([moved.get("technical", 0.0) if name.startswith("technical") else 0.0 for name in ids])
    losses = undisturbed(ids) + increase + rng.normal(0, 0.01, (len(ids), len(CONDITIONS))) * (increase != 0)
    losses[:, 1] += technical
    return xr.Dataset(
        {"nats": (("text", "condition"), losses), "dose": dose(half, moved)},
        coords={"text": ids, "half": ("text", [half] * len(ids)), "condition": list(CONDITIONS)},
    )


def dose(half: str, moved: dict[str, float]) -> xr.DataArray:
    """How many channels are zeroed per layer and tensor, chosen on the other half."""
    shape = (1, LAYERS, 2)
    coords = {"selected_on": [other_half(half)], "layer": range(LAYERS), "tensor": ["query", "key"]}
    return xr.DataArray(np.full(shape, int(moved.get("dose", 3))), dims=tuple(coords), coords=coords)


def published_disruption(rng: np.random.Generator, ids: list[str], half: str, moved: dict[str, float]) -> xr.Dataset:
    """The same under the conditions that the study had."""
    every = disruption(rng, ids, half, moved)
    return every.sel(condition=[name for name in CONDITIONS if name != "norm-matched"])


def disruption_by_threshold(rng: np.random.Generator, ids: list[str], half: str, moved: dict[str, float]) -> xr.Dataset:
    """Losses with massive values and as many random ones zeroed; from `harmless_from` on, massive ones cost little."""
    massive = np.where(np.array(DISRUPTED) >= moved.get("harmless_from", np.inf), 0.05, moved.get("massive", 1.5))
    increase = np.stack([massive, np.full_like(massive, moved.get("random", 0.0))], -1)
    losses = undisturbed(ids)[..., None] + increase + rng.normal(0, 0.01, (len(ids), *increase.shape))
    return xr.Dataset(
        {
            "nats": (("text", "threshold", "condition"), losses),
            "dose": dose(half, moved).expand_dims(threshold=list(DISRUPTED)),
        },
        coords={
            "text": ids,
            "half": ("text", [half] * len(ids)),
            "threshold": list(DISRUPTED),
            "condition": list(CONDITIONS[1:3]),
        },
    )


def undisturbed(ids: list[str]) -> np.ndarray:
    """The loss of every text without any change, the same wherever it is measured."""
    return np.linspace(2.5, 3.5, len(ids))[:, None]


def ablation(rng: np.random.Generator, ids: list[str], half: str, moved: dict[str, float]) -> xr.Dataset:
    """Losses with channels replaced, or the first token changed."""
    increase = np.array([moved.get(name, 1.5 if name.startswith("first") else 0.1) for name in ABLATED])
    losses = undisturbed(ids) + increase + rng.normal(0, 0.01, (len(ids), len(ABLATED)))
    return xr.Dataset(
        {"nats": (("text", "condition"), losses)},
        coords={"text": ids, "half": ("text", [half] * len(ids)), "condition": list(ABLATED)},
    )


def decoded(rng: np.random.Generator, ids: list[str], half: str, moved: dict[str, float]) -> xr.Dataset:
    """Losses of tokens read from the cache, the first token changed by position or by the index in each call."""
    increase = np.array([0.0, moved.get("first-mlp", 1.5), 4.0])
    losses = undisturbed(ids) + increase + rng.normal(0, 0.01, (len(ids), len(DECODED)))
    return xr.Dataset(
        {"nats": (("text", "condition"), losses)},
        coords={"text": ids, "half": ("text", [half] * len(ids)), "condition": list(DECODED)},
    )


def effects(rng: np.random.Generator, ids: list[str], half: str, moved: dict[str, float]) -> xr.Dataset:
    """What an ablation of the first token leaves of its norm, of the sinks and of the entropy valley."""
    n, late = len(ids), np.arange(LAYERS + 1) > WRITE
    norms = [np.where(late, moved.get("there", 1000.0), 10.0), *[np.where(late, moved.get("left", 20.0), 10.0)] * 2]
    valleys = [np.where(late, 0.2, 2.0), *[np.where(late, moved.get("valley", 2.0), 2.0)] * 2]
    sinks = np.array([0.8, moved.get("sinks", 0.1), moved.get("sinks", 0.1)])
    around = 1 + 0.02 * rng.normal(size=(n, 1, 1))
    dims = ("text", "condition")
    return xr.Dataset(
        {
            "first_norm": ((*dims, "depth"), np.stack(norms) * around),
            "other_norm_median": ((*dims, "depth"), np.full((n, 3, LAYERS + 1), 20.0)),
            "entropy": ((*dims, "depth"), np.stack(valleys) * around),
            "sink_rate": ((*dims, "layer"), np.tile(sinks[:, None], (1, LAYERS)) * around),
        },
        coords={
            "text": ids,
            "half": ("text", [half] * n),
            "condition": list(EFFECTS),
            "depth": range(LAYERS + 1),
            "layer": range(LAYERS),
        },
    )


def atlas(rng: np.random.Generator, ids: list[str], half: str, moved: dict[str, float]) -> xr.Dataset:
    """Losses with parts of each layer left out: what is planted at the write layer, little elsewhere."""
    n, planted = len(ids), {"mlp": 3.0, "attention": 1.0, "both": 3.5, "first": 2.8, "first-mlp": 2.5}
    increase = np.full((len(ATLAS), LAYERS), 0.1)
    increase[:, WRITE] = [moved.get(f"{name}-layer", planted[name]) for name in ATLAS]
    losses = undisturbed(ids)[:, :, None] + increase * rng.normal(1, 0.02, (n, len(ATLAS), LAYERS))
    return xr.Dataset(
        {"nats": (("text", "condition", "layer"), losses), "undisturbed": ("text", undisturbed(ids)[:, 0])},
        coords={
            "text": ids,
            "half": ("text", [half] * n),
            "condition": list(ATLAS),
            "layer": range(LAYERS),
        },
    )


SETS = {"core": "observations", "observe": "phenomena", "ablation": "atlas"}
MADE = {
    "observations": observations,
    "disruption": disruption,
    "published_disruption": published_disruption,
    "disruption_by_threshold": disruption_by_threshold,
    "phenomena": phenomena,
    "ablation": ablation,
    "decoded": decoded,
    "effects": effects,
    "atlas": atlas,
}
