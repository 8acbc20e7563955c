"""What the heads give -> how much of what they write into the stream comes from the first token, through W_O."""

import xarray as xr
from jaxtyping import Float
from torch import Tensor, nn

from dropeact.axes import InputError
from dropeact.measurements import attention
from dropeact.measurements.spectra import wide
from dropeact.probes.probing import Readings, Seen
from dropeact.probes.rows import Attended

OUTPUTS = ("o_proj", "dense")


def written_norms(
    given: Float[Tensor, "batch head token value_dim"], output: Float[Tensor, "hidden width"]
) -> Float[Tensor, "batch head token"]:
    """Norm of what each head writes, in float64 through the Gram matrix of its part of W_O.

    |W_O^h x| = sqrt(x^T G_h x), G_h = W_O^h^T W_O^h
    """
    heads, width = given.shape[1], given.shape[3]
    parts = wide(output).unflatten(1, (heads, width)).transpose(0, 1)
    gram = parts.mT @ parts
    x = wide(given)
    return ((x @ gram) * x).sum(-1).clamp(min=0).sqrt().float()


def read_outputs(attended: Attended, output: Float[Tensor, "batch head query value_dim"]) -> dict[str, Tensor]:
    """Norms of what every head writes at every token, of the part the first value would be, and of the values."""
    weight = _output_weight(attended.module)
    first = attended.value[:, :, :1].repeat_interleave(output.shape[1] // attended.value.shape[1], 1)
    values = attended.value.float().norm(dim=-1)
    return {
        "written": written_norms(output, weight),
        "written_first": written_norms(first, weight).squeeze(-1),
        "first_value_norm": values[..., 0],
        "other_value_norm": values[..., 1:].mean(-1),
    }


READINGS = attention.READINGS + Readings(outputs=(read_outputs,))


def labelled(seen: Seen) -> xr.Dataset:
    """Write share and write score (text, layer, head); norms of values (text, layer, kv_head).

    write_share = mean_{t >= 1} a_t0 |W_O v_0| / |sum_j a_tj W_O v_j|
    write_score = |v_0| mean_{t >= 1} a_t0 (no W_O, no reference: the study's experiment 5)
    """
    mass = seen["first_key_mass"][..., 1:]
    share = (mass * seen["written_first"][..., None] / seen["written"][..., 1:]).mean(-1)
    first = seen["first_value_norm"]
    score = mass.mean(-1) * first.repeat_interleave(mass.shape[2] // first.shape[2], 2)
    values = {name: seen[name].transpose(0, 1) for name in ("first_value_norm", "other_value_norm")}
    return xr.Dataset(
        {"write_share": (("text", "layer", "head"), share.transpose(0, 1).numpy())}
        | {"write_score": (("text", "layer", "head"), score.transpose(0, 1).numpy())}
        | {name: (("text", "layer", "kv_head"), value.numpy()) for name, value in values.items()}
    )


def _output_weight(module: nn.Module) -> Float[Tensor, "hidden width"]:
    """W_O: the one weight whose columns are the heads' channels.

    Raises
    ------
    InputError
        When it has a name that no tested architecture gives it.
    """
    for name in OUTPUTS:
        if hasattr(module, name):
            return module.get_parameter(f"{name}.weight")
    names = ", ".join(name for name, _ in module.named_children()) or "none"
    raise InputError(
        f"expected an output projection {' or '.join(OUTPUTS)}; got {type(module).__name__} with {names}; "
        "choose another checkpoint"
    )
