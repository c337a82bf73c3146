"""Argument checks shared by the blocks."""

from __future__ import annotations

from collections.abc import Sequence

from ..registry import nearest


def is_positive(value: object) -> bool:
    """Tell whether ``value`` is an int of at least 1 (``True`` is not one)."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def check_positive(block: str, what: str, value: object) -> None:
    """Raise ValueError unless ``value`` is a positive int."""
    if not is_positive(value):
        raise ValueError(f"{block}: {what}={value!r} must be a positive integer; {what}=1 is the smallest")


def check_positives(block: str, what: str, values: object) -> None:
    """Raise ValueError unless ``values`` is a non-empty list of positive ints."""
    if not isinstance(values, Sequence) or isinstance(values, str) or not values or not all(map(is_positive, values)):
        raise ValueError(f"{block}: {what}={values!r} must be a list of positive integers; one for each input map")


def check_divides(block: str, by: str, divisor: int, what: str, value: int) -> None:
    """Raise ValueError unless ``divisor`` divides ``value``, naming the divisors that do."""
    if value % divisor:
        fits = [d for d in range(1, value + 1) if value % d == 0]
        raise ValueError(f"{block}: {by}={divisor} must divide {what}={value}; divisors of {value}: {fits}")


def check_choice(block: str, what: str, value: object, choices: Sequence[str]) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``, of which the first is the default."""
    if not isinstance(value, str) or value not in choices:
        hint = nearest(str(value), choices).strip() or f"the default is {choices[0]!r}"
        raise ValueError(f"{block}: {what}={value!r} must be one of {', '.join(map(repr, choices))}; {hint}")


def check_bool(block: str, what: str, value: object, default: bool = False) -> None:
    """Raise ValueError unless ``value`` is a bool."""
    if not isinstance(value, bool):
        raise ValueError(f"{block}: {what}={value!r} must be true or false; the default is {str(default).lower()}")
