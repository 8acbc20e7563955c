"""A pair: which two checkpoints are compared, how their texts begin, and whether the figures are published for them."""

import hashlib
import tomllib
from dataclasses import asdict, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any, Literal, cast

from dropeact.axes import InputError

Arm = Literal["first", "bos", "separator"]
ARMS: tuple[Arm, ...] = ("first", "bos", "separator")
DEFAULT = "smollm2-135m"
MOST = 2**31  # of tokens and layers: what is more was mistyped
UNKNOWN = 4096  # tokens taken for the training length of a pair that does not say
TEXT, TEXTS, COUNT, FLAG = "a text", "a list of texts", "a whole number", "true or false"
KINDS = {
    "name": TEXT, "rope": TEXT, "drope": TEXT, "title": TEXT, "primary_arm": TEXT, "other_arms": TEXTS,
    "separator": TEXT, "training_length": COUNT, "published": FLAG, "write_layer": COUNT, "limits": TEXTS,
}  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """Two checkpoints (hub id, `ID@revision`, local folder, GGUF file or `embedded:NAME`) and how to measure them."""

    name: str
    rope: str
    drope: str
    title: str = ""
    primary_arm: Arm = "first"
    other_arms: tuple[Arm, ...] = ()
    separator: str | None = None
    training_length: int | None = None
    published: bool = False
    write_layer: int | None = None
    limits: tuple[str, ...] = ("One pair of checkpoints: the inference is to texts for these two.",)

    def __post_init__(self) -> None:
        for key, arms in (("primary_arm", [self.primary_arm]), ("other_arms", self.other_arms)):
            if unknown := [arm for arm in arms if arm not in ARMS]:
                raise InputError(f"expected an arm of {', '.join(ARMS)}; got {unknown[0]!r}; correct {key}")

    def checkpoint(self, column: str) -> str:
        """The identifier behind a column; the dropped column has the RoPE model's weights."""
        return self.drope if column == "drope" else self.rope

    @property
    def long_lengths(self) -> str:
        """The option that asks the set `long` within the training length and beyond it, where no lengths were named."""
        within = self.training_length or UNKNOWN
        return f"--lengths={within},{2 * within}"

    def as_dict(self) -> dict[str, Any]:
        """JSON-able form, kept with the results."""
        return asdict(self) | {"limits": list(self.limits), "other_arms": list(self.other_arms)}


def known() -> dict[str, Pair]:
    """The pairs that ship with the package, by name."""
    files = sorted(resources.files("dropeact.pairs").iterdir(), key=lambda file: file.name)
    pairs = [_read(file.read_text("utf-8"), file.name) for file in files if file.name.endswith(".toml")]
    return {pair.name: pair for pair in pairs}


def load(name: str) -> Pair:
    """A known pair by name, or a pair file (TOML) of the user's own by path."""
    if name in known():
        return known()[name]
    path = Path(name)
    if path.suffix == ".toml":
        try:
            if path.is_file():
                return _read(path.read_text("utf-8"), name)
        except OSError as error:
            from dropeact.files import unread  # and with it xarray, which listing the pairs does without

            raise unread(error, path) or error from None
        except UnicodeDecodeError:
            raise InputError(f"expected a pair file in UTF-8; got other bytes in {name}; save it as UTF-8") from None
    raise InputError(f"expected a pair of {', '.join(known())} or a TOML file; got {name!r}; see `dropeact pairs`")


def of(rope: str, drope: str, *, arm: Arm | None = None) -> Pair:
    """A pair of any two checkpoints, named after them; the known pair where they are one."""
    for pair in known().values():
        if (pair.rope, pair.drope) == (rope, drope):
            return pair
    return Pair(name=f"{_short(rope)}--{_short(drope)}", rope=rope, drope=drope, primary_arm=arm or "first")


def from_dict(values: dict[str, object], where: str = "pair") -> Pair:
    """Read the form of `as_dict`, refusing unknown and missing keys, and values of another kind, by name."""
    if not isinstance(values, dict):
        raise InputError(f"expected the keys of a pair in {where}; got {values!r}; write name, rope and drope")
    allowed = {field.name for field in fields(Pair)}
    if unknown := sorted(set(values) - allowed):
        raise InputError(f"expected keys {', '.join(sorted(allowed))} in {where}; got {unknown[0]!r}; remove it")
    if missing := [key for key in ("name", "rope", "drope") if not isinstance(values.get(key), str)]:
        raise InputError(f'expected {missing[0]} = "..." in {where}; got none; name it')
    for key, value in values.items():
        if not (_is(KINDS[key], value) or (value is None and getattr(Pair, key, "") is None)):
            raise InputError(f"expected {KINDS[key]} as {key} in {where}; got {_shown(value)}; correct it")
    if not (name := str(values["name"])).strip() or "/" in name or name.startswith("."):  # folders are named after it
        raise InputError(f"expected a name without slashes in {where}; got {name!r}; choose another")
    lists = {key: tuple(cast(list, values.get(key, getattr(Pair, key)))) for key in ("limits", "other_arms")}
    return Pair(**cast(dict, values | lists))


def _is(kind: str, value: object) -> bool:
    if kind == TEXTS:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if kind == COUNT:
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST
    return isinstance(value, bool if kind == FLAG else str)


def _shown(value: object) -> str:
    """A value as a message has room for it."""
    if isinstance(value, int) and abs(value) >= MOST:  # Python writes no number of more than 4300 digits
        return f"a number of {value.bit_length()} bits"
    return repr(value)


def _read(text: str, where: str) -> Pair:
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"expected a pair file in TOML; got {where}: {error}; correct that line") from None
    except (ValueError, RecursionError) as error:  # a number, or brackets in brackets, without an end
        reason = str(error).split(";")[0]
        raise InputError(f"expected a pair file in TOML; got {where}: {reason}; correct it") from None
    return from_dict(values, where)


def _short(identifier: str) -> str:
    """A folder name for a checkpoint: its last path part, and a hash where paths could collide."""
    last = identifier.rstrip("/").split("/")[-1].replace(":", "-").replace("@", "-")
    if not Path(identifier).exists():
        return last
    return f"{last}-{hashlib.sha256(str(Path(identifier).resolve()).encode()).hexdigest()[:6]}"
