"""What two checkpoints and the texts must be before the first cell is measured; each refusal is one line."""

import itertools
import json
from collections.abc import Iterable, Mapping
from typing import Any

from dropeact import netcdf
from dropeact.axes import HALVES, InputError
from dropeact.checkpoints.load import dense, tokenizer_in
from dropeact.checkpoints.source import source
from dropeact.corpus import retrieval
from dropeact.files import whole
from dropeact.measurements import core, shapes
from dropeact.measurements.measuring import Measuring, first_ids_in
from dropeact.measurements.request import Request
from dropeact.pairs import Pair


def same_depth(pair: Pair) -> None:
    """Refuse two models of different depth.

    Raises
    ------
    InputError
        When one has more layers than the other, or does not say how many.
    """
    layers = [shapes.config_of(identifier).get("num_hidden_layers") for identifier in (pair.rope, pair.drope)]
    if None in layers:
        silent = (pair.rope, pair.drope)[layers.index(None)]
        raise InputError(f"expected num_hidden_layers in the config of {silent}; got none; correct it")
    if len(set(layers)) > 1:
        raise InputError(
            f"expected two models with as many layers; got {layers[0]} and {layers[1]}; "
            "choose a pair made from one parent"
        )


def dense_weights(measuring: Measuring) -> None:
    """Refuse packed weights, of which nothing can be dropped or copied; those of a GGUF file are dequantised here.

    Raises
    ------
    InputError
        When a checkpoint is quantised in another way.
    """
    for identity in (measuring.identities["rope"], measuring.identities["drope"]):
        packed = identity["quantization"]
        if packed and not packed.startswith("GGUF"):
            raise InputError(
                f"expected weights in full or half precision; got {identity['id']}, quantised by {packed}; save it "
                "dequantised, or as GGUF"
            )


def as_many_numbers(measuring: Measuring) -> None:
    """Refuse other numbers of hidden numbers at other lengths than are stored: all lengths are judged together.

    Raises
    ------
    InputError
        When long texts that are stored, and not asked for again, hide more or fewer.
    """
    store, request = measuring.store, measuring.request
    for file in sorted(store.root.glob("*/*/long_retrieval.*-?.nc")) if "long" in request.chosen_sets else ():
        length = int(file.stem.partition(".")[2].rpartition("-")[0])
        stored = json.loads(whole(netcdf.attributes, file).get("dropeact_depends", "{}")).get("numbers", retrieval.KEYS)
        if length not in request.lengths and stored != request.numbers:
            raise InputError(
                f"expected --numbers={stored}, as in the texts of {length} tokens in {store.directory}; "
                f"got {request.numbers}; name that length in --lengths, too, or give --numbers={stored}"
            )


def room_for_questions(measuring: Measuring) -> None:
    """Refuse a length in which no hidden number fits beside its question, before the sets that come first.

    Raises
    ------
    InputError
        When the shortest length asked for is too short.
    """
    request = measuring.request
    if request.lengths:
        tokenizer = tokenizer_in(dense(source(request.pair.rope)))
        for half, form in itertools.product(HALVES, retrieval.FORMS):
            retrieval.prompts(tokenizer, half=half, form=form, length=min(request.lengths), keys=request.numbers)


def same_tokens(measuring: Measuring) -> None:
    """Refuse two tokenizers that begin or read a text differently: models are compared token by token.

    Raises
    ------
    InputError
        When an arm that is measured has no first token, or another in the other model, or a text becomes other tokens.
    """
    request = measuring.request
    folders = {column: dense(source(request.pair.checkpoint(column))) for column in ("rope", "drope")}
    tokenizers = {column: tokenizer_in(folder) for column, folder in folders.items()}
    same_first_tokens(request, tokenizers)
    if folders["rope"] == folders["drope"]:
        return
    for text in itertools.chain.from_iterable(request.corpora[name] for name in core.corpora(measuring)):
        if not _equal(one(text.text, add_special_tokens=False)["input_ids"] for one in tokenizers.values()):
            raise InputError(
                f"expected {request.pair.rope} and {request.pair.drope} to read texts as the same tokens; got others "
                f"for {text.id}; put the tokenizer of the one beside the other"
            )


def same_first_tokens(request: Request, tokenizers: Mapping[str, Any]) -> None:
    """Refuse an arm whose first token a tokenizer lacks or has in the place of another; and another separator.

    Only of the arms that are measured. Where all arms are observed, texts are parted by the separator, too.
    """
    pair, observed = request.pair, "observe" in request.chosen_sets
    for arm in (request.first_tokens, *(request.other_arms if observed else ())):
        first = {column: first_ids_in(one, pair, column, arm) for column, one in tokenizers.items()}
        if lacking := [column for column, ids in first.items() if not ids and arm != "first"]:
            remedy = f"remove {arm} from other_arms of the pair" if arm in request.other_arms else "choose --arm=first"
            raise InputError(
                f"expected a token for the arm {arm}; got a tokenizer without one beside "
                f"{pair.checkpoint(lacking[0])}; {remedy}"
            )
        _refuse_others(f"begin texts with the same token in the arm {arm}", first, tokenizers, pair)
    if observed:
        parting = {column: first_ids_in(one, pair, column, "separator") for column, one in tokenizers.items()}
        _refuse_others("part texts by the same separator", parting, tokenizers, pair)


def _refuse_others(do: str, ids: Mapping[str, list[int]], tokenizers: Mapping[str, Any], pair: Pair) -> None:
    if not _equal(ids.values()):
        shown = " and ".join(f"{tokenizers[column].decode(read)!r} {read}" for column, read in ids.items())
        raise InputError(
            f"expected {pair.rope} and {pair.drope} to {do}; got {shown}; put the tokenizer of the one beside the other"
        )


def _equal(values: Iterable[object]) -> bool:
    """Whether all values are one."""
    first, *others = values
    return all(other == first for other in others)


def long_enough(measuring: Measuring, column: str) -> None:
    """Refuse texts of either half that are too short, by the tokenizer of a model that is needed anyway.

    Raises
    ------
    InputError
        When a text has too few tokens, or one that the model has no embedding of.
    """
    for half in HALVES:
        measuring.tokens(column, "passages", half, core.OBSERVATION_LENGTH)
