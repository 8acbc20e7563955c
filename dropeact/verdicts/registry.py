"""Claims as registered functions: measurements -> Estimate, with the region declared beside the statement."""

import hashlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from dropeact import bundled, published
from dropeact.axes import InputError
from dropeact.estimators import Region
from dropeact.measured import Measured
from dropeact.pairs import Pair
from dropeact.verdicts.rule import Outcome

Kind = Literal["direction", "magnitude", "equivalence"]
Layers = Literal["all", "write", "literal"]
Sets = Literal["core", "observe", "behaviour", "ablation", "long"]
ProtocolName = Literal["natural", "replication"]
Function = Callable[[Measured], Outcome]

REGISTRY: dict[str, "Claim"] = {}


@dataclass
class Claim:
    """One published statement: how it is measured, where it must lie to hold, and who said it."""

    id: str
    function: Function
    region: Region
    kind: Kind
    experiment: str
    layers: Layers
    set: Sets
    family: str
    note: str
    revised: str = ""  # what was decided of it when results of the default pair were known
    replication: Function | None = None
    replication_region: Region | None = None
    replication_protocol: ProtocolName = "replication"
    module: str = field(default="", compare=False)

    @property
    def statement(self) -> str:
        """The first paragraph of the function's docstring."""
        text = inspect.getdoc(self.function) or ""
        return " ".join(text.split("\n\n")[0].split())

    @property
    def formula(self) -> str:
        """What follows the statement in the docstring: how the quantity is computed."""
        return "\n\n".join((inspect.getdoc(self.function) or "").split("\n\n")[1:])

    def source_hash(self, kind: Kind) -> str:
        """Content hash of what makes a record of this kind, to see whether it changed since it was accepted."""
        function = self.function if kind != "magnitude" or self.replication is None else self.replication
        return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()[:12]

    @property
    def is_own(self) -> bool:
        """Whether it is a user's own: of a file outside the project's claims."""
        return self.file.parent != bundled.folder("claims")

    @property
    def file(self) -> Path:
        """Where the function stands, under whatever decorators."""
        return Path(inspect.unwrap(self.function).__code__.co_filename)

    def magnitude(self, region: Region, *, protocol: ProtocolName = "replication") -> Callable[[Function], Function]:
        """Register how the published figure is judged on the published pair, inside which region, on which texts."""

        def register(function: Function) -> Function:
            self.replication, self.replication_region, self.replication_protocol = function, region, protocol
            return function

        return register

    def replicated_within(self, region: Region, *, protocol: ProtocolName = "replication") -> "Claim":
        """Judge the published figure with the claim's own quantity, inside `region`."""
        self.magnitude(region, protocol=protocol)(self.function)
        return self

    def records_on(self, pair: Pair) -> tuple[tuple[Kind, Function, Region], ...]:
        """(kind, function, region) of each record that this claim has on a pair.

        On the published pair a direction and, where a figure is published, a magnitude record; elsewhere one record.
        """
        own = (self.kind, self.function, self.region)
        if pair.published and self.replication is not None and self.replication_region is not None:
            return own, ("magnitude", self.replication, self.replication_region)
        return (own,)


def claim(
    id: str,
    *,
    region: Region,
    experiment: int | str | None = None,
    kind: Kind | None = None,
    layers: Layers = "all",
    set: Sets = "core",
    family: str | None = None,
    note: str = "",
    revised: str = "",
) -> Callable[[Function], Claim]:
    """Register the decorated function (measured -> outcome; docstring = statement) as the claim `id`.

    `revised` says what of it was decided when results were known; the report counts such claims on its first page.

    Raises
    ------
    InputError
        If the id is taken, a word is none of those known, or the function states nothing.
    """
    for name, given, known in (("set", set, Sets), ("layers", layers, Layers), ("kind", kind, Kind)):
        if given is not None and given not in get_args(known):
            raise InputError(
                f"expected {name}= of claim {id!r} among {', '.join(get_args(known))}; got {given!r}; give one of them"
            )

    def register(function: Function) -> Claim:
        source = published.claims().get(id)
        where = str(experiment if experiment is not None else source.experiment if source else "own")
        made = Claim(
            id=id,
            function=function,
            region=region,
            kind=kind or ("equivalence" if region.is_margin else "direction"),
            experiment=where,
            layers=layers,
            set=set,
            family=family or (f"experiment {where}" if where.isdigit() else where),
            note=note,
            revised=revised,
            module=function.__module__,
        )
        if not made.statement and sys.flags.optimize > 1:
            raise InputError(
                "expected docstrings, which state the claims; got Python started with -OO; start it without"
            )
        if not made.statement:
            raise InputError(f"expected a statement; got claim {id!r} without a docstring; write what it claims")
        known = REGISTRY.get(id)
        if known is not None and inspect.getsourcefile(known.function) != inspect.getsourcefile(function):
            raise InputError(f"expected one claim per id; got {id!r} twice; rename the one in {function.__module__}")
        REGISTRY[id] = made
        return made

    return register


def load_claims(paths: Iterable[Path] = ()) -> dict[str, Claim]:
    """Import every claim file of the project and of `paths` (files or folders), and return the registry by id.

    Raises
    ------
    InputError
        If one of `paths` has no Python file, or none that claims anything.
    """
    folders = [bundled.folder("claims"), *paths]
    for folder in folders:
        files = sorted(folder.glob("test_*.py")) if folder.is_dir() else [folder]
        if not files or not all(file.is_file() and file.suffix == ".py" for file in files):
            raise InputError(f"expected claim files test_*.py; got {folder}; give a Python file or a folder of them")
        for file in files:
            import_claims(file)
        if not any(registered_by(file) for file in files):
            raise InputError(f"expected a claim in {folder}; got none; decorate its function with @claim in that file")
    return dict(sorted(REGISTRY.items()))


def registered_by(file: Path) -> list[Claim]:
    """The claims that a file registers: what it imports from elsewhere is not its own."""
    return [claim for claim in REGISTRY.values() if claim.module == _module_of(file)]


def import_claims(file: Path) -> None:
    """Import one claim file under a name of its own, once per process.

    Raises
    ------
    InputError
        If it is no Python, or what it does when it is imported fails.
    """
    name = _module_of(file)
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, InputError) or not isinstance(error, Exception | SystemExit):
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(
            f"expected claims that can be imported from {file}; got {reason}{_line(error, file)}; correct it"
        ) from error


def _module_of(file: Path) -> str:
    return f"dropeact_claims_{hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:8]}_{file.stem}"


def _line(error: BaseException, file: Path) -> str:
    """Where in the file it happened; a SyntaxError names its line itself."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return f" (line {frames[-1].lineno})" if frames else ""
