"""How numbers are written, the same in the terminal, in Markdown and on the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NONE = "–"  # noqa: RUF001 - the usual sign for "does not apply"
TIMES = "×"  # noqa: RUF001


def points(value: float | None) -> str:
    """Return a figure from 0 to 1 in points of 100."""
    return NONE if value is None else f"{100 * value:.1f}"


def spread(value: float | None) -> str:
    """Return a standard deviation of a figure from 0 to 1 in points of 100, or nothing where there is none."""
    return "" if value is None else f"± {100 * value:.1f}"


def signed(value: float | None) -> str:
    """Return a difference in points with its sign; what rounds to nothing has none."""
    if value is None:
        return NONE
    text = f"{value:+.1f}"
    return text[1:] if float(text) == 0 else text


def interval(found: Mapping[str, Any] | None) -> str:
    """Return the ends ``low`` and ``high`` of an interval of a difference, points."""
    if not found or found.get("low") is None or found.get("high") is None:
        return NONE
    return f"{signed(found['low'])} to {signed(found['high'])}"


def whole(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what has the ends of a figure's interval: over seeds and images where both are known, else over seeds."""
    ends: Mapping[str, Any] = found["combined"] or found["seeds"]
    return ends


def probability(value: float | None) -> str:
    """Return a p value."""
    if value is None:
        return NONE
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def ratio(value: float | None) -> str:
    """Return a ratio to the baseline: per cent more or less, a multiple from 2 on."""
    if value is None:
        return NONE
    if value >= 2:
        return f"{TIMES}{value:.1f}"
    return f"{signed(100 * (value - 1))}%"


def amount(value: float | None, scale: float = 1.0, digits: int = 1) -> str:
    """Return ``value / scale`` with ``digits`` behind the point."""
    return NONE if value is None else f"{value / scale:.{digits}f}"


def rate(value: float | None) -> str:
    """Return a rate, such as images per second, with three digits that count."""
    if value is None:
        return NONE
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def duration(seconds: float | None) -> str:
    """Return a time in seconds, minutes or hours."""
    if seconds is None:
        return NONE
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def memory(found: float | None) -> str:
    """Return bytes in GiB."""
    return NONE if found is None else f"{found / 2**30:.2f} GiB"


def counted(number: int, thing: str) -> str:
    """Return ``1 seed`` or ``2 seeds``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def listed(things: list[str], most: int = 12) -> str:
    """Return the things joined by commas, of many the first and how many more."""
    more = len(things) - most
    return ", ".join(things) if more <= 0 else f"{', '.join(things[:most])} and {more} more"
