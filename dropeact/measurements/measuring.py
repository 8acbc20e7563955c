"""A request being carried out, and what every cell of it needs: checkpoints, tokens, content keys, provenance."""

import datetime
import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import ModuleType
from typing import Any

import torch
import xarray as xr

from dropeact import corpus as corpora
from dropeact.axes import InputError
from dropeact.checkpoints import load as checkpoints
from dropeact.checkpoints.source import read_config, source
from dropeact.corpus.arms import tokenise
from dropeact.measurements.provenance import default_device, device_name, source_hash, versions
from dropeact.measurements.request import Request
from dropeact.pairs import Pair
from dropeact.store import Cell, Store


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

    @cached_property
    def pair(self) -> Pair:
        """The pair, with the length that the RoPE model's config says it was made for where the pair says none."""
        pair = self.request.pair
        config = read_config(checkpoints.dense(source(pair.rope)))
        return replace(pair, training_length=pair.training_length or config.get("max_position_embeddings"))

    def checkpoint(self, column: str) -> Any:
        """The model of a column, one in memory at a time."""
        if self._loaded is None or self._loaded[0] != column:
            self._loaded = None
            gc.collect()  # accelerate's hooks are cycles: without it a spread model still fills the devices
            identifier = self.request.pair.checkpoint(column)
            loaded = checkpoints.load(identifier, dtype=self.dtype, device=self.device)
            loaded = checkpoints.drop(loaded) if column == "dropped" else loaded
            checkpoints.check_forward(loaded.model, identifier)
            self._loaded = (column, loaded)
        return self._loaded[1]

    def separator_id(self, column: str) -> int | None:
        """The token between pretraining documents: the pair's, else the tokenizer's end of text."""
        return separator_in(self.checkpoint(column).tokenizer, self.request.pair, column)

    def first_ids(self, column: str) -> list[int]:
        """What the arm puts before a text, as ids."""
        return first_ids_in(self.checkpoint(column).tokenizer, self.request.pair, column, self.request.first_tokens)

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


def separator_in(tokenizer: Any, pair: Pair, column: str) -> int | None:
    """The id of a pair's separator by the tokenizer of a column, the end of text where the pair names none.

    Raises
    ------
    InputError
        When the tokenizer does not know the separator.
    """
    separator = pair.separator
    if separator is None:
        return tokenizer.eos_token_id
    found = tokenizer.convert_tokens_to_ids(separator)
    if found is None or (found == tokenizer.unk_token_id and separator != tokenizer.unk_token):
        raise InputError(
            f"expected a separator that the tokenizer of {pair.checkpoint(column)} has; "
            f"got {separator!r}; correct it in the pair"
        )
    return found


def first_ids_in(tokenizer: Any, pair: Pair, column: str, arm: str) -> list[int]:
    """What an arm puts before a text by the tokenizer of a column, as ids; nothing where it has no such token."""
    separator = separator_in(tokenizer, pair, column)
    chosen = {"first": None, "bos": tokenizer.bos_token_id, "separator": separator}[arm]
    return [] if chosen is None else [chosen]
