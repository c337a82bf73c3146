"""How numbers are written: the same in the terminal, in Markdown and on the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ..experiment.costs import Spread
from ..experiment.results import MetricValues
from ..statistics import MetricEffect, verdicts

NONE = "–"  # noqa: RUF001 - the usual sign for "does not apply"
NOT_KNOWN = "n/a"  # measured, but of no use
TIMES = "×"  # noqa: RUF001


class Ends(Protocol):
    """An interval."""

    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...


def points(value: float | None) -> str:
    """Return a metric from 0 to 1 in points of 100."""
    return NONE if value is None else f"{100 * value:.1f}"


def mean_and_sd(found: MetricValues) -> str:
    """Return ``45.3 ± 0.4``."""
    return points(found.mean) + ("" if found.sd is None else f" ± {points(found.sd)}")


def signed(value: float | None) -> str:
    """Return a difference in points with its sign; without it if it rounds to 0."""
    return NONE if value is None else verdicts.signed(value, 1)


def interval(found: Ends | None) -> str:
    """Return the ends of an interval, in points."""
    if found is None or found.low is None or found.high is None:
        return NONE
    return f"{signed(found.low)} to {signed(found.high)}"


def change(found: MetricEffect | None) -> str:
    """Return a difference with its confidence interval: ``+0.6 (-3.0 to +4.1)``."""
    if found is None:
        return NONE
    ends = interval(found.interval)
    return signed(found.seeds.mean) + ("" if ends == NONE else f" ({ends})")


def median_and_range(found: Spread | None, digits: int) -> str:
    """Return the median of a measurement with its 10th and 90th percentile; ``n/a`` without one."""
    if found is None:
        return NOT_KNOWN
    return f"{found.median:.{digits}f} ({found.p10:.{digits}f} to {found.p90:.{digits}f})"


def probability(value: float | None) -> str:
    """Return a p value."""
    if value is None:
        return NONE
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def median_of(found: Spread | None, write: Callable[[float], str]) -> str:
    """Return the median of a measurement, as ``write`` writes it; ``n/a`` without one."""
    return NOT_KNOWN if found is None else write(found.median)


def ratio(value: float | None) -> str:
    """Return a ratio to the baseline: per cent more or less, from 2 on a multiple."""
    if value is None:
        return NONE
    return f"{TIMES}{value:.1f}" if value >= 2 else f"{signed(100 * (value - 1))}%"


def ratio_and_range(found: Spread | None) -> str:
    """Return the median of a ratio to the baseline with its 10th and 90th percentile: ``+6.8% (+6.0% to +8.3%)``."""
    if found is None:
        return NONE
    return f"{ratio(found.median)} ({ratio(found.p10)} to {ratio(found.p90)})"


def amount(value: float | None, scale: float = 1.0, digits: int = 1) -> str:
    """Return ``value / scale`` with ``digits`` decimals."""
    return NONE if value is None else f"{value / scale:.{digits}f}"


def rate(value: float | None) -> str:
    """Return a rate, such as images per second, without decimals from 100 on."""
    return amount(value, digits=0 if value is not None and value >= 100 else 1)


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
