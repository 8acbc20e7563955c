"""The checks of an audit: a TOML file in, one `Check` per printed figure out."""

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dropeact.axes import InputError
from dropeact.published import Number, read_toml

BASES = ("raw", "holds", "none", "outside")
_INHERITED = ("where", "unit", "step", "note", *BASES[2:], "elsewhere_where")
_PRINTED = re.compile(r"([<>~]?) ?([+-]?)([\d,]*\d)(?:\.(\d+))?(?:e([+-]?\d+))?", re.IGNORECASE)


@dataclass(frozen=True)
class Printed:
    """A figure as it was printed: its text, its value, the place value of its last digit, and `<` or `>` if a bound."""

    text: str
    value: Number
    step: Number
    bound: str = ""

    def admits(self, figure: Number, *, step: Number = 0) -> bool:
        """Tell whether the figure behind the printed one can be `figure`, itself rounded to `step` (0: not rounded).

        |figure - value| <= (own step + step) / 2, or the bound holds
        """
        if self.bound:
            return figure < self.value if self.bound == "<" else figure > self.value
        return abs(figure - self.value) <= (self.step + step) / 2 * (1 + 1e-6)


@dataclass(frozen=True)
class Check:
    """One printed figure and how to recompute it; every field but the first five may be absent.

    `raw`: the expression that gives the figure. `holds`: a condition without which the figure means nothing, `shows`
    the number behind it. `none`: why there is no raw figure, `nearest` the closest one there is. `outside`: why it is
    not judged. `elsewhere`: what the same text prints for the same quantity; `elsewhere_raw`: what its data give.
    `also`: further figures, shown and not judged. `figure`: its place in the catalogue's `figures` of `claims[0]`.
    """

    id: str
    claims: tuple[str, ...]
    where: str
    what: str
    printed: Printed
    unit: str = ""
    raw: str = ""
    holds: str = ""
    shows: str = ""
    none: str = ""
    nearest: str = ""
    outside: str = ""
    elsewhere: Printed | None = None
    elsewhere_raw: str = ""
    elsewhere_where: str = ""
    also: tuple[tuple[str, str], ...] = ()
    figure: str = ""
    note: str = ""


def read_checks(file: Path) -> tuple[Check, ...]:
    """Read the checks of a TOML file, `[[check]]` tables with `rows`; a row inherits the table's where, unit and so on.

    Raises
    ------
    InputError
        If the file is no TOML, or a check lacks a key, has an unknown one, or an id twice; it names the check.
    """
    tables = read_toml(file).get("check")
    if not isinstance(tables, list) or not tables:
        raise InputError(f"expected [[check]] tables in {file}; got none; see docs/audit.md")
    checks = tuple(check for table in tables for check in _checks(table))
    seen: set[str] = set()
    for check in checks:
        if check.id in seen:
            raise InputError(f"expected each check id once; got {check.id!r} twice in {file}; rename one")
        seen.add(check.id)
    return checks


def printed(text: str, step: Number | None = None) -> Printed:
    """Read a printed figure; without `step` its last digit is the last one written (`~20` needs a step)."""
    match = _PRINTED.fullmatch(text)
    if match is None or (match[1] == "~" and step is None):
        raise InputError(f"expected a printed figure such as 1,508 or < 1e-48, or ~20 with a step; got {text!r}")
    bound, sign, whole, decimals, exponent = match.groups(default="")
    scale = 10.0 ** int(exponent or 0)
    value = float(f"{sign}{whole.replace(',', '')}.{decimals or 0}e{exponent or 0}")
    return Printed(text, value, step or scale * 10.0 ** -len(decimals), bound.strip("~"))


def _checks(table: Any) -> list[Check]:
    if not isinstance(table, dict) or not isinstance(table.get("id"), str) or not isinstance(table.get("rows"), list):
        raise InputError(f"expected an id and rows in every [[check]]; got {str(table)[:60]}; see docs/audit.md")
    inherited = {key: value for key, value in table.items() if key in _INHERITED}
    if unknown := set(table) - set(_INHERITED) - {"id", "claims", "rows"}:
        raise InputError(
            f"expected no {', '.join(sorted(unknown))} in check {table['id']}; correct or move it to a row"
        )
    return [_check(table["id"], tuple(table.get("claims", ())), inherited, row) for row in table["rows"]]


def _check(table: str, claims: tuple[Any, ...], inherited: dict[str, Any], row: Any) -> Check:
    if not isinstance(row, dict):
        raise InputError(f"expected rows of {{ key = value }} in check {table}; got {str(row)[:60]}; correct it")
    name = f"{table}/{row.get('id', '?')}"
    own_basis = any(base in row for base in BASES)
    kept = {key: value for key, value in inherited.items() if not (own_basis and key in BASES)}
    values = kept | row
    _validate(name, values)
    step, also = values.pop("step", None), values.pop("also", {})
    try:
        values["printed"] = printed(values["printed"], step)
        if "elsewhere" in values:
            values["elsewhere"] = printed(values["elsewhere"])
    except InputError as error:
        raise InputError(f"check {name}: {error}") from None
    return Check(**values | {"id": name, "claims": tuple(map(str, claims)), "also": tuple(also.items())})


def _validate(name: str, values: dict[str, Any]) -> None:
    allowed = {field.name for field in fields(Check)} - {"claims"} | {"step"}
    missing = {"id", "what", "where", "printed"} - set(values)
    if wrong := missing | (set(values) - allowed):
        raise InputError(f"expected other keys in check {name}; missing or unknown: {', '.join(sorted(wrong))}")
    also, step = values.get("also", {}), values.get("step", 1)
    texts = {key: value for key, value in values.items() if key not in {"also", "step"}}
    if isinstance(also, dict):
        texts |= {f"also.{key}": value for key, value in also.items()}
    untyped = [key for key, value in texts.items() if not isinstance(value, str)]
    untyped += ["also"] * (not isinstance(also, dict))
    untyped += ["step"] * (not isinstance(step, int | float) or not 0 < step < float("inf"))
    if untyped:
        raise InputError(f"expected text (step: a positive number) in check {name}; got another {', '.join(untyped)}")
    if sum(base in values for base in BASES) != 1:
        raise InputError(f"expected exactly one of {', '.join(BASES)} in check {name}; correct it")
