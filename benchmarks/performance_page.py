"""Stored rows of the benchmarks -> the page docs/performance.md; no number is written here."""

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
WHY = (
    "Where a target is missed:",
    "",
    "- *The probed pass:* the profile below shows that the two matrix products of the blocks take somewhat longer than "
    "the whole fused kernel; what comes on top are passes over each block of scores in cache (largest, clamp, "
    "exponential, threshold, sum), which a fused kernel does while the numbers are in registers.",
    "- *Observations:* both ways solve for the spectrum of the stream at every depth, with and without the first "
    "token, in float64: about half of our time, as the core set beside the line above it shows at 512 tokens.",
    "- *Judging and rendering:* a folder holds about two hundred NetCDF files, and opening them takes a large part.",
    "",
)
MASS, ENTROPY = "probed: norms, sink mass", "probed: norms, sink mass, row entropy"
TWO = "two processes, one thread each"
TARGETS = (
    ("probed pass at 512 tokens: norms, sink mass, row entropy", "at most 1.15 x plain", "passes", 512, ENTROPY),
    ("the same at 8,192 tokens without row entropy", "at most 1.30 x plain", "passes", 8192, MASS),
    ("the same at 8,192 tokens with row entropy", "at most 1.60 x plain", "passes", 8192, ENTROPY),
    ("observations beside capture, rebuild, SVD", "at least 3 x faster", "observation", None, "capture, rebuild, SVD"),
    ("disruption beside every seed anew", "at least 2 x faster", "disruption", None, "every seed anew"),
    ("two processes of one thread", "at least 1.8 x faster than one", "processes", None, TWO),
)
SECONDS = (
    ("judge stored results", "at most 5 s", "judge stored results (the engine alone, new process)"),
    ("render the report", "at most 8 s", "`dropeact report` from stored results"),
)


def page(stored: Mapping[str, Mapping[str, Any]]) -> str:
    """The whole page; a part that was not measured says so."""
    lines = [
        "# Performance",
        "",
        "Written by `python -m benchmarks.performance` from `benchmarks/results/performance.json`. Everything here was "
        "measured, with the machine and the date beside it; what is computed instead stands in [scaling](scaling.md). "
        "Ways that do the same thing are timed in turn, in one process: a ratio is the median over rounds of one way's "
        "time to the first way's in the same round, with its range. Peak memory is the process's largest resident size "
        "during one pass, weights included.",
        "",
        *_targets(stored),
        *WHY,
        *_part(stored, "passes", "One text through the RoPE model", _pass_rows),
        *_part(stored, "profile", "Where the time goes at 8,192 tokens, the first four layers", _profile_rows),
        *_part(stored, "observation", "Observations of four texts, 512 tokens", _way_rows),
        *_part(stored, "disruption", "Massive and ten random draws zeroed, two texts of 256 tokens", _way_rows),
        *_part(stored, "commands", "Commands, each in a new process", _command_rows),
        *_part(stored, "processes", "The core set of 16 texts", _process_rows),
        *_part(stored, "long", "Long texts, the first four layers: sink mass, entropy, local mass, decay", _pass_rows),
        *_part(stored, "gpu", "The shape of Llama-2-7B on a GPU, bfloat16", _gpu_rows),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _targets(stored: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = ["| | target | measured |", "|---|---|---|"]
    for what, target, part, length, way in TARGETS:
        row = _find(stored, part, way, length)
        lines.append(f"| {what} | {target} | {'not measured' if row is None else _ratio(row)} |")
    for what, target, way in SECONDS:
        row = _find(stored, "commands", way, None)
        lines.append(f"| {what} | {target} | {'not measured' if row is None else _span(row)} |")
    plain, probed = (_find(stored, "passes", way, 8192) for way in ("plain pass (SDPA)", ENTROPY))
    if plain and probed and plain["peak_mib"] and probed["peak_mib"]:
        extra = probed["peak_mib"] / plain["peak_mib"] - 1
        lines.append(f"| peak memory of that pass at 8,192 tokens | at most 10 % more than plain | {extra:+.1%} |")
    return [*lines, ""]


def _part(stored: Mapping[str, Mapping[str, Any]], name: str, title: str, rows: Any) -> list[str]:
    if name not in stored:
        return [f"## {title}", "", "Not measured.", ""]
    found = stored[name]
    machine = found["machine"]
    where = f"{machine['processor']}, {machine['cores']} cores, GPU: {machine['device']}, torch {machine['torch']}"
    note = f"{where}; {found['date']}; `python -m benchmarks.performance --only={name}`"
    return [f"## {title}", "", *rows(found["rows"]), "", note, ""]


def _pass_rows(rows: Sequence[Row]) -> list[str]:
    head = ["| tokens | | seconds | to plain | range | peak MiB |", "|---:|---|---:|---:|---|---:|"]
    return head + [
        f"| {r['length']:,} | {r['way']} | {r['seconds']:.3f} | {r['ratio']:.2f} | {_range(r)} | {_peak(r)} |"
        for r in rows
    ]


def _profile_rows(rows: Sequence[Row]) -> list[str]:
    head = ["| | operation | calls | seconds | share |", "|---|---|---:|---:|---:|"]
    return head + [
        f"| {r['way']} | `{r['operation']}` | {r['calls']:,} | {r['seconds']:.2f} | {r['share']:.0%} |" for r in rows
    ]


def _way_rows(rows: Sequence[Row]) -> list[str]:
    head = ["| | seconds | times the first | range | peak MiB |", "|---|---:|---:|---|---:|"]
    return head + [f"| {r['way']} | {r['seconds']:.2f} | {r['ratio']:.2f} | {_range(r)} | {_peak(r)} |" for r in rows]


def _command_rows(rows: Sequence[Row]) -> list[str]:
    return ["| | seconds | range |", "|---|---:|---|"] + [
        f"| {r['way']} | {r['seconds']:.2f} | {r['low']:.2f} to {r['high']:.2f} |" for r in rows
    ]


def _process_rows(rows: Sequence[Row]) -> list[str]:
    return ["| | seconds | times as fast |", "|---|---:|---:|"] + [
        f"| {r['way']} | {r['seconds']:.1f} | {r['ratio']:.2f} |" for r in rows
    ]


def _gpu_rows(rows: Sequence[Row]) -> list[str]:
    head = ["| tokens | | seconds | TFLOP/s | of the ceiling |", "|---:|---|---:|---:|---:|"]
    return head + [
        f"| {r['texts']} x {r['length']:,} | {r['way']} | {r['seconds']:.3f} | {r['tflops']:.1f} | "
        f"{r['of_ceiling']:.0%} |"
        if "length" in r
        else f"| | {r['way']} | | {r['tflops']:.1f} | 100% |"
        for r in rows
    ]


def _find(stored: Mapping[str, Mapping[str, Any]], part: str, way: str, length: int | None) -> Row | None:
    rows = stored.get(part, {}).get("rows", [])
    return next((r for r in rows if r["way"] == way and (length is None or r["length"] == length)), None)


def _ratio(row: Row) -> str:
    return f"{row['ratio']:.2f} x" + (f" ({_range(row)})" if "ratio_low" in row else "")


def _span(row: Row) -> str:
    return f"{row['seconds']:.1f} s ({row['low']:.1f} to {row['high']:.1f})"


def _range(row: Row) -> str:
    return f"{row['ratio_low']:.2f} to {row['ratio_high']:.2f}"


def _peak(row: Row) -> str:
    return "" if row["peak_mib"] is None else f"{row['peak_mib']:,.0f}"
