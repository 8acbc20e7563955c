"""One half of every set of a tiny pair, measured on the CPU and on other devices: `python -m ... FOLDER DEVICE ...`.

A device is one that torch sees here, or `pretend`, or `spread`: two of these that share the model.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from dropeact import corpus, pairs
from dropeact.checkpoints import load as checkpoints
from dropeact.corpus.facts import facts, haystack
from dropeact.measurements import plan, sharing
from dropeact.measurements.measuring import Measuring, Task
from dropeact.measurements.request import Request
from dropeact.store import Store
from tests.another_device import pretended
from tests.another_device.spreading import spread
from tests.checkpoints.tiny import SEPARATOR

VOCABULARY = 4000  # words in a token or two: prompts of 256 tokens have room
COLUMN, HALF = "rope", "A"


def tokenizer() -> PreTrainedTokenizerFast:
    """Made of the texts that it is to cut."""
    texts = [passage.text for passage in corpus.passages()] + [fact.prompt for fact in facts()] + [*haystack()]
    built = Tokenizer(models.BPE())
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    known: dict[str, Any] = {"special_tokens": [SEPARATOR], "initial_alphabet": alphabet}
    built.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=VOCABULARY, show_progress=False, **known))
    return PreTrainedTokenizerFast(tokenizer_object=built, eos_token=SEPARATOR, bos_token=SEPARATOR)


def saved(folder: Path, seed: int) -> str:
    """A Llama of two layers beside its tokenizer."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        initializer_range=0.2,
        max_position_embeddings=512,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return str(folder)


def chosen(planned: list[Task]) -> list[Task]:
    """Every kind of cell once, and what those select on, in the order of measuring."""
    once = [task for task in planned if (task.cell.column, task.cell.half) == (COLUMN, HALF)]
    selected = [other for task in once for other in sharing.needed(task, planned)]
    keys = {task.cell.key for task in [*once, *selected]}
    return [task for task in planned if task.cell.key in keys]


def measure(request: Request, out: Path) -> None:
    """Measure the chosen cells."""
    measuring = Measuring(request, Store(out))
    for task in chosen(plan.tasks(measuring)):
        measuring.store.save(task.cell, task.measure(), {})


def main(folder: Path, devices: Sequence[str]) -> None:
    """A run on each device and on the CPU, below the folder."""
    texts = folder / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": passage.text}) + "\n" for passage in corpus.passages()[:16]))
    pair = replace(pairs.of(saved(folder / "rope", 0), saved(folder / "drope", 1)), published=True)
    for device in ("cpu", *devices):
        request = partial(Request, pair, texts=str(texts), sets="all", lengths=(256,), device=device)
        with there(pair, device) if device in MOVED else nullcontext():
            measure(request(), folder / device)


MOVED: dict[str, Callable[[Any], Any]] = {"pretend": lambda model: model.to(pretended.NAME), "spread": spread}


@contextmanager
def there(pair: pairs.Pair, device: str) -> Iterator[None]:
    """Let checkpoints be moved to the device, loaded before it is pretended: files are read to the CPU."""
    loaded: dict[str, Any] = {identifier: checkpoints.load(identifier) for identifier in (pair.rope, pair.drope)}
    moved = dict[str, checkpoints.Checkpoint]()

    def load(identifier: str, **_options: object) -> checkpoints.Checkpoint:
        if identifier not in moved:
            moved[identifier] = replace(loaded[identifier], model=MOVED[device](loaded[identifier].model))
        return moved[identifier]

    with patch.object(checkpoints, "load", load), patch.object(checkpoints, "check_device"), pretended.pretending():
        yield


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
