"""A small lm_eval: the three names that the bridge imports, with the signatures and records of 0.4.13.

`test_the_fake_has_the_signatures_and_records_of_the_installed_harness` holds it against the real one where that is
installed. Tasks: `two_filters` (odd number of items, one record per item and filter), `ruler` (metrics are lengths,
-1.0 marks other ones), `perplexity` (tuples per item), `group` of the first two.
"""

import sys
import time
from types import ModuleType
from typing import Any

import numpy as np

VERSION = "0.4.13"
ITEMS = 5
SLEEP = 0.1
GROUP = {"group": ("two_filters", "ruler")}


class HFLM:
    def __init__(self, pretrained, tokenizer=None, max_length=None, batch_size=1):
        self.model, self.tokenizer, self.max_length, self.batch_size = pretrained, tokenizer, max_length, batch_size


class TaskManager:
    def __init__(self, verbosity=None, include_path=None, include_defaults=True, metadata=None):
        self.include_path, self.metadata = include_path, metadata

    @property
    def all_tasks(self):
        return ["group", "perplexity", "ruler", "two_filters"]


def record(doc_id, name, metrics):
    """One entry of results["samples"][task], as lm_eval.result_schema.SampleResult has it."""
    common = {"doc": {}, "target": "", "arguments": [], "resps": [], "filtered_resps": []}
    hashes = dict.fromkeys(("doc_hash", "prompt_hash", "target_hash"), "0" * 64)
    return {"doc_id": doc_id, **common, "filter": name, "metrics": list(metrics), **hashes, **metrics}


def samples(task: str, count: int, lengths: list[int]) -> list[dict[str, Any]]:
    if task == "two_filters":  # filter by filter, every item in each
        right = {"strict": 0.0, "loose": 1.0}
        return [record(i, name, {"exact_match": np.float64(r)}) for name, r in right.items() for i in range(count)]
    if task == "perplexity":
        return [record(i, "none", {"word_perplexity": (-56.97, 3)}) for i in range(count)]
    made = [record(i, "none", {"4096": -1.0, str(n): 0.5}) for i, n in enumerate(np.repeat(lengths, ITEMS).tolist())]
    return made[:count]


class Harness:
    """What was asked, and the answers; `silent` gives None, as a process other than the first gets."""

    def __init__(self, *, silent=False):
        self.calls: list[dict[str, Any]] = []
        self.silent = silent

    def simple_evaluate(
        self, model, tasks=None, limit=None, bootstrap_iters=100000, log_samples=True, task_manager=None
    ):
        time.sleep(SLEEP)
        assert tasks is not None
        assert task_manager is not None
        lengths = task_manager.metadata.get("max_seq_lengths", [4096])
        self.calls.append({"model": model, "tasks": tasks, "limit": limit, "manager": task_manager})
        asked = [name for task in tasks for name in GROUP.get(task, (task,))]
        whole = {name: ITEMS * (len(lengths) if name == "ruler" else 1) for name in asked}
        found = {name: samples(name, min(limit or n, n), lengths) for name, n in whole.items()}
        return None if self.silent else {"results": {}, "samples": found}

    def install(self, monkeypatch):
        """Put the three modules where the bridge imports them from."""
        modules = {
            "lm_eval": {"simple_evaluate": self.simple_evaluate},
            "lm_eval.models": {},
            "lm_eval.models.huggingface": {"HFLM": HFLM},
            "lm_eval.tasks": {"TaskManager": TaskManager},
        }
        for name, contents in modules.items():
            module = ModuleType(name)
            vars(module).update(contents)
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setattr("importlib.metadata.version", lambda name: VERSION if name == "lm_eval" else "0")
        return self
