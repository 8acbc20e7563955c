"""Stored results with planted effects, written without a model: what the engine and the report are tested on."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dropeact.axes import COLUMNS, HALVES, SITES, TENSORS, THRESHOLDS, Column
from dropeact.pairs import Pair
from dropeact.store import Cell, Store

LAYERS, HEADS, KV_HEADS, HEAD_DIM, WRITE = 6, 4, 2, 8, 2
CONDITIONS = ("baseline", "massive", "random-0", "random-1", "random-2", "random-3", "norm-matched")
PAIR = Pair(name="synthetic", rope="rope", drope="drope", title="Synthetic")


def results(
    directory: Path,
    *,
    pair: Pair = PAIR,
    texts: int = 32,
    seed: int = 0,
    same: bool = False,
    plant: dict[Column, dict[str, float]] | None = None,
    cells: tuple[str, ...] = ("observations", "disruption", "phenomena"),
) -> Path:
    """A folder of results. `plant[column]` moves a column's quantities; `same` makes the columns equal."""
    store = Store(directory)
    arm = pair.primary_arm
    for corpus in ("passages", "repeated"):
        for half in HALVES:
            ids = [f"{corpus}-{half}{i:02d}" for i in range(texts // 2)]
            for column in COLUMNS:
                rng = np.random.default_rng(
                    [seed, len(corpus), HALVES.index(half), 0 if same else COLUMNS.index(column)]
                )
                moved = (plant or {}).get(column, {})
                made = {"observations": observations, "disruption": disruption, "phenomena": phenomena}
                for name in cells:
                    store.save(Cell(column, corpus, arm, half, name), made[name](rng, ids, half, moved), {})
    store.write_run(run_record(pair, texts) | {"sets": ["core", "observe"] if "phenomena" in cells else ["core"]})
    return directory


def run_record(pair: Pair, texts: int) -> dict[str, Any]:
    """The run.json of synthetic results."""
    identity = {"id": "synthetic", "sha256": "0" * 64, "quantization": None, "adapter": None}
    return {
        "pair": pair.as_dict(),
        "checkpoints": dict.fromkeys(COLUMNS, identity),
        "sets": ["core"],
        "arm": pair.primary_arm,
        "corpus": "0" * 64,
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
    return xr.Dataset(
        lengths
        | {
            "write_score": (("text", "layer", "head"), around(moved.get("write", 0.2), LAYERS, HEADS)),
            "local_mass": (("text", "layer", "head"), around(moved.get("local", 0.2), LAYERS, HEADS)),
            "attention_share": (("text", "layer", "token_class"), share),
            "massive_activation_channels": (("text", "depth"), np.full((n, LAYERS + 1), int(moved.get("channels", 2)))),
            "activation_token": (("text", "depth", "rank"), tokens),
        },
        coords={
            "text": ids,
            "half": ("text", [half] * n),
            "layer": range(LAYERS),
            "depth": range(LAYERS + 1),
            "rank": [1, 2, 3],
            "site": list(SITES),
            "token_class": ["first", "massive", "ordinary"],
        },
    )


def disruption(rng: np.random.Generator, ids: list[str], half: str, moved: dict[str, float]) -> xr.Dataset:
    """Losses under the conditions, paired by text."""
    increase = np.array([0.0, moved.get("massive", 1.5), *[moved.get("random", 0.0)] * 4, 0.3])
    base = rng.normal(3.0, 0.3, (len(ids), 1))
    losses = base + increase + rng.normal(0, 0.01, (len(ids), len(CONDITIONS))) * (increase != 0)
    return xr.Dataset(
        {"nats": (("text", "condition"), losses)},
        coords={"text": ids, "half": ("text", [half] * len(ids)), "condition": list(CONDITIONS)},
    )
