"""What is said of a pair before it is measured: nothing is refused, and what its numbers mean depends on it."""

import sys
from collections.abc import Mapping
from typing import Any

from dropeact.measurements import core, shapes
from dropeact.measurements.measuring import Measuring


def tell(measuring: Measuring) -> None:
    """Say whatever there is to say, a line each."""
    rotation(measuring)
    shape(measuring)
    context(measuring)


def rotation(measuring: Measuring) -> None:
    """Say so where the DroPE side rotates its queries and keys: its numbers are not those of a DroPE model."""
    drope = measuring.identities["drope"]
    if drope["rope"] and drope["sha256"] != measuring.identities["rope"]["sha256"]:
        print(
            f"{drope['id']} is a {drope['architecture']} and measured with its rotation; a DroPE checkpoint says what "
            'it is in its config.json ("model_type": "llama_drope" or "qwen2_drope")',
            file=sys.stderr,
        )


def shape(measuring: Measuring) -> None:
    """Say so where the two models are of different shape, by the first field that differs."""
    pair, identities = measuring.request.pair, measuring.identities
    rope, drope = (
        {"architecture": identities[column]["architecture"].removesuffix("_drope")}
        | shape_of(shapes.config_of(pair.checkpoint(column)))
        for column in ("rope", "drope")
    )
    if differing := [name for name in rope if rope[name] != drope[name]]:
        name = differing[0]
        print(
            f"{pair.rope} and {pair.drope} are of different shape ({name} {rope[name]} and {drope[name]}): what "
            "differs between them is not the rotation alone",
            file=sys.stderr,
        )


def shape_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Heads and widths of a config, what it leaves out as transformers fills it in."""
    heads, hidden = config.get("num_attention_heads"), config.get("hidden_size")
    share = hidden // heads if heads and hidden else None
    return {
        "num_attention_heads": heads,
        "num_key_value_heads": config.get("num_key_value_heads") or heads,
        "hidden_size": hidden,
        "head_dim": config.get("head_dim") or share,
    }


def context(measuring: Measuring) -> None:
    """Say so where the texts are longer than what the RoPE model was made for: beyond it, it is another model."""
    made_for = measuring.pair.training_length
    if made_for is not None and made_for < core.OBSERVATION_LENGTH:
        print(
            f"{measuring.pair.rope} was made for {made_for} tokens and reads {core.OBSERVATION_LENGTH} of every text: "
            "its numbers are also of positions that it was not trained on",
            file=sys.stderr,
        )
