"""The findings of an audit: a check and the recorded figures in, a verdict with both numbers out."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from dropeact.audit.checks import Check, read_checks
from dropeact.audit.expressions import Evaluate, ExpressionError, evaluator
from dropeact.axes import InputError
from dropeact.published import Number, read_json

Verdict = Literal["reproduced", "not reproduced", "contradicted", "no raw figure", "out of scope"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
DIFFERENT: tuple[Verdict, ...] = ("contradicted", "not reproduced")
SLIGHT = 0.01


@dataclass(frozen=True)
class Finding:
    """What became of one printed figure.

    `recomputed` is what the raw figures give (the nearest one where the verdict is "no raw figure"), `rival` the
    figure elsewhere for the same quantity. None where there is none.
    """

    check: Check
    verdict: Verdict
    recomputed: float | None = None
    rival: float | None = None
    also: tuple[tuple[str, float], ...] = ()

    @property
    def id(self) -> str:
        """Name the check, `table/row`."""
        return self.check.id

    @property
    def differs(self) -> bool:
        """Tell whether printed and recomputed differ, or another figure excludes the printed one."""
        return self.verdict in DIFFERENT

    @property
    def against(self) -> float | None:
        """Give the figure that decided: the rival of a contradicted one, else the recomputed."""
        return self.rival if self.verdict == "contradicted" and self.rival is not None else self.recomputed

    @property
    def comparable(self) -> bool:
        """Tell whether the two figures measure one thing on a scale: no bound, no condition, no layer number."""
        return self.against is not None and not (self.check.printed.bound or self.check.holds or self.layered)

    @property
    def layered(self) -> bool:
        """Tell a layer number from a quantity."""
        return self.check.unit == "layer"

    @property
    def ratio(self) -> float | None:
        """Divide the deciding figure by the printed one; None where either is 0, or not comparable, or signs differ."""
        if not self.comparable or self.against is None or self.check.printed.value * self.against <= 0:
            return None
        return self.against / self.check.printed.value

    @property
    def slight(self) -> bool:
        """Tell a difference of under 1 % from a larger one."""
        return self.differs and self.ratio is not None and abs(math.log(self.ratio)) < SLIGHT

    @property
    def printed_text(self) -> str:
        """Write the printed figure with its unit."""
        return with_unit(self.check.printed.text, self.check.unit)

    @property
    def found_text(self) -> str:
        """Write the deciding figure with its unit, one digit finer than the printed one, and where it stands."""
        if self.against is None:
            return ""
        excluded = self.verdict == "contradicted" and self.rival is not None
        if excluded and self.check.elsewhere:
            return f"{with_unit(self.check.elsewhere.text, self.check.unit)} ({self.check.elsewhere_where})"
        unit = "" if self.check.holds else self.check.unit
        text = with_unit(number(self.against, self.check.printed.step), unit)
        return f"{text} ({self.check.elsewhere_where})" if excluded else text

    @property
    def difference_text(self) -> str:
        """Write by how much the deciding figure differs: in percent of the printed one, or as a factor."""
        if not self.differs or self.ratio is None:
            return ""
        if self.ratio >= 2 or self.ratio <= 0.5:
            return f"{self.ratio:.1f} times" if self.ratio >= 2 else f"1/{1 / self.ratio:.1f}"
        return f"{100 * (self.ratio - 1):+.1f} %"

    @property
    def also_text(self) -> str:
        """Write the further figures that the data give."""
        return "; ".join(f"{name}: {number(value)}" for name, value in self.also)

    @property
    def note(self) -> str:
        """Join the reason for which there is no raw figure, or none is asked, and the check's note."""
        return "; ".join(filter(None, (self.check.none * (self.verdict == "no raw figure"), self.check.note)))


def audit(checks_path: Path, evidence_path: Path) -> tuple[Finding, ...]:
    """Judge every check of a TOML file by the figures of a JSON file, in the order of the file (docs/audit.md).

    Raises
    ------
    InputError
        If a file cannot be read, a check is malformed, or an expression cannot be evaluated; it names the place.
    """
    evaluate = evaluator(read_json(evidence_path))
    return tuple(judge(check, evaluate) for check in read_checks(checks_path))


def judge(check: Check, evaluate: Evaluate) -> Finding:
    """Recompute one printed figure and compare.

    Contradicted: another figure for the same quantity, or a condition the figure rests on, excludes it; this goes
    before not reproduced. Reproduced: the recomputed figure rounds to the printed digits.

    Raises
    ------
    InputError
        If an expression cannot be evaluated; it names the check and the key.
    """

    def value(key: str, expression: str) -> float:
        try:
            return evaluate(expression)
        except ExpressionError as error:
            raise InputError(f"check {check.id}: {key} = {expression!r}: {error}; correct it or the figures") from None

    shown = {"raw": check.raw, "shows": check.shows, "nearest": check.nearest}
    recomputed = next((value(key, expression) for key, expression in shown.items() if expression), None)
    rival = check.elsewhere.value if check.elsewhere else None
    if check.elsewhere_raw:
        rival = value("elsewhere_raw", check.elsewhere_raw)
    holds = value("holds", check.holds) != 0 if check.holds else True
    also = tuple((name, value(f"also.{name}", expression)) for name, expression in check.also)
    return Finding(check, _verdict(check, holds, recomputed, rival), recomputed, rival, also)


def _verdict(check: Check, holds: bool, recomputed: float | None, rival: float | None) -> Verdict:
    if check.outside:
        return "out of scope"
    rounding = check.elsewhere.step if check.elsewhere else 0.0
    if not holds or (rival is not None and not check.printed.admits(rival, step=rounding)):
        return "contradicted"
    if check.none:
        return "no raw figure"
    if check.raw and recomputed is not None and not check.printed.admits(recomputed):
        return "not reproduced"
    return "reproduced"


def with_unit(text: str, unit: str) -> str:
    """Write a figure with its unit."""
    return f"layer {text}" if unit == "layer" else text + ("" if unit in ("", "×") else " ") + unit


def number(value: Number, step: Number | None = None) -> str:
    """Write a number one digit finer than `step`, with at least three significant digits."""
    if value and (abs(value) < 1e-4 or step is None):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    if value % 1 == 0:
        return f"{value:,.0f}"
    places = math.floor(math.log10(abs(value)))  # of the leading digit
    finer = 1 - math.floor(math.log10(step or 1.0) + 1e-9)
    return f"{value:,.{max(0, min(max(finer, 2 - places), 4 - places, 6))}f}"
