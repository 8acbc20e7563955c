"""Under which protocol a claim is asked: which texts and arm, where Q and K are read, which thresholds count."""

from dataclasses import dataclass
from typing import Literal

from dropeact.axes import MASSIVE_THRESHOLD, SINK_LENGTH, SINK_THRESHOLD


@dataclass(frozen=True)
class Protocol:
    """Which texts, which arm, where Q and K are read, which mean a norm is compared with, and thresholds."""

    corpus: str = "passages"
    arm: str = "first"
    site: Literal["attended", "projected"] = "attended"
    mean_over: Literal["layer", "head"] = "layer"
    massive_threshold: float = MASSIVE_THRESHOLD
    sink_threshold: float = SINK_THRESHOLD
    sink_length: int = SINK_LENGTH

    @property
    def is_published(self) -> bool:
        """Whether this is the study's own way: repeated sentences, Q and K as projected."""
        return self.corpus == "repeated" and self.site == "projected"

    def __str__(self) -> str:
        """Texts and arm, and where Q and K are read if not as attended, and their mean if not the layer's."""
        site = "" if self.site == "attended" else f"Q and K as {self.site}"
        mean = "" if self.mean_over == "layer" else f"massive by the {self.mean_over}'s mean"
        return "; ".join(filter(None, (f"{self.corpus}, {self.arm} arm", site, mean)))
