"""Stored rows of the benchmarks -> the table of targets, and for each one missed what the rows say of the reason."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.gpu import SUITE

Row = Mapping[str, Any]
Stored = Mapping[str, Mapping[str, Any]]
PLAIN, MASS, ENTROPY = "plain pass (SDPA)", "probed: norms, sink mass", "probed: norms, sink mass, row entropy"
REBUILT, TWO = "capture, rebuild, SVD", "core and observe: two processes, one thread each"
JUDGE, RENDER = "judge stored results (the engine alone, new process)", "`dropeact report` from stored results"
PROFILED, LARGEST = 8192, 6


@dataclass(frozen=True)
class Target:
    """A number that the rows should reach: how to read and to print it, and what the rows say where they do not."""

    what: str
    target: str
    limit: float
    value: Callable[[Stored], float | None]
    printed: Callable[[Stored], str]
    reason: Callable[[Stored], str] = lambda _: ""
    at_most: bool = True

    def missed(self, stored: Stored) -> bool:
        """Whether it was measured and not reached."""
        value = self.value(stored)
        return value is not None and (value > self.limit if self.at_most else value < self.limit)

    def measured(self, stored: Stored) -> str:
        """The measured value, or that there is none."""
        return "not measured" if self.value(stored) is None else self.printed(stored)


def find(stored: Stored, part: str, way: str, length: int | None = None) -> Row | None:
    """The row of one way, at one length where the part has several."""
    rows = stored.get(part, {}).get("rows", [])
    return next((r for r in rows if r["way"] == way and (length is None or r.get("length") == length)), None)


def field(part: str, way: str, name: str, length: int | None = None) -> Callable[[Stored], float | None]:
    """How to read one number of one row; None where there is no such row."""

    def read(stored: Stored) -> float | None:
        row = find(stored, part, way, length)
        return None if row is None else row[name]

    return read


def spread(part: str, way: str, length: int | None = None) -> Callable[[Stored], str]:
    """A ratio and its range over rounds."""

    def text(stored: Stored) -> str:
        row = find(stored, part, way, length) or {}
        return f"{row['ratio']:.2f} x" + (f" ({span(row)})" if "ratio_low" in row else "")

    return text


def seconds(way: str) -> Callable[[Stored], str]:
    """The time of a command and its range."""

    def text(stored: Stored) -> str:
        row = find(stored, "commands", way) or {}
        return f"{row['seconds']:.1f} s ({row['low']:.1f} to {row['high']:.1f})"

    return text


def span(row: Row) -> str:
    """The range of a ratio."""
    return f"{row['ratio_low']:.2f} to {row['ratio_high']:.2f}"


def extra_memory(stored: Stored) -> float | None:
    """By what share the peak of the probed pass lies above that of the plain one, at 8,192 tokens."""
    plain, probed = (field("passes", way, "peak_mib", 8192)(stored) for way in (PLAIN, ENTROPY))
    return probed / plain - 1 if plain and probed else None


def of_pass(way: str, length: int) -> Callable[[Stored], str]:
    """Where the probed pass spends more than the plain one: without entropy, and by operation of the profile."""

    def reason(stored: Stored) -> str:
        plain, mass, probed = (field("passes", name, "seconds", length)(stored) for name in (PLAIN, MASS, way))
        parts = []
        if plain and mass and probed and way != MASS:
            above, without = probed - plain, max(0.0, mass - plain)
            parts.append(f"of {above:.2f} s above the plain pass, {without:.2f} s are there without entropy")
        if length == PROFILED and (found := profiled(stored.get("profile", {}).get("rows", []))):
            parts.append(f"by the profile of four layers with row entropy, against the plain pass: {found}")
        return "; ".join(parts)

    return reason


def profiled(rows: Sequence[Row]) -> str:
    """The operations whose time differs most between the probed and the plain pass, in seconds."""
    times: dict[str, float] = {}
    for row in rows:
        times.setdefault(row["operation"], 0.0)
        times[row["operation"]] += -row["seconds"] if row["way"] == PLAIN else row["seconds"]
    most = sorted(times, key=lambda name: -abs(times[name]))[:LARGEST]
    return ", ".join(f"`{name}` {times[name]:+.2f} s" for name in most)


def of_observation(stored: Stored) -> str:
    """What no way can save: a plain pass, and the spectra that both ways solve for."""
    names = ("observe", "of it: spectra of the stream", REBUILT, "of it: SVD of the stream", "plain passes")
    ours, spectra, rebuilt, svd, plain = (field("observation", name, "seconds")(stored) for name in names)
    if ours is None or spectra is None or rebuilt is None or svd is None or plain is None:
        return ""
    return (
        f"the spectra of the stream take {spectra:.2f} of our {ours:.2f} s ({spectra / ours:.0%}), and {svd:.2f} of "
        f"the other way's {rebuilt:.2f} s; plain passes ({plain:.2f} s) and these spectra alone would be "
        f"{rebuilt / (plain + spectra):.2f} x faster than the other way: no way with them gets beyond that"
    )


def of_rendering(stored: Stored) -> str:
    """Judging is part of rendering."""
    judging = field("commands", JUDGE, "seconds")(stored)
    return "" if judging is None else f"it judges first, which alone takes {judging:.1f} s"


def passes(what: str, limit: float, way: str, length: int) -> Target:
    """A target of one probed pass."""
    value = field("passes", way, "ratio", length)
    return Target(
        what, f"at most {limit:.2f} x plain", limit, value, spread("passes", way, length), of_pass(way, length)
    )


def prefill(texts: int, length: int) -> Target:
    """A target of the probed pass on a GPU."""
    value = field("gpu", ENTROPY, "of_ceiling", length)
    what = f"probed pass with row entropy on a GPU, shape of Llama-2-7B, {texts} x {length:,} tokens, bfloat16"
    target = "at least 40 % of the matrix product's ceiling"
    return Target(what, target, 0.4, value, lambda stored: f"{value(stored):.0%}", of_gpu(length), at_most=False)


def of_gpu(length: int) -> Callable[[Stored], str]:
    """How far the plain pass comes."""

    def reason(stored: Stored) -> str:
        plain = field("gpu", PLAIN, "of_ceiling", length)(stored)
        return "" if plain is None else f"the plain pass reaches {plain:.0%}"

    return reason


_SUITE = field("gpu", SUITE, "seconds")
TARGETS = (
    passes("probed pass at 512 tokens: norms, sink mass, row entropy", 1.15, ENTROPY, 512),
    passes("the same at 8,192 tokens without row entropy", 1.30, MASS, 8192),
    passes("the same at 8,192 tokens with row entropy", 1.60, ENTROPY, 8192),
    Target(
        "observations beside capture, rebuild, SVD",
        "at least 3 x faster",
        3.0,
        field("observation", REBUILT, "ratio"),
        spread("observation", REBUILT),
        of_observation,
        at_most=False,
    ),
    Target(
        "disruption beside every seed anew",
        "at least 2 x faster",
        2.0,
        field("disruption", "every seed anew", "ratio"),
        spread("disruption", "every seed anew"),
        at_most=False,
    ),
    Target(
        "two processes of one thread, sets core and observe",
        "at least 1.8 x faster than one",
        1.8,
        field("processes", TWO, "ratio"),
        spread("processes", TWO),
        at_most=False,
    ),
    Target("judge stored results", "at most 5 s", 5.0, field("commands", JUDGE, "seconds"), seconds(JUDGE)),
    Target(
        "render the report",
        "at most 8 s",
        8.0,
        field("commands", RENDER, "seconds"),
        seconds(RENDER),
        of_rendering,
    ),
    Target(
        "peak memory of the probed pass at 8,192 tokens",
        "at most 10 % more than plain",
        0.1,
        extra_memory,
        lambda stored: f"{extra_memory(stored):+.1%}",
    ),
    prefill(8, 512),
    prefill(8, 4096),
    Target(
        "every cell without generation on a GPU, two models of that shape and the just-dropped one, without loading",
        "at most 180 s",
        180.0,
        _SUITE,
        lambda stored: f"{_SUITE(stored):.0f} s",
    ),
)


def table(stored: Stored) -> list[str]:
    """A row per target, and a line for each that is missed."""
    lines = ["| | target | measured |", "|---|---|---|"]
    lines += [f"| {target.what} | {target.target} | {target.measured(stored)} |" for target in TARGETS]
    missed = [target for target in TARGETS if target.missed(stored)]
    if missed:
        lines += ["", "Where a target is missed, and what the rows below say of it:", ""]
        lines += [f"- *{t.what}:* {t.reason(stored) or 'the rows do not say why'}." for t in missed]
    return [*lines, ""]
