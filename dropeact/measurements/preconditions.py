"""What two checkpoints and the texts must be before the first cell is measured; each refusal is one line."""

import itertools
import json
import sys

from dropeact import netcdf
from dropeact.axes import HALVES, InputError
from dropeact.checkpoints.load import dense, tokenizer_in
from dropeact.checkpoints.source import source
from dropeact.corpus import retrieval
from dropeact.files import whole
from dropeact.measurements import core, shapes
from dropeact.measurements.measuring import Measuring
from dropeact.measurements.request import Request
from dropeact.pairs import Pair

READ_ALIKE = 4  # texts that both tokenizers read


def same_depth(pair: Pair) -> None:
    """Refuse two models of different depth.

    Raises
    ------
    InputError
        When one has more layers than the other.
    """
    layers = [shapes.config_of(identifier).get("num_hidden_layers") for identifier in (pair.rope, pair.drope)]
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


def tell_rotation(measuring: Measuring) -> None:
    """Say so where the DroPE side rotates its queries and keys: its numbers are not those of a DroPE model."""
    drope = measuring.identities["drope"]
    if drope["rope"] and drope["sha256"] != measuring.identities["rope"]["sha256"]:
        print(
            f"{drope['id']} is a {drope['architecture']} and measured with its rotation; a DroPE checkpoint says what "
            'it is in its config.json ("model_type": "llama_drope" or "qwen2_drope")',
            file=sys.stderr,
        )


def same_tokens(request: Request) -> None:
    """Refuse two tokenizers that read a text differently: models are compared token by token.

    Raises
    ------
    InputError
        When one of the first texts becomes other tokens.
    """
    folders = [dense(source(identifier)) for identifier in (request.pair.rope, request.pair.drope)]
    if folders[0] == folders[1]:
        return
    one, other = map(tokenizer_in, folders)
    for text in request.corpora["passages"][:READ_ALIKE]:
        read = [tokenizer(text.text, add_special_tokens=False)["input_ids"] for tokenizer in (one, other)]
        if read[0] != read[1]:
            raise InputError(
                f"expected {request.pair.rope} and {request.pair.drope} to read texts as the same tokens; got others "
                f"for {text.id}; put the tokenizer of the one beside the other"
            )


def long_enough(measuring: Measuring, column: str) -> None:
    """Refuse texts of either half that are too short, by the tokenizer of a model that is needed anyway.

    Raises
    ------
    InputError
        When a text has too few tokens, or one that the model has no embedding of.
    """
    for half in HALVES:
        measuring.tokens(column, "passages", half, core.OBSERVATION_LENGTH)
