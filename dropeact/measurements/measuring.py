"""A request to measure a pair, and what every cell of it needs: checkpoints, tokens, content keys, provenance."""

import datetime
import gc
import hashlib
import inspect
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np
import torch
import transformers
import xarray as xr

import dropeact
from dropeact import axes
from dropeact import corpus as corpora
from dropeact.axes import InputError
from dropeact.checkpoints import load as checkpoints
from dropeact.corpus import Passage
from dropeact.corpus.arms import tokenise
from dropeact.pairs import ARMS, Pair
from dropeact.store import Cell, Store

DECLARED = sorted(name for name in vars(axes) if name.isupper())
SETS = ("core", "observe", "behaviour", "ablation", "long")
DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class Request:
    """What to measure, on which texts, and how."""

    pair: Pair
    arm: str = ""
    texts: str | None = None
    sets: str = "core"
    device: str | None = None
    dtype: str = "float32"
    lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be measured, before anything is loaded."""
        for option, value, known in (("--arm", self.first_tokens, ARMS), ("--dtype", self.dtype, DTYPES)):
            if value not in known:
                raise InputError(f"expected {option} among {', '.join(known)}; got {value!r}; choose one of them")
        if self.lengths and "long" not in self.chosen_sets:
            raise InputError("expected --only=long beside --lengths; got other sets; add long, or leave --lengths out")
        if self.device is not None:
            checkpoints.check_device(self.device)

    @property
    def chosen_sets(self) -> tuple[str, ...]:
        """The sets asked for; core is always among them, because the others build on it; `all` is long with lengths."""
        every = SETS if self.lengths else SETS[:-1]
        names = set(every) if self.sets == "all" else {name.strip() for name in self.sets.split(",")}
        if unknown := sorted(names - set(SETS)):
            raise InputError(f"expected sets of {', '.join(SETS)} or all; got {unknown[0]!r}; correct --only")
        if "long" in names and not self.lengths:
            raise InputError("expected lengths for the set long; got none; add --lengths=4096,8192")
        return tuple(name for name in SETS if name in names | {"core"})

    @property
    def first_tokens(self) -> str:
        """The arm: as asked, or the pair's primary one."""
        return self.arm or self.pair.primary_arm

    @property
    def other_arms(self) -> tuple[str, ...]:
        """The arms in which the pair is observed too, to see what the first token does to a verdict."""
        return tuple(arm for arm in self.pair.other_arms if arm != self.first_tokens)

    @cached_property
    def corpora(self) -> dict[str, tuple[Passage, ...]]:
        """The corpora by name: natural passages (the project's or the user's own) and repeated sentences."""
        natural = corpora.from_file(self.texts) if self.texts else corpora.passages()
        return {"passages": natural, "repeated": corpora.repeated()}


@dataclass(frozen=True)
class Task:
    """One cell and how many text-passes it takes; `pace` is the time of one, relative to a text that is fully read."""

    cell: Cell
    passes: int
    measure: Callable[[], xr.Dataset] = field(compare=False)
    pace: float = 1.0


class Measuring:
    """One request being carried out: checkpoints are loaded when the first of their cells is missing."""

    def __init__(self, request: Request, store: Store) -> None:
        self.request, self.store = request, store
        self.device = request.device or default_device()
        self.dtype: torch.dtype = getattr(torch, request.dtype)
        torch.set_float32_matmul_precision("highest")  # scores of thousands do not bear TF32's ten bits
        self._loaded: tuple[str, Any] | None = None

    @cached_property
    def identities(self) -> dict[str, dict[str, Any]]:
        """Who the checkpoints are: id, revision, hash of the weights; `dropped` is the RoPE one without rotation."""
        rope = checkpoints.resolve(self.request.pair.rope)
        drope = checkpoints.resolve(self.request.pair.drope)
        return {"rope": rope, "dropped": rope | {"rotation": "dropped"}, "drope": drope}

    def checkpoint(self, column: str) -> Any:
        """The model of a column, one in memory at a time."""
        if self._loaded is None or self._loaded[0] != column:
            self._loaded = None
            gc.collect()  # accelerate's hooks are cycles: without it a spread model still fills the devices
            loaded = checkpoints.load(self.request.pair.checkpoint(column), dtype=self.dtype, device=self.device)
            self._loaded = (column, checkpoints.drop(loaded) if column == "dropped" else loaded)
        return self._loaded[1]

    def separator_id(self, column: str) -> int | None:
        """The token between pretraining documents: the pair's, else the tokenizer's end of text."""
        tokenizer = self.checkpoint(column).tokenizer
        separator = self.request.pair.separator
        if separator is None:
            return tokenizer.eos_token_id
        found = tokenizer.convert_tokens_to_ids(separator)
        if found is None or (found == tokenizer.unk_token_id and separator != tokenizer.unk_token):
            raise InputError(
                f"expected a separator that the tokenizer of {self.request.pair.checkpoint(column)} has; "
                f"got {separator!r}; correct it in the pair"
            )
        return found

    def first_ids(self, column: str) -> list[int]:
        """What the arm puts before a text, as ids."""
        tokenizer = self.checkpoint(column).tokenizer
        prepended = {"first": None, "bos": tokenizer.bos_token_id, "separator": self.separator_id(column)}
        chosen = prepended[self.request.first_tokens]
        return [] if chosen is None else [chosen]

    def tokens(
        self, column: str, corpus: str, half: str, length: int, *, arm: str | None = None
    ) -> tuple[torch.Tensor, list[str]]:
        """Token ids of one half of a corpus, [text, length], and the text ids; the run's own arm if none is named.

        Raises
        ------
        InputError
            When a text cannot be tokenised so, or the model has no embedding of one of its tokens.
        """
        passages = [p for p in self.request.corpora[corpus] if p.half == half]
        model, tokenizer = self.checkpoint(column).model, self.checkpoint(column).tokenizer
        arm = arm or self.request.first_tokens
        ids = tokenise(passages, tokenizer, arm=arm, length=length, separator_id=self.separator_id(column))
        if ids.max() >= (known := model.get_input_embeddings().num_embeddings):
            raise InputError(
                f"expected tokens that {self.request.pair.checkpoint(column)} has embeddings of, {known} of them; "
                f"got the id {ids.max()}; put the model's own tokenizer beside it"
            )
        return torch.from_numpy(ids).to(model.device), [passage.id for passage in passages]

    def cell(
        self,
        column: str,
        corpus: str,
        half: str,
        measurement: str,
        code: Sequence[ModuleType],
        *,
        arm: Any = None,
        **depends: Any,
    ) -> Cell:
        """A cell with everything its numbers depend on, in the run's own arm if none is named."""
        passages = [p for p in self.request.corpora[corpus] if p.half == half]
        return Cell(
            column,
            corpus,
            arm or self.request.first_tokens,
            half,
            measurement,
            {
                "checkpoint": self.identities[column],
                "corpus": corpora.corpus_hash(passages),
                "dtype": self.request.dtype,
                "separator": self.request.pair.separator,
                "code": source_hash(*code),
            }
            | depends,
        )

    def norms(self, column: str, corpus: str, half: str, *, site: str = "attended") -> xr.Dataset:
        """The pooled norms of one stored half, as attended or as projected."""
        data = self.store.load(column, corpus, self.request.first_tokens, "observations")
        return data[["query_norm", "key_norm"]].sel(selected_on=half, site=site, drop=True)

    def count(self, corpus: str, half: str) -> int:
        """How many texts a half has."""
        return sum(passage.half == half for passage in self.request.corpora[corpus])

    def provenance(self, column: str, seconds: float) -> dict[str, Any]:
        """How a cell came about."""
        return {
            "versions": versions(),
            "device": device_name(self.device),
            "threads": torch.get_num_threads(),
            "seconds": round(seconds, 2),
            "checkpoint": self.identities[column],
            "date": datetime.date.today().isoformat(),
        }


def token_counts(text: str, option: str) -> tuple[int, ...]:
    """The numbers of tokens in a list like `4096,8192`; an empty text gives none.

    Raises
    ------
    InputError
        When one is not a positive whole number.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if wrong := [part for part in parts if not part.isdecimal() or not int(part)]:
        raise InputError(f"expected numbers of tokens in {option}; got {wrong[0]!r}; write them like 4096,8192")
    return tuple(sorted({int(part) for part in parts}))


def default_device() -> str:
    """The best at hand: cuda (each process of a machine its own), else mps, else cpu."""
    if torch.cuda.is_available():
        local = os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", ""))
        return f"cuda:{int(local) % torch.cuda.device_count()}" if local.isdecimal() else "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def device_name(device: str) -> str:
    """The kind of device, without a host name; a model spread over several is named by the first."""
    if device == "auto":
        device = default_device()
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else f"{device} ({platform.machine()})"


def versions() -> dict[str, str]:
    """Versions of what computes."""
    return {
        "dropeact": dropeact.__version__,
        "torch": torch.__version__.split("+")[0],
        "transformers": transformers.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def source_hash(*modules: ModuleType) -> str:
    """Versions and content hash of a measurement's own modules: a changed measurement is measured again.

    The thresholds and lengths of `axes` that a module uses are part of it, its other words are not.
    """
    sources = "".join(inspect.getsource(module) for module in modules)
    used = {name: getattr(module, name) for module in modules for name in DECLARED if hasattr(module, name)}
    version = ".".join(str(getattr(module, "VERSION", 1)) for module in modules)
    return f"{version}-{hashlib.sha256((sources + repr(used)).encode()).hexdigest()[:12]}"
