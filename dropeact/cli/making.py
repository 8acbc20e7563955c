"""Commands that make checkpoints: drop the rotation, train on without it."""

from pathlib import Path
from typing import Annotated

import typer

from dropeact.axes import InputError


def convert(
    src: Annotated[str, typer.Argument(help="RoPE checkpoint: hub id, local folder, GGUF file, embedded:NAME.")],
    dst: Annotated[Path, typer.Argument(help="A new folder.")],
    qk_norm: Annotated[
        str | None, typer.Option("--qk-norm", help="q, k or qk: add RMSNorms over the full width.")
    ] = None,
    smollm3: Annotated[bool, typer.Option("--smollm3", help="Export as stock SmolLM3, loadable elsewhere.")] = False,
) -> None:
    """Drop the rotary embeddings of a Llama checkpoint: the same weights, bit for bit.

    Example: dropeact convert embedded:smollm2-135m dropped
    """
    from dropeact.checkpoints.convert import convert as drop_rotation

    print(drop_rotation(src, str(dst), qk_norm, smollm3))


def recalibrate(
    src: Annotated[str, typer.Argument(help="RoPE checkpoint: hub id, local folder, GGUF file, embedded:NAME.")],
    dst: Annotated[Path, typer.Argument(help="A new folder; the same command again goes on where it stopped.")],
    corpus: Annotated[str, typer.Option("--corpus", help="Text, JSONL, a folder, a dataset name, or `parent`.")],
    objective: Annotated[str, typer.Option("--objective", help="distill (KL to the parent) or ce.")] = "distill",
    trainables: Annotated[str, typer.Option("--trainables", help="all, attention or lora.")] = "attention",
    tokens: Annotated[int | None, typer.Option("--tokens", help="Train on so many tokens.")] = None,
    budget_minutes: Annotated[float | None, typer.Option("--budget-minutes", help="... or for so long.")] = None,
    length: Annotated[int, typer.Option("--length", help="Tokens of a window.")] = 512,
    batch: Annotated[int, typer.Option("--batch", help="Windows of a step.")] = 8,
    micro_batch: Annotated[int, typer.Option("--micro-batch", help="Windows at a time.")] = 4,
    learning_rate: Annotated[
        float, typer.Option("--learning-rate", help="Peak; warm-up, then a cosine to zero.")
    ] = 1e-3,
    warmup_steps: Annotated[int, typer.Option("--warmup-steps", help="Steps of linear warm-up.")] = 20,
    seed: Annotated[int, typer.Option("--seed", help="Order of windows, initial adapters, samples.")] = 42,
    separator: Annotated[str | None, typer.Option("--separator", help="Token between documents.")] = None,
    keep_rope: Annotated[
        bool, typer.Option("--keep-rope", help="Control: train as long with the rotation kept.")
    ] = False,
    qk_norm: Annotated[str | None, typer.Option("--qk-norm", help="q, k or qk.")] = None,
    from_adapter: Annotated[str | None, typer.Option("--from-adapter", help="Go on from an adapter.")] = None,
    lora_rank: Annotated[int, typer.Option("--lora-rank", help="Rank under --trainables=lora.")] = 64,
    precision: Annotated[str, typer.Option("--precision", help="auto, float32 or bfloat16.")] = "auto",
    checkpointing: Annotated[bool, typer.Option("--checkpointing", help="Recompute activations: less memory.")] = False,
    corpus_tokens: Annotated[int | None, typer.Option("--corpus-tokens", help="Pack at most so many tokens.")] = None,
    softmax_scale: Annotated[
        float | None, typer.Option("--softmax-scale", help="In the place of head_dim ** -0.5.")
    ] = None,
    heldout_windows: Annotated[int, typer.Option("--heldout-windows", help="Windows kept out of training.")] = 16,
    evaluations: Annotated[int, typer.Option("--evaluations", help="How often held-out loss is measured.")] = 8,
    save_every: Annotated[int, typer.Option("--save-every", help="Steps between states to go on from.")] = 50,
    snapshots: Annotated[str, typer.Option("--snapshots", help="Shares of the run at which adapters are kept.")] = "",
) -> None:
    """Recalibrate a dropped checkpoint by continued training; writes checkpoint, adapter, recipe and log.

    Example: dropeact recalibrate embedded:smollm2-135m mine --corpus=texts.jsonl --budget-minutes=120
    """
    given = dict(locals())  # before anything else is local
    from dropeact.checkpoints.options import Options
    from dropeact.checkpoints.recalibrate import recalibrate as train

    print(train(Options(**recalibration_options(given))))


def recalibration_options(given: dict) -> dict:
    """The command's options by the names of `Options`."""
    named = {name: value for name, value in given.items() if name not in ("src", "dst")}
    try:
        named["snapshots"] = tuple(float(share) for share in given["snapshots"].split(",") if share.strip())
    except ValueError:
        raise InputError(
            f"expected shares in --snapshots; got {given['snapshots']!r}; write them like 0.1,0.5"
        ) from None
    return {"source": given["src"], "destination": str(given["dst"])} | named
