"""A Llama of a few thousand weights, a tokenizer of its own and a folder of both: built here, nothing is downloaded."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SEPARATOR = "<|endoftext|>"
WORDS = [
    "the",
    "river",
    "ran",
    "past",
    "an",
    "old",
    "mill",
    "where",
    "nine",
    "grey",
    "herons",
    "stood",
    "and",
    "waited",
    "for",
    "rain",
    "that",
    "would",
    "not",
    "come",
]


def documents(count: int, *, words: int = 60, seed: int = 0) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, words)) for _ in range(count)]


def tokenizer() -> PreTrainedTokenizerFast:
    built = Tokenizer(models.BPE())
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=[SEPARATOR], initial_alphabet=alphabet, show_progress=False
    )
    built.train_from_iterator(documents(20), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=built, eos_token=SEPARATOR, bos_token=SEPARATOR)


def llama(*, seed: int = 0, kv_heads: int = 2, layers: int = 2, **fields) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=320,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=kv_heads,
        tie_word_embeddings=True,
        initializer_range=0.2,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
        **fields,
    )
    return LlamaForCausalLM(config).eval().requires_grad_(False)


def saved(folder: Path, model: LlamaForCausalLM | None = None, **fields) -> Path:
    (model or llama(**fields)).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def edited(folder: Path, file: str, **fields: Any) -> Path:
    """A folder of which one JSON file has other fields; None removes one."""
    path = folder / file
    body = {key: value for key, value in (json.loads(path.read_text()) | fields).items() if value is not None}
    path.write_text(json.dumps(body))
    return folder


def corpus(folder: Path, *, count: int = 120) -> Path:
    file = folder / "corpus.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents(count, seed=1)))
    return file
