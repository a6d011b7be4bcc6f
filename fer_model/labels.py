"""The classes: six expressions, neutral as a seventh, their order, and their names in other datasets.

No other file knows the order of the classes.
"""

from collections.abc import Iterable

EMOTIONS = ("happiness", "surprise", "sadness", "anger", "disgust", "fear")
"""Class names. A name's position is its index in logits, labels and confusion matrices."""

NEUTRAL = "neutral"

EMOTIONS_WITH_NEUTRAL = (*EMOTIONS, NEUTRAL)
"""The same for a model of seven classes. The first six have the same index in both."""

LABEL2ID = {name: index for index, name in enumerate(EMOTIONS_WITH_NEUTRAL)}

COUNTS = {6: "six", 7: "seven"}
"""How many classes a model may have, and the word for it."""

DROPPED = (NEUTRAL, "contempt")
"""Expressions of some datasets that are not among the six. Their images are left out; with seven, neutral stays."""

_ALIASES = {
    "happiness": ("happy", "joy", "joyful", "smile", "smiling"),
    "surprise": ("surprised", "surprising"),
    "sadness": ("sad",),
    "anger": ("angry", "ang"),
    "disgust": ("disgusted", "disgusting"),
    "fear": ("fearful", "afraid", "scared"),
    "neutral": ("neutrality", "natural", "calm"),
    "contempt": ("contemptuous",),
}
_CANONICAL = {alias: name for name, aliases in _ALIASES.items() for alias in (name, *aliases)}


def class_names(count: int) -> tuple[str, ...]:
    """The names of a model's classes, in order: `EMOTIONS`, or with 7 `EMOTIONS_WITH_NEUTRAL`.

    Raises:
        ValueError: `count` is neither 6 nor 7.
    """
    if count not in COUNTS:
        raise ValueError(f"There are models of {' and of '.join(map(str, COUNTS))} classes, not of {count}.")
    return EMOTIONS_WITH_NEUTRAL[:count]


def canonical_name(name: str) -> str | None:
    """The class that a dataset's `name` stands for, such as "anger" for "Angry".

    It is one of `EMOTIONS` or `DROPPED`, or None when the name is unknown. Case, surrounding blanks and a leading
    number ("0_angry", "3-Happy") make no difference.
    """
    word = name.strip().lower().lstrip("0123456789").strip(" _-.:")
    return _CANONICAL.get(word)


def known_by_any(by_class: Iterable[Iterable[str]]) -> list[str]:
    """The classes that at least one of several versions knows, in class order."""
    names = {name for names in by_class for name in names}
    return [name for name in EMOTIONS_WITH_NEUTRAL if name in names]
