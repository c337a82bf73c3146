"""Options that are one word of a few."""

from __future__ import annotations

from collections.abc import Sequence

from ..registry import nearest


def check_choice(block: str, what: str, value: object, choices: Sequence[str]) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``, of which the first is the default."""
    if not isinstance(value, str) or value not in choices:
        hint = nearest(str(value), choices).strip() or f"the default is {choices[0]!r}"
        raise ValueError(f"{block}: {what}={value!r} must be one of {', '.join(map(repr, choices))}; {hint}")
