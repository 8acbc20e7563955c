"""A claim and the run that it was judged in -> the command that measures the pair once more and judges that claim."""

import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dropeact import pairs
from dropeact.corpus import corpus_hash, passages
from dropeact.corpus.retrieval import DEPTHS, KEYS
from dropeact.measured import MissingMeasurement, Model, Protocol
from dropeact.pairs import Pair
from dropeact.store import Store
from dropeact.verdicts import Claim

DECLARED = ("other_arms", "separator", "training_length", "published", "write_layer")  # change what is measured


def command(store: Store, run: Mapping[str, Any], claim: Claim) -> str:
    """The line for a shell: the same checkpoints, arm and precision, the claim's set, a folder of its own."""
    pair = pairs.from_dict(run["pair"])
    how = [] if run["arm"] == reached(pair).primary_arm else [f"--arm={run['arm']}"]
    how += [] if run["dtype"] == "float32" else [f"--dtype={run['dtype']}"]
    how += [] if run["corpus"] == corpus_hash(passages()) else ["--texts=FILE"]  # the file that was given then
    how += [] if claim.set == "core" else [f"--only={claim.set}"]
    how += (long_texts(store, run["arm"]) or [pair.long_lengths]) if claim.set == "long" else []
    how += [f"--claims={claim.file}"] if claim.is_own else []
    words = ["pytest", "-m", "claims", *named(run), "--fresh", *how, f"--out=runs/{claim.id}", "-k", claim.id]
    return shlex.join(words)


def named(run: Mapping[str, Any]) -> list[str]:
    """The options that name a pair: its name where it ships with the package, else its two checkpoints.

    FILE is the pair file that was given then, where that says what two checkpoints do not.
    """
    pair = pairs.from_dict(run["pair"])
    given = reached(pair)
    if run.get("training_length_from") == "config":
        given = replace(given, training_length=pair.training_length)
    if given.name in pairs.known():
        return [f"--pair={given.name}"]
    if any(getattr(given, name) != getattr(pair, name) for name in DECLARED):
        return ["--pair=FILE.toml"]
    return [f"--rope={pair.rope}", f"--drope={pair.drope}"]


def reached(pair: Pair) -> Pair:
    """The pair that its two checkpoints give: the known one where they are one."""
    return pairs.of(pair.rope, pair.drope)


def long_texts(store: Store, arm: str) -> list[str]:
    """The options that ask for long texts as they were measured; none where they were not."""
    try:
        found = Model("rope", Protocol(arm=arm), store).measurement("long_retrieval")
    except MissingMeasurement:
        return []
    numbers = found.sizes["text"] // len(DEPTHS)
    how = [f"--lengths={','.join(str(length) for length in found['length'].values)}"]
    return how if numbers == KEYS else [*how, f"--numbers={numbers}"]
