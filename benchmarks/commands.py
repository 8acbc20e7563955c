"""Commands as a user runs them, each in a new process: start-up, judging, rendering, and two processes for one run."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from dropeact import corpus

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results" / "smollm2-135m"
ROUNDS = 5
TEXTS = 16
SHARED = {"core": "core", "core and observe": "observe"}  # the second measures the first too
TWO = "two processes, one thread each"
ENGINE = "import sys; from pathlib import Path; from dropeact.verdicts import judge; judge(Path(sys.argv[1]))"


def measured() -> list[dict[str, Any]]:
    """Seconds of each command, median of several new processes."""
    python = [sys.executable]
    with tempfile.TemporaryDirectory() as folder:
        mine = shutil.copytree(RESULTS, Path(folder, "mine"))  # of accepted results figures are not painted again
        report = [*python, "-m", "dropeact", "report", str(mine)]
        lines = {
            "start-up: `dropeact --help`": [*python, "-m", "dropeact", "--help"],
            "judge stored results (the engine alone, new process)": [*python, "-c", ENGINE, str(RESULTS)],
            "`pytest -m claims` on stored results": [*python, "-m", "pytest", "-m", "claims", "-q"],
            "`dropeact report` from stored results": report,
            "`dropeact report --html` from stored results": [*report, "--html"],
        }
        return [row(name, [seconds(line) for _ in range(ROUNDS)]) for name, line in lines.items()]


def row(name: str, found: Sequence[float]) -> dict[str, Any]:
    """Median and spread."""
    spread = {"low": round(min(found), 2), "high": round(max(found), 2)}
    return {"way": name, "seconds": round(median(found), 2), "rounds": len(found)} | spread


def seconds(line: Sequence[str], environment: Mapping[str, str] | None = None) -> float:
    """Wall-clock seconds of one process that must succeed."""
    start = time.perf_counter()
    subprocess.run(line, cwd=ROOT, check=True, capture_output=True, env={**os.environ, **(environment or {})})
    return time.perf_counter() - start


def processes() -> list[dict[str, Any]]:
    """Sets on a few texts: one process of one thread, and two that share the run."""
    with tempfile.TemporaryDirectory() as folder:
        texts = Path(folder, "texts.jsonl")
        lines = [json.dumps({"id": text.id, "text": text.text}) for text in corpus.passages()[:TEXTS]]
        texts.write_text("\n".join(lines), "utf-8")
        return [
            row
            for name, sets in SHARED.items()
            for row in _shared_rows(name, *(shared(sets, texts, Path(folder, f"{sets}-{n}"), n) for n in (1, 2)))
        ]


def _shared_rows(name: str, one: float, two: float) -> list[dict[str, Any]]:
    return [
        {"way": f"{name}: one process, one thread", "seconds": round(one, 1), "ratio": 1.0},
        {"way": f"{name}: {TWO}", "seconds": round(two, 1), "ratio": round(one / two, 2)},
    ]


def shared(sets: str, texts: Path, out: Path, count: int) -> float:
    """Wall-clock seconds of a run that `count` processes share."""
    line = [sys.executable, "-m", "dropeact", "measure", f"--only={sets}", f"--texts={texts}", f"--out={out}"]
    single = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "WORLD_SIZE": str(count)}
    start = time.perf_counter()
    ranks = [
        subprocess.Popen(
            line,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **single, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(count)
    ]
    if any([rank.wait() for rank in ranks]):  # a list: every process is waited for
        raise RuntimeError(f"a run shared by {count} failed")
    return time.perf_counter() - start
