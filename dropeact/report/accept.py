"""Make a run the accepted one of its pair: its store, its verdicts and the lock, and say what changed."""

import contextlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from dropeact import bundled
from dropeact.axes import InputError
from dropeact.files import write_text
from dropeact.report.folder import default_output, write
from dropeact.report.trajectory_figure import read_trajectory
from dropeact.run_file import check_ended
from dropeact.store import Store
from dropeact.verdicts import Record, expected, judge

TRAJECTORY = "trajectory.nc"
OPEN, CLOSE = "<!-- table -->", "<!-- /table -->"


def accept(directory: Path) -> list[str]:
    """Put the run beside the others in results/, lock its verdicts, and return one line per verdict that moved.

    Everything is made in a folder of its own first: a run that cannot be reported leaves what was accepted as it is.
    """
    home = bundled.folder("claims").parent / "results"
    if home.parent.name == "_bundled":
        raise InputError("expected a source checkout; got an installed package; accept results in a clone")
    run = Store(directory).read_run()
    if not Store(directory).files():
        raise InputError(f"expected stored results in {directory}; got none; measure again into that folder")
    check_ended(run, directory)
    pair = run["pair"]["name"]
    target, before = home / pair, expected.load(pair)
    _require_sets(run["sets"], target)
    records = judge(directory, families=dict.fromkeys(before.families, 0))
    home.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{pair}.tmp.", dir=home) as stage:
        root = Path(stage)
        staged = root / target.relative_to(home.parent)
        _copy(directory, staged, target)
        texts = _reported(directory, staged, records, root, target)
        _exchange(staged, target, texts | {expected.path(pair): expected.as_toml(records)}, root / "before")
    moved = _moved(before.verdicts, expected.load(pair).verdicts)
    return [f"accepted: {target}", *(moved or ["no verdict changed"])]


def _require_sets(sets: Sequence[str], target: Path) -> None:
    """Pass where no set of the accepted run is missing: accepting exchanges all of its measurements."""
    held = Store(target).read_run()["sets"] if (target / "run.json").is_file() else []
    if lost := [name for name in held if name not in sets]:
        raise InputError(
            f"expected the sets of the accepted run; got a run without {', '.join(lost)}; measure them into it "
            f"(--only={','.join(held)}), or remove {target} first"
        )


def _copy(directory: Path, staged: Path, target: Path) -> None:
    """The run, with the trajectory that belongs to it, or all there is where it is the accepted one already."""
    scraps = shutil.ignore_patterns("*.tmp.*")
    try:
        if directory.resolve() == target.resolve():
            shutil.copytree(directory, staged, ignore=scraps)
            return
        shutil.copytree(directory / "store", staged / "store", ignore=scraps)
        shutil.copy2(directory / "run.json", staged / "run.json")
        if shown := trajectory_of(directory, target):
            read_trajectory(shown)
            shutil.copy2(shown, staged / TRAJECTORY)
    except shutil.Error as error:
        source, _, why = error.args[0][0]
        raise InputError(f"expected to copy {source}; got {why}; make it readable and try again") from None


def _reported(directory: Path, staged: Path, records: list[Record], root: Path, target: Path) -> dict[Path, str]:
    """Report the staged results as if `root` were the checkout; the texts that lie outside of them, by their place."""
    home = target.parent.parent
    place = default_output(target)
    report = root / place.relative_to(home)
    try:
        write(staged, records=records, output=report, replace=True)
    except InputError as error:
        raise InputError(str(error).replace(str(staged), str(directory))) from None
    if report.is_relative_to(staged):
        return {}
    text = report.read_text("utf-8")
    return {place: text} | with_table(home / "README.md", text)


def _exchange(staged: Path, target: Path, texts: Mapping[Path, str], aside: Path) -> None:
    """Put the staged results in the place of the accepted ones and write the texts in order; all of it or nothing."""
    with contextlib.ExitStack() as undo:
        if target.exists():
            target.rename(aside)
            undo.callback(aside.rename, target)
        staged.rename(target)
        undo.callback(target.rename, staged)
        for path, text in texts.items():
            before = path.read_text("utf-8") if path.is_file() else None
            write_text(path, text)
            undo.callback(_restore, path, before)
        undo.pop_all()


def _restore(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink()
    else:
        write_text(path, text)


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


def with_table(readme: Path, findings: str) -> dict[Path, str]:
    """The README with the first table of FINDINGS.md between its markers, by its place; nothing where it has none."""
    text = readme.read_text("utf-8") if readme.is_file() else ""
    before, opened, rest = text.partition(OPEN)
    _, closed, after = rest.partition(CLOSE)
    if not opened or not closed:
        return {}
    lines = findings.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| claim"))
    end = next(i for i in range(start, len(lines)) if not lines[i].startswith("|"))
    table = "\n".join(lines[start:end]).replace("](#", "](FINDINGS.md#")
    return {readme: f"{before}{OPEN}\n{table}\n{CLOSE}{after}"}
