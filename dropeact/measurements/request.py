"""What to measure: a pair, the sets and their lengths, the texts, the arm, the device and the precision."""

from dataclasses import dataclass
from functools import cached_property

from dropeact import corpus as corpora
from dropeact.axes import HALVES, InputError
from dropeact.checkpoints import load as checkpoints
from dropeact.corpus import Passage
from dropeact.corpus.retrieval import KEYS
from dropeact.pairs import ARMS, Pair

SETS = ("core", "observe", "behaviour", "ablation", "long")
DTYPES = ("float32", "bfloat16")
DIGITS = 9  # of a number in an option: what is longer was mistyped, and Python reads no more than 4300


@dataclass(frozen=True)
class Request:
    """What to measure, on which texts, and how."""

    pair: Pair
    arm: str = ""
    texts: str | None = None
    sets: str = "core"
    device: str | None = None
    dtype: str = "float32"
    lengths: tuple[int, ...] = ()
    numbers: int = KEYS  # hidden at each depth of the long texts

    def __post_init__(self) -> None:
        """Refuse what cannot be measured, before anything is loaded."""
        for option, value, known in (("--arm", self.first_tokens, ARMS), ("--dtype", self.dtype, DTYPES)):
            if value not in known:
                raise InputError(f"expected {option} among {', '.join(known)}; got {value!r}; choose one of them")
        if self.lengths and "long" not in self.chosen_sets:
            raise InputError("expected --only=long beside --lengths; got other sets; add long, or leave --lengths out")
        if self.numbers < len(HALVES):
            raise InputError(
                f"expected how many numbers to hide at each depth, {len(HALVES)} or more, in --numbers; "
                f"got {self.numbers}; give one to each half"
            )
        if self.numbers != KEYS and "long" not in self.chosen_sets:
            raise InputError("expected --only=long beside --numbers; got other sets; add long, or leave --numbers out")
        if self.device is not None:
            checkpoints.check_device(self.device)

    @property
    def chosen_sets(self) -> tuple[str, ...]:
        """The sets asked for; core is always among them, because the others build on it; `all` is long with lengths."""
        every = SETS if self.lengths else SETS[:-1]
        names = set(every) if self.sets == "all" else {name.strip() for name in self.sets.split(",")}
        if unknown := sorted(names - set(SETS)):
            raise InputError(f"expected sets of {', '.join(SETS)} or all; got {unknown[0]!r}; correct --only")
        if "long" in names and not self.lengths:
            raise InputError(f"expected lengths for the set long; got none; add {self.pair.long_lengths}")
        return tuple(name for name in SETS if name in names | {"core"})

    @property
    def first_tokens(self) -> str:
        """The arm: as asked, or the pair's primary one."""
        return self.arm or self.pair.primary_arm

    @property
    def other_arms(self) -> tuple[str, ...]:
        """The arms in which the pair is observed too, to see what the first token does to a verdict."""
        return tuple(arm for arm in self.pair.other_arms if arm != self.first_tokens)

    @cached_property
    def corpora(self) -> dict[str, tuple[Passage, ...]]:
        """The corpora by name: natural passages (the project's or the user's own) and repeated sentences."""
        natural = corpora.from_file(self.texts) if self.texts else corpora.passages()
        return {"passages": natural, "repeated": corpora.repeated()}


def token_counts(text: str, option: str) -> tuple[int, ...]:
    """The numbers of tokens in a list like `4096,8192`; an empty text gives none.

    Raises
    ------
    InputError
        When one is not a positive whole number.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if wrong := [part for part in parts if not _is_number(part) or not int(part)]:
        raise InputError(f"expected numbers of tokens in {option}; got {_shown(wrong[0])}; write them like 4096,8192")
    return tuple(sorted({int(part) for part in parts}))


def hidden_numbers(text: str, option: str) -> int:
    """How many numbers to hide at each depth; an empty text gives as many as the suite hides by itself.

    Raises
    ------
    InputError
        When it is not a whole number.
    """
    if not text.strip():
        return KEYS
    if not _is_number(text.strip()):
        raise InputError(
            f"expected how many numbers to hide at each depth in {option}; got {_shown(text)}; write it like 4"
        )
    return int(text)


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) <= DIGITS


def _shown(text: str) -> str:
    """What was written, or the beginning of what fills the screen."""
    return repr(text) if len(text) <= 2 * DIGITS else f"{text[:DIGITS]!r} and {len(text) - DIGITS} characters more"
