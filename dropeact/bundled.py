"""Where the data files are: beside the package in a source checkout, inside it in an installed wheel."""

from pathlib import Path

from dropeact.axes import InputError

NAMES = ("claims", "fixtures", "report_templates", "results")
_PACKAGE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """Find the folder of data files called `name`.

    The repository's top-level folder where `dropeact/` sits beside a pyproject.toml, else `dropeact/_bundled/<name>`.

    Raises
    ------
    InputError
        If `name` is none of `NAMES`, or neither place has it.
    """
    if name not in NAMES:
        raise InputError(f"expected one of {', '.join(NAMES)}; got {name!r}; ask for a folder the package carries")
    checkout = _PACKAGE.parent / name
    if (_PACKAGE.parent / "pyproject.toml").is_file() and checkout.is_dir():
        return checkout
    installed = _PACKAGE / "_bundled" / name
    if not installed.is_dir():
        raise InputError(f"expected the folder {name}; found neither {checkout} nor {installed}; reinstall dropeact")
    return installed


def is_accepted(results: Path) -> bool:
    """Whether a folder of results lies among the accepted ones."""
    return (folder("claims").parent / "results").resolve() in results.resolve().parents
