"""Prompts under each condition -> whether the intervention did what it is named for: first-token norm and sinks."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import xarray as xr
from transformers import PreTrainedModel

from dropeact.axes import SINK_THRESHOLD
from dropeact.measurements import attention
from dropeact.probes.interventions import Intervention, intervening
from dropeact.probes.probing import Readings, probing

READINGS = attention.SINKS + Readings(stream=(lambda hidden: {"norm": hidden.float().norm(dim=-1)},))


def manipulation(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    conditions: Mapping[str, Sequence[Intervention]],
    *,
    layer: int,
) -> xr.Dataset:
    """Two checks per condition, means over a few prompts, each passed alone.

    first_ratio = |x_0| / median_{t >= 1} |x_t| after block `layer`; sink_rate = share of the heads above `layer` whose
    queries t >= 1 give key 0 at least 0.3 of their attention on average (0 where there is no layer above).
    """
    ratios = np.zeros((len(conditions), len(prompts)), np.float32)
    rates = np.zeros_like(ratios)
    for row, interventions in enumerate(conditions.values()):
        with intervening(model, *interventions), probing(model, READINGS) as seen:
            for column, ids in enumerate(prompts):
                model(torch.tensor([list(ids)], device=model.device), use_cache=False, logits_to_keep=1)
                norms = seen["norm"][layer + 1, 0]
                ratios[row, column] = norms[0] / norms[1:].quantile(0.5)
                scores = seen["first_key_mass"][layer + 1 :, 0, :, 1:].mean(-1)
                rates[row, column] = (scores >= SINK_THRESHOLD).float().mean() if scores.numel() else 0.0
    return xr.Dataset(
        {"first_ratio": ("condition", ratios.mean(1)), "sink_rate": ("condition", rates.mean(1))},
        coords={"condition": list(conditions)},
    )
