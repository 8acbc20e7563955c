"""A recalibration's snapshots -> the headline quantities at each token count: how the reorganisation forms.

The stages are the RoPE parent, the same weights just dropped (0 tokens), and every snapshot of the run; the weights are
measured and not kept.
"""

import gc
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from dropeact import corpus
from dropeact.axes import MASSIVE_THRESHOLD, SINK_LENGTH, SINK_THRESHOLD, InputError
from dropeact.checkpoints import load as checkpoints
from dropeact.checkpoints.source import recipe_of
from dropeact.corpus.arms import tokenise
from dropeact.measurements.core import OBSERVATION_LENGTH
from dropeact.measurements.measuring import separator_in
from dropeact.measurements.observe import observe
from dropeact.measurements.progress import Progress
from dropeact.one_model import finite_streams
from dropeact.pairs import Pair
from dropeact.store import Store

FILE = "trajectory.nc"
SAME_PARENT = 1e-4  # relative; a forward pass repeats itself to about 1e-6


def trajectory(
    runs: Sequence[Path], pair: Pair, *, device: str = "cpu", earlier: xr.Dataset | None = None
) -> xr.Dataset:
    """Measure every snapshot of a recalibration, in one run or in several, on 8 passages, two of each register.

    The passages begin in the pair's primary arm, which the attribute `arm` names.

    Variables over `stage` (coordinate `tokens`: NaN for the RoPE parent, 0 just dropped): `massive_count` (text, layer,
    tensor), `sink_rate` (text, layer), `first_norm` and `entropy` (text, depth), `nats` (text, position_bin). Stages of
    an `earlier` trajectory before the first snapshot are kept: the weights of a run that this one went on from need not
    be.

    Raises
    ------
    InputError
        If a run kept no snapshots, or the earlier trajectory is in another arm, or shows the RoPE parent otherwise than
        it is measured now.
    """
    if earlier is not None and arm_of(earlier) != pair.primary_arm:
        raise InputError(
            f"expected a trajectory in the arm {pair.primary_arm}; got {arm_of(earlier)}; choose another --out"
        )
    snapshots = sorted((path for run in runs for path in kept(run)), key=tokens_of)
    check_snapshots(snapshots, pair)
    passages = chosen_passages()
    parts: list[xr.Dataset] = []
    with Progress(len(passages) * (len(snapshots) + 2)) as bar:
        for name, tokens, checkpoint in stages(pair, snapshots, device):
            bar.describe(name)
            seen = observe(
                checkpoint.model,
                tokens_in(pair, passages, checkpoint),
                ids=[passage.id for passage in passages],
                halves=["A"] * len(passages),
            )
            parts.append(headline(seen).expand_dims(stage=[name]).assign_coords(tokens=("stage", [tokens])))
            bar.advance(len(passages))
            del checkpoint  # the next stage takes its memory
    measured = xr.concat(parts, "stage", coords="minimal", compat="override")
    joined = measured if earlier is None else continued(earlier, measured)
    return joined.assign_attrs(arm=pair.primary_arm)


def arm_of(trajectory: xr.Dataset) -> str:
    """How the passages of a trajectory begin; those that do not say were measured as they are."""
    return trajectory.attrs.get("arm", "first")


def tokens_in(pair: Pair, passages: list[corpus.Passage], checkpoint: checkpoints.Checkpoint) -> torch.Tensor:
    """The passages as token ids in the pair's primary arm, where the model is."""
    tokenizer: Any = checkpoint.tokenizer
    between = separator_in(tokenizer, pair, "rope")
    ids = tokenise(passages, tokenizer, arm=pair.primary_arm, length=OBSERVATION_LENGTH, separator_id=between)
    return torch.from_numpy(ids).to(checkpoint.model.device)


def kept(run: Path) -> list[Path]:
    """The snapshots of a run."""
    snapshots = sorted(path for path in (run / "snapshots").glob("*") if (path / "recipe.json").is_file())
    if not snapshots:
        raise InputError(f"expected a recalibration with snapshots; got none in {run}/snapshots; use --snapshots")
    return snapshots


def check_snapshots(snapshots: Sequence[Path], pair: Pair) -> None:
    """Refuse snapshots that are not stages of one recalibration of the pair's RoPE model.

    Raises
    ------
    InputError
        When one was made from other weights than the pair's, or two are at the same number of tokens.
    """
    parent = checkpoints.resolve(pair.rope)
    for snapshot in snapshots:
        source = recipe_of(snapshot)["source"]
        if source["sha256"] != parent["sha256"]:
            raise InputError(
                f"expected snapshots of {pair.rope}, the RoPE model of {pair.name}; got one of {source['id']} in "
                f"{snapshot}; name the pair that it belongs to with --pair"
            )
    for one, other in pairwise(snapshots):
        if tokens_of(one) == tokens_of(other):
            raise InputError(
                f"expected one snapshot at each number of tokens; got {one} and {other}; name runs that went on from "
                "one another, each once"
            )


def check_folder(out: Path, pair: Pair) -> None:
    """Refuse a folder that holds the results of a pair with another RoPE model.

    Raises
    ------
    InputError
        When `run.json` of the folder names another one.
    """
    if (out / "run.json").is_file() and (stored := Store(out).read_run()["pair"]["rope"]) != pair.rope:
        raise InputError(
            f"expected results of {pair.rope}; got those of {stored} in {out}; name their pair with --pair, or choose "
            "another --out"
        )


def tokens_of(snapshot: Path) -> int:
    """Tokens that a snapshot was trained on, those of the runs it went on from included."""
    return recipe_of(snapshot)["tokens"]


def continued(earlier: xr.Dataset, measured: xr.Dataset) -> xr.Dataset:
    """Stages of `earlier` before the first snapshot of `measured`, between its just dropped model and that snapshot."""
    then, now = (data["nats"].sel(stage="RoPE") for data in (earlier, measured))
    if then.shape != now.shape or not np.allclose(then, now, rtol=SAME_PARENT):
        raise InputError("expected a trajectory of the same RoPE parent; got another one; choose another --out")
    tokens = earlier["tokens"].values
    before = earlier.isel(stage=np.flatnonzero((tokens > 0) & (tokens < measured["tokens"].values[2])))
    parts = [measured.isel(stage=slice(2)), before, measured.isel(stage=slice(2, None))]
    return xr.concat([part for part in parts if part.sizes["stage"]], "stage", coords="minimal", compat="override")


def chosen_passages() -> list[corpus.Passage]:
    """Two passages of each register, one of each half."""
    return [
        next(p for p in corpus.passages() if (p.register, p.half) == (register, half))
        for register in corpus.REGISTERS
        for half in ("A", "B")
    ]


def stages(pair: Pair, snapshots: list[Path], device: str) -> Iterator[tuple[str, float, checkpoints.Checkpoint]]:
    """Name, tokens and checkpoint of every stage, loaded one at a time."""
    parent = checkpoints.load(pair.rope, device=device)
    yield "RoPE", float("nan"), parent
    yield "just dropped", 0.0, checkpoints.drop(parent)
    del parent
    for snapshot in snapshots:
        gc.collect()  # accelerate's hooks are cycles
        tokens = tokens_of(snapshot)
        yield f"{tokens:,} tokens", float(tokens), checkpoints.load(str(snapshot), device=device)


def headline(seen: xr.Dataset) -> xr.Dataset:
    """The quantities that the trajectory shows, from one observation; NaN where what they rest on is not finite."""
    scores = seen["sink_score"].sel(length=SINK_LENGTH, convention="without_first_query", drop=True)
    sinks = (scores >= SINK_THRESHOLD).where(scores.notnull())  # no comparison with NaN is true
    counts = seen["massive_count"].sel(site="attended", mean_over="layer", threshold=MASSIVE_THRESHOLD, drop=True)
    return xr.Dataset(
        {
            "massive_count": counts.astype(np.float32).where(finite_streams(seen)),
            "sink_rate": sinks.mean("head", skipna=False).astype(np.float32),
            "first_norm": seen["first_norm"],
            "entropy": seen["entropy"],
            "nats": seen["nats"],
        }
    ).drop_vars(["half"], errors="ignore")
