"""Make a run the accepted one of its pair: its store, its verdicts and the lock, and say what changed."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from dropeact import bundled
from dropeact.axes import InputError
from dropeact.files import write_text
from dropeact.pairs import DEFAULT
from dropeact.report import write
from dropeact.store import Store
from dropeact.verdicts import expected, judge

TRAJECTORY = "trajectory.nc"
OPEN, CLOSE = "<!-- table -->", "<!-- /table -->"


def accept(directory: Path) -> list[str]:
    """Copy the run beside the others in results/, lock its verdicts, and return one line per verdict that moved."""
    home = bundled.folder("claims").parent / "results"
    if home.parent.name == "_bundled":
        raise InputError("expected a source checkout; got an installed package; accept results in a clone")
    run = Store(directory).read_run()
    if not Store(directory).files():
        raise InputError(f"expected stored results in {directory}; got none; measure again into that folder")
    if not run["sets"]:
        raise InputError(f"expected a run that has ended; got {directory}; the same measuring command completes it")
    pair = run["pair"]["name"]
    before = expected.load(pair)
    target = home / pair
    sizes = {family: 0 for family in before.families}
    records = judge(directory, families=sizes)  # before anything is replaced: a damaged run ends here
    if directory.resolve() != target.resolve():
        _copy(directory, target)
    write_text(expected.path(pair), expected.as_toml(records))
    write(target, replace=True)
    update_readme(target, home.parent / "README.md")
    moved = _moved(before.verdicts, expected.load(pair).verdicts)
    return [f"accepted: {target}", *(moved or ["no verdict changed"])]


def _copy(directory: Path, target: Path) -> None:
    """Replace the accepted results by those of a run."""
    staged = target.with_name(f"{target.name}.tmp")
    shutil.rmtree(staged, ignore_errors=True)
    shutil.copytree(directory / "store", staged / "store", ignore=shutil.ignore_patterns("*.tmp.*"))
    shutil.copy2(directory / "run.json", staged / "run.json")
    if shown := trajectory_of(directory, target):
        shutil.copy2(shown, staged / TRAJECTORY)
    shutil.rmtree(target, ignore_errors=True)
    staged.rename(target)


def _moved(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """One line for each record whose verdict changed, came or went."""
    keys = sorted({*before, *now})
    turned = [(key, before.get(key, "new"), now.get(key, "gone")) for key in keys]
    return [f"{key}: {old} -> {new}" for key, old, new in turned if old != new]


def trajectory_of(run: Path, accepted: Path) -> Path | None:
    """The trajectory of a run: its own, else the accepted one as long as both are of the same weights."""
    if (run / TRAJECTORY).is_file():
        return run / TRAJECTORY
    if not (accepted / TRAJECTORY).is_file() or _weights(run) != _weights(accepted):
        return None
    return accepted / TRAJECTORY


def _weights(directory: Path) -> dict[str, str]:
    checkpoints = Store(directory).read_run()["checkpoints"]
    return {column: checkpoint["sha256"] for column, checkpoint in checkpoints.items()}


def update_readme(results: Path, readme: Path) -> None:
    """Put the first table of FINDINGS.md between the README's markers."""
    text = readme.read_text("utf-8") if readme.is_file() else ""
    before, opened, rest = text.partition(OPEN)
    _, closed, after = rest.partition(CLOSE)
    if opened and closed and results.name == DEFAULT:
        lines = (readme.parent / "FINDINGS.md").read_text("utf-8").splitlines()
        start = next(i for i, line in enumerate(lines) if line.startswith("| claim"))
        end = next(i for i in range(start, len(lines)) if not lines[i].startswith("|"))
        table = "\n".join(lines[start:end]).replace("](#", "](FINDINGS.md#")
        write_text(readme, f"{before}{OPEN}\n{table}\n{CLOSE}{after}")
