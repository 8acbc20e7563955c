"""Numbers and names as a reader sees them; one place, so that the report and the terminal agree."""

from math import isfinite
from typing import Any

from dropeact.one_model import NAMES
from dropeact.verdicts.records import Record

MARKS = {
    "supported": "✔ supported",
    "contradicted": "✘ contradicted",
    "inconclusive": "≈ inconclusive",
    "untestable": "∅ untestable",
    "not applicable": "– not applicable",
    "not measured": "· not measured",
}
EXPERIMENTS = {
    "1": "Massive values",
    "2": "Disruption of massive values",
    "3": "Parametric and contextual knowledge",
    "4": "Sinks, first-token norm, compression",
    "5": "First-token value and write",
    "6": "Layer ablations",
    "7": "Attention patterns",
    "8": "Residual balance at the write layer",
    "9": "Residual balance across layers",
    "10": "Context length and retrieval",
    "upstream": "Upstream findings",
    "own": "Claims of your own",
}


FIGURES = {
    "layers": "only in layer",
    "p_between": "p <",
    "cohens_d": "Cohen's d >",
    "p_paired_rope": "p within RoPE <",
    "p_paired_drope": "p within DroPE <",
    "r": "r =",
    "llama2_7b_dims": "Llama-2-7B, channels",
    "llama2_7b": "Llama-2-7B",
    "mistral_7b": "Mistral-7B",
    "llama3_8b": "Llama-3-8B",
    "smollm_360m_niah_2x": "SmolLM-360M at twice the length",
    "off_by_one_length": "one digit more or less",
}
PLACES = ("llama2_7b_dims",)
SHORT = {"ppl": "perplexity", "sd": "(standard deviation)", "imdb": "reviews", "bos": "first key", "v": "value"}
PARTS = 20


def number(value: float | None, digits: int = 3) -> str:
    """A number to `digits` significant digits, thousands separated; an em dash where there is none."""
    if value is None or not isfinite(value):
        return "—"
    if value != 0 and (abs(value) >= 10_000 or abs(value) < 0.0005):
        return f"{value:,.0f}" if 10_000 <= abs(value) < 1e7 else f"{value:.{digits - 1}e}"
    decimals = max(0, digits - len(str(int(abs(value)))) + (1 if abs(value) < 1 else 0))
    return f"{value:,.{decimals}f}"


def signed(record: Record, value: float | None) -> str:
    """A number with its sign where the scale is a difference."""
    text = number(value)
    return f"+{text}" if record.region["scale"] == "difference" and value is not None and value > 0 else text


def interval(record: Record) -> str:
    """The interval in brackets; `exact` where the quantity does not vary over texts."""
    if record.estimate is None:
        return "—"
    if record.exact or record.n == 1:  # one part of a statement may vary no more where others do
        return "exact"
    return between(record, record.low, record.high)


def between(record: Record, low: float | None, high: float | None) -> str:
    """Two ends in brackets, infinite where there is none."""
    ends = ("−∞" if low is None else signed(record, low), "∞" if high is None else signed(record, high))
    return f"[{', '.join(ends)}]"


def measured(record: Record) -> str:
    """Estimate, interval and unit on one line."""
    if record.estimate is None:
        return "—"
    label = f" ({record.label})" if record.label else ""
    unit = "" if record.unit == "ratio" else f" {record.unit}"
    return f"{signed(record, record.estimate)} {interval(record)}{unit}{label}"


def region(record: Record) -> str:
    """The declared region in words."""
    scale, low, high = record.region["scale"], record.region["low"], record.region["high"]
    if low is not None and high is not None:
        return f"{scale} in {number(low)} … {number(high)}"
    return f"{scale} ≥ {number(low)}" if low is not None else f"{scale} ≤ {number(high)}"


def figure(value: Any) -> str:
    """A published figure: a number, or several."""
    if isinstance(value, (list, tuple)):
        return ", ".join(figure(item) for item in value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,g}"


def headline(record: Record) -> str:
    """The one published figure that the table shows: that of the part shown, what is judged, else the first two."""
    figures = record.published or {}
    if (part := record.label.lower()) in figures:
        return told(part, figures[part])
    if "change" in figures:
        return f"{100 * figures['change']:+.3g}%"
    for key, form in (("ratio", "{:,g}×"), ("rate", "{:.1%}"), ("difference", "{:+g}"), ("r", "r = {:g}")):
        if key in figures and not isinstance(figures[key], (list, tuple)):
            return form.format(figures[key])
    shown = [told(key, value) for key, value in figures.items() if not key.endswith("_sd")]
    return "; ".join(shown[:2]) or "—"


def published(record: Record) -> str:
    """The published figures by name."""
    if not record.published:
        return "—"
    return "; ".join(told(key, value) for key, value in record.published.items())


def told(key: str, value: Any) -> str:
    """A published figure with its name; what tells places, and counts nothing, has no separators."""
    return f"{named(key)} {', '.join(map(str, value)) if key in PLACES else figure(value)}"


def named(key: str) -> str:
    """What a published figure is called: the model by its name, a length by its tokens."""
    if key in FIGURES:
        return FIGURES[key]
    if key.isdigit():
        return f"{int(key):,} tokens"
    return " ".join(NAMES.get(word, SHORT.get(word, word)) for word in key.split("_"))


def anchor(record: Record) -> str:
    """Where a link to the record leads in either form of the report; a claim has one record besides its magnitude."""
    return f"{record.id}-magnitude" if record.kind == "magnitude" else record.id


def parts(record: Record) -> str:
    """Every part of a compound statement with its interval; of many the first ones."""
    shown = []
    for part in record.parts:
        low, high = part["low"], part["high"]
        spread = "exact" if low is not None and low == high else between(record, low, high)
        shown.append(f"{part['label']} {signed(record, part['estimate'])} {spread}")
    more = f"; and {len(shown) - PARTS} others" if len(shown) > PARTS else ""
    return f"{'; '.join(shown[:PARTS])}{more}"
