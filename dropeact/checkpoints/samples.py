"""Text that the parent itself writes, as a corpus for distillation where no other text is at hand."""

from collections.abc import Iterator
from typing import Any

import torch
from transformers import GenerationConfig

AT_ONCE = 32


@torch.no_grad()
def samples(model: Any, tokenizer: Any, *, separator_id: int, length: int, seed: int) -> Iterator[str]:
    """Yield documents sampled at temperature 1 after the separator, without end, each at most `length` tokens."""
    device = next(model.parameters()).device
    state, own = torch.random.get_rng_state(), model.generation_config
    torch.manual_seed(seed)
    options = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "max_new_tokens": length}
    plain = GenerationConfig(**options, eos_token_id=separator_id, pad_token_id=separator_id)
    model.generation_config = plain  # from which generate() takes what it is not told: the checkpoint's may cut tails
    try:
        while True:
            start = torch.full((AT_ONCE, 1), separator_id, device=device)
            written = model.generate(start, attention_mask=torch.ones_like(start), generation_config=plain)
            yield from tokenizer.batch_decode(written, skip_special_tokens=True)
    finally:
        torch.random.set_rng_state(state)
        model.generation_config = own
