"""Compare runs that are not finished: the best mAP50-95 on val up to the same epoch."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

METRIC = "val mAP50-95"


@dataclass(slots=True)
class Curve:
    """mAP50-95 on val of a run's epochs, from 0 to 1, and whether the run is finished."""

    values: Sequence[float | None] = ()
    done: bool = False

    def best(self, epochs: int | None = None) -> float | None:
        """Return the highest value, of the first ``epochs`` if given."""
        return max((value for value in self.values[:epochs] if value is not None), default=None)


def mean_best(curves: Sequence[Curve]) -> float | None:
    """Return the mean over the finished runs, before one is finished over the others, in points of 100."""
    counting = [curve for curve in curves if curve.done] or curves
    return _mean(100 * best for curve in counting if (best := curve.best()) is not None)


def mean_difference(pairs: Iterable[tuple[Curve, Curve]]) -> float | None:
    """Return the mean over pairs of a variant's and a base's run, in points of 100.

    A pair counts with as many epochs as both have; two finished runs with all of theirs.
    """
    differences = []
    for mine, its in pairs:
        epochs = None if mine.done and its.done else min(len(mine.values), len(its.values))
        a, b = mine.best(epochs), its.best(epochs)
        if a is not None and b is not None:
            differences.append(100 * (a - b))
    return _mean(differences)


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return statistics.fmean(known) if known else None
