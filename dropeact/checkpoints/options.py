"""What a recalibration is asked to do, checked once, as one frozen record that goes into the recipe."""

import hashlib
import json
import shlex
from dataclasses import asdict, dataclass, fields
from math import inf
from os.path import lexists
from pathlib import Path

from dropeact.axes import InputError

CHOICES = {
    "objective": ("distill", "ce"),
    "trainables": ("all", "attention", "lora"),
    "precision": ("auto", "float32", "bfloat16"),
    "qk_norm": (None, "q", "k", "qk"),
}
LEAST = {
    "tokens": 1, "length": 2, "batch": 1, "micro_batch": 1, "warmup_steps": 0, "seed": 0, "lora_rank": 1,
    "corpus_tokens": 1, "heldout_windows": 1, "evaluations": 1, "save_every": 1,
}  # fmt: skip
POSITIVE = ("budget_minutes", "learning_rate", "softmax_scale")
TIMED_STEPS = 10
LARGEST_SEED = 2**64 - 1  # of torch
# what may differ between a run and its continuation: none of it changes a weight
FREE = ("destination", "save_every", "micro_batch", "checkpointing")


@dataclass(frozen=True)
class Options:
    """How a checkpoint is recalibrated.

    `tokens` or `budget_minutes` ends the run (minutes become a token count after 10 steps); `batch` windows of `length`
    tokens make a step, `micro_batch` of them at a time. The rate warms up over `warmup_steps` and falls along a cosine.
    """

    source: str
    destination: str
    corpus: str
    objective: str = "distill"
    trainables: str = "attention"
    tokens: int | None = None
    budget_minutes: float | None = None
    length: int = 512
    batch: int = 8
    micro_batch: int = 4
    learning_rate: float = 1e-3
    warmup_steps: int = 20
    seed: int = 42
    separator: str | None = None
    keep_rope: bool = False
    qk_norm: str | None = None
    softmax_scale: float | None = None
    from_adapter: str | None = None
    lora_rank: int = 64
    precision: str = "auto"
    checkpointing: bool = False
    corpus_tokens: int | None = None
    heldout_windows: int = 16
    evaluations: int = 8
    save_every: int = 50
    snapshots: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be done, in one line each."""
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"expected {name} among {', '.join(map(str, allowed))}; got {getattr(self, name)}")
        self._check_numbers()
        if (self.tokens is None) == (self.budget_minutes is None):
            raise InputError(
                "expected --tokens or --budget-minutes, one of them; got " + ("both" if self.tokens else "neither")
            )
        if self.budget_minutes is not None and self.warmup_steps < TIMED_STEPS:
            raise InputError(
                f"expected at least {TIMED_STEPS} steps of warm-up with --budget-minutes, which are timed; "
                f"got {self.warmup_steps}"
            )
        if self.keep_rope and self.objective == "distill":
            raise InputError(
                "expected --objective=ce with --keep-rope; got distill, where the RoPE parent is its own control"
            )
        if self.keep_rope and self.qk_norm:
            raise InputError("expected either --keep-rope or --qk-norm; got both; QK-norm belongs to the dropped model")
        if self.keep_rope and self.softmax_scale is not None:
            raise InputError(
                "expected either --keep-rope or --softmax-scale; got both; the scale belongs to the dropped model"
            )
        if self.batch % min(self.micro_batch, self.batch):
            raise InputError(f"expected a batch in whole micro-batches; got {self.batch} and {self.micro_batch}")

    def _check_numbers(self) -> None:
        for name, least in LEAST.items():
            if (value := getattr(self, name)) is not None and value < least:
                raise InputError(f"expected {flag(name)} of {least} or more; got {value}; raise it")
        if self.seed > LARGEST_SEED:
            raise InputError(f"expected --seed of {LARGEST_SEED} or less; got {self.seed}; lower it")
        for name in POSITIVE:
            if (value := getattr(self, name)) is not None and not 0 < value < inf:
                raise InputError(f"expected a positive number as {flag(name)}; got {value}; correct it")
        if wrong := [share for share in self.snapshots if not 0 < share <= 1]:
            raise InputError(
                f"expected shares above 0, up to 1, in --snapshots; got {wrong[0]}; write them like 0.1,0.5"
            )

    def recipe(self) -> dict:
        """Return the options as the recipe keeps them: without the places of this run."""
        kept = {
            name: value for name, value in asdict(self).items() if name not in ("destination", "corpus", "from_adapter")
        }
        return kept | {"snapshots": list(self.snapshots)}

    def command(self) -> str:
        """Return the command that makes the same run, with the places of this one left open."""
        open_places = {"corpus": "CORPUS", "from_adapter": "ADAPTER"}
        words = ["dropeact", "recalibrate", self.source, "DST"]
        for field in fields(self)[2:]:
            value, option = getattr(self, field.name), flag(field.name)
            if value == field.default or value is None:
                continue
            if field.name in open_places and value != "parent":
                value = open_places[field.name]
            if isinstance(value, tuple):
                value = ",".join(map(str, value))
            words.append(option if value is True else f"{option}={value}")
        return shlex.join(words)

    def key(self) -> str:
        """Hash everything that decides the weights: two runs with one key are one run."""
        deciding = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in FREE}
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:16]


def flag(name: str) -> str:
    """Name the option of the command behind a field."""
    return "--" + name.replace("_", "-")


def unfinished(destination: str) -> Path:
    """Name the folder of a run that has not ended."""
    return Path(f"{destination}.unfinished")


def check_places(options: Options) -> None:
    """Refuse to write over anything: a finished destination, or another run's unfinished one.

    Raises
    ------
    InputError
        When the destination exists, or was begun with other options.
    """
    if lexists(options.destination):
        raise InputError(f"expected a destination that does not exist; got {options.destination}; name another folder")
    begun = unfinished(options.destination) / "options.json"
    if begun.is_file() and _key_of(begun) != options.key():
        raise InputError(
            f"expected the options that {begun.parent} was begun with; got others; use the same command, or remove it"
        )


def _key_of(begun: Path) -> str:
    try:
        return json.loads(begun.read_text("utf-8"))["key"]
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"expected the options of a run in {begun}; got a damaged file; remove {begun.parent}"
        ) from None
