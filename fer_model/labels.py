"""The six expressions, their order, and the names other datasets use for them.

This is the only place that knows the order of the classes.
"""

EMOTIONS = ("happiness", "surprise", "sadness", "anger", "disgust", "fear")
"""Class names; a name's position is its index in logits, labels and confusion matrices."""

ID2LABEL = dict(enumerate(EMOTIONS))
LABEL2ID = {name: index for index, name in ID2LABEL.items()}

DROPPED = ("neutral", "contempt")
"""Expressions that some datasets hold and this model does not know; their images are left out."""

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


def canonical_name(name: str) -> str | None:
    """The class a dataset's `name` stands for, e.g. "Angry" -> "anger".

    Returns one of `EMOTIONS` or `DROPPED`, or None when the name is unknown.
    Case, surrounding blanks and a leading number ("0_angry", "3-Happy") do not count.
    """
    word = name.strip().lower().lstrip("0123456789").strip(" _-.:")
    return _CANONICAL.get(word)
