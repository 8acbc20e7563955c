"""The wheel, built and installed into a folder of its own, serves a user whose folder is empty."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import dropeact

ROOT = Path(__file__).parents[1]
MISSING = [name for name in ("build", "hatchling", "pip") if importlib.util.find_spec(name) is None]

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {' and '.join(MISSING)}; pip install -e '.[dev]'")


def succeeded(*line, cwd, **environment):
    """What a command says that ends well; nothing of this session's environment but the named variables reaches it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHON", "COV_"))}
    kept.pop("CI", None)
    run = subprocess.run(
        list(map(str, line)), capture_output=True, text=True, cwd=cwd, env=kept | environment, timeout=300, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Where the wheel is installed, alone."""
    home = tmp_path_factory.mktemp("wheel")
    succeeded(sys.executable, "-m", "build", "--wheel", "--no-isolation", f"--outdir={home / 'dist'}", ROOT, cwd=home)
    (wheel,) = (home / "dist").glob("*.whl")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    succeeded(*pip, f"--target={home / 'site'}", wheel, cwd=home)
    return home / "site"


@pytest.fixture
def command(installed, tmp_path):
    """`dropeact ...` of the wheel, in an empty folder."""

    def run(*arguments, cwd=tmp_path):
        line = [sys.executable, installed / "bin" / "dropeact", *arguments]
        return succeeded(*line, cwd=cwd, PYTHONPATH=str(installed))

    return run


def test_nothing_but_dropeact_lands_among_the_packages(installed):
    names = {place.name for place in installed.iterdir()}
    assert names == {"dropeact", f"dropeact-{dropeact.__version__}.dist-info", "bin"}
    carried = {place.name for place in (installed / "dropeact" / "_bundled").iterdir()}
    assert {"claims", "fixtures", "report_templates", "results", "conftest.py", "pyproject.toml"} <= carried


def test_the_installed_package_is_the_one_that_runs(installed, tmp_path):
    code = "import dropeact; print(dropeact.__file__)"
    said = succeeded(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(installed))
    assert Path(said.strip()).is_relative_to(installed)


def test_claims_are_listed_and_explained_in_an_empty_folder(command, tmp_path):
    assert "massive-query-reduction" in command("claims")
    said = command("explain", "massive-query-reduction")
    assert "DroPE has fewer massive Query values" in said
    assert list(tmp_path.iterdir()) == []


def test_the_accepted_results_are_judged_and_reported_in_an_empty_folder(command, installed, tmp_path):
    results = installed / "dropeact" / "_bundled" / "results" / "smollm2-135m"
    before = {file: file.stat().st_mtime_ns for file in results.rglob("*")}
    said = command("verify", f"--results={results}")
    assert "verdicts: smollm2-135m" in said
    assert "written: FINDINGS.md" in said
    assert (tmp_path / "FINDINGS.md").read_text().startswith("# ")
    assert {file: file.stat().st_mtime_ns for file in results.rglob("*")} == before
    assert "1 passed" in command("verify", f"--results={results}", "-k", "sink-rate-rope", cwd=ROOT)  # a checkout
