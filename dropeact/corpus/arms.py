"""Texts and a tokenizer in, token ids out: the three ways in which a text may begin."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Int64

from dropeact.axes import InputError
from dropeact.corpus import Passage

Arm = Literal["first", "bos", "separator"]
ARMS: tuple[Arm, ...] = get_args(Arm)


def tokenise(
    texts: Sequence[Passage],
    tokenizer: Any,
    *,
    arm: str,
    length: int,
    separator_id: int | None = None,
) -> Int64[np.ndarray, "text position"]:
    """Turn each text into exactly `length` token ids, the first of which depends on the arm.

    first: t_0 t_1 ...    bos: bos_token_id t_0 t_1 ...    separator: separator_id t_0 t_1 ...

    with t = tokenizer(text, add_special_tokens=False)["input_ids"], so that no tokenizer adds a token by its own
    rules. A prepended id counts toward `length`; what a text has beyond it is cut.

    Raises
    ------
    InputError
        No such arm, no text, a length below 2, no id to prepend, or a text with too few tokens (it is named).
    """
    if not texts or length < 2:
        raise InputError(
            f"expected at least 1 text and a length of 2; got {len(texts)} and {length}; "
            "name a corpus that is not empty and a longer length"
        )
    prefix = _prefix(arm, tokenizer, separator_id)
    return np.array([_ids(text, tokenizer, prefix, length) for text in texts], dtype=np.int64)


def _prefix(arm: str, tokenizer: Any, separator_id: int | None) -> list[int]:
    match arm:
        case "first":
            return []
        case "bos":
            bos = getattr(tokenizer, "bos_token_id", None)
            if bos is None:
                raise InputError(
                    "expected a bos_token_id for the arm bos; got a tokenizer without one; choose --arm=first"
                )
            return [bos]
        case "separator":
            if separator_id is None:
                raise InputError(
                    "expected a separator for the arm separator; got a pair that names none; "
                    "add one to the pair file or choose --arm=first"
                )
            return [separator_id]
    raise InputError(f"expected an arm among {', '.join(ARMS)}; got {arm}; choose one of them")


def _ids(text: Passage, tokenizer: Any, prefix: list[int], length: int) -> list[int]:
    ids = [*prefix, *tokenizer(text.text, add_special_tokens=False)["input_ids"]]
    if len(ids) < length:
        raise InputError(
            f"expected at least {length} tokens in every text; got {len(ids)} in {text.id}; "
            "lengthen or remove that text, or measure shorter texts"
        )
    return ids[:length]
