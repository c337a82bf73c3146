"""The words that this package adds to those of ``yolo train``.

Ultralytics refuses words that it does not know; for a training these are known. A run that does not use them has none
of them in its arguments.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from ...errors import ArgumentError
from ..weights import freezing, learning_rates, loading

TRAIN = {learning_rates.WORD: None, "partial": False}  # word -> what leaving it out means


def knowing_ours(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``check_dict_alignment``: our words are words of a training, and their values are looked at."""

    @functools.wraps(original)
    def check_dict_alignment(base: Mapping[str, Any], custom: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if "lr0" in base and custom.get("mode", "train") == "train":  # not the user's settings
            base = {**TRAIN, **base}
            check_values(custom)
            if "train" in base and custom.get("partial") is True:  # the command line, which may load before it trains
                loading.allow_partial()
        return original(base, custom, *args, **kwargs)

    return check_dict_alignment


def check_values(words: Mapping[str, Any]) -> None:
    """Check the values of our words, and those of Ultralytics' that we gave a meaning.

    Raises:
        ArgumentError: One line with the word, its value and what works.
    """
    learning_rates.check_value(words.get(learning_rates.WORD))
    freezing.check_word(words.get("freeze"))
    partial = words.get("partial", False)
    if not isinstance(partial, bool):
        raise ArgumentError(f"partial={partial} must be True or False")
