"""Stored rows of the benchmarks -> the page docs/performance.md; no number is written here."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.performance_targets import span, table

Row = Mapping[str, Any]


def page(stored: Mapping[str, Mapping[str, Any]]) -> str:
    """The whole page; a part that was not measured says so."""
    lines = [
        "# Performance",
        "",
        "Written by `python -m benchmarks.performance` from `benchmarks/results/performance.json`. Everything here was "
        "measured, with the machine and the date beside it; what is computed instead stands in [scaling](scaling.md). "
        "Alternatives are timed in turn within one process; a ratio is the median over rounds of an alternative's time "
        "divided by the first one's in the same round, with its range. Peak memory is the largest resident size of the "
        "process during a pass that is not timed, weights included; freed arrays go back to the system at once then.",
        "",
        *table(stored),
        *_part(stored, "passes", "One text through the RoPE model", _pass_rows),
        *_part(stored, "profile", "Where the time goes at 8,192 tokens, the first four layers", _profile_rows),
        *_part(stored, "observation", "Observations of four texts, 512 tokens", _way_rows),
        *_part(stored, "disruption", "Massive and ten random draws zeroed, two texts of 256 tokens", _way_rows),
        *_part(stored, "commands", "Commands, each in a new process", _command_rows),
        *_part(stored, "processes", "Sets of 16 texts, shared by processes", _process_rows),
        *_part(stored, "long", "Long texts, the first layers: sink mass, entropy, local mass, decay", _pass_rows),
        *_part(stored, "gpu", "The shape of Llama-2-7B on a GPU, bfloat16", _gpu_rows),
    ]
    return "\n".join(lines).rstrip() + "\n"


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
        f"| {r['length']:,} | {r['way']} | {r['seconds']:.3f} | {r['ratio']:.2f} | {span(r)} | {_peak(r)} |"
        for r in rows
    ]


def _profile_rows(rows: Sequence[Row]) -> list[str]:
    head = ["| | operation | calls | seconds | share |", "|---|---|---:|---:|---:|"]
    return head + [
        f"| {r['way']} | `{r['operation']}` | {r['calls']:,} | {r['seconds']:.2f} | {r['share']:.0%} |" for r in rows
    ]


def _way_rows(rows: Sequence[Row]) -> list[str]:
    head = ["| | seconds | times the first | range | peak MiB |", "|---|---:|---:|---|---:|"]
    return head + [f"| {r['way']} | {r['seconds']:.2f} | {r['ratio']:.2f} | {span(r)} | {_peak(r)} |" for r in rows]


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
    return head + [_gpu_row(row) for row in rows]


def _gpu_row(row: Row) -> str:
    if "length" in row:
        rate = f"{row['tflops']:.1f} | {row['of_ceiling']:.0%}"
        return f"| {row['texts']} x {row['length']:,} | {row['way']} | {row['seconds']:.3f} | {rate} |"
    if "tflops" in row:
        return f"| | {row['way']} | | {row['tflops']:.1f} | 100% |"
    what = (
        f"{row['way']} ({row['cells']} cells of {row['columns']}; making the weights took {row['making']:.0f} s more)"
    )
    return f"| | {what} | {row['seconds']:.1f} | | |"


def _peak(row: Row) -> str:
    return "" if row["peak_mib"] is None else f"{row['peak_mib']:,.0f}"
