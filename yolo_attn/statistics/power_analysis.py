"""Compute the power of a comparison: the difference that it detects, and the seeds that detect a smaller one.

``difference``, ``se`` (the standard error from the seeds) and ``sd`` (the standard deviation of the difference of two
runs) are in points. ``df`` is the degrees of freedom of the estimate of ``se``. ``shared`` is the variance from the
test images in points squared, which more seeds do not reduce; ``images`` is their number, ``image_se`` the standard
error of the mean difference over sets of images. ``level`` is the test's.
"""

from __future__ import annotations

import bisect
import math

import numpy as np

from .seed_and_image_intervals import half_width

WANTED = 0.8
MOST_SEEDS = 1_000
_MIDDLES = (np.arange(500) + 0.5) / 500  # midpoints of equal parts of the distribution of the measured spread


def power(
    difference: float, se: float, df: float, shared: float, images: int, level: float, image_se: float = 0.0
) -> float:
    """Return the probability that a true difference is detected, if ``se`` is the true standard error.

    Without variance from the images it follows from the noncentral t distribution. With it there is no closed form: the
    measured variance of the seeds is integrated over its chi-squared distribution.
    """
    from scipy import stats  # type: ignore[import-untyped]

    spread = _spread(se, shared, image_se)
    if spread == 0:
        return float(difference != 0)
    if shared == image_se == 0:
        limit = stats.t.isf(level / 2, df)
        beyond = stats.nct.sf(limit, df, abs(difference) / se) + stats.nct.sf(limit, df, -abs(difference) / se)
        return float(beyond) if np.isfinite(beyond) else 1.0
    measured = se * np.sqrt(stats.chi2.ppf(_MIDDLES, df) / df)
    half = half_width(measured, df, shared, images, level, image_se)
    return float(np.mean(stats.norm.sf((half - difference) / spread) + stats.norm.sf((half + difference) / spread)))


def _spread(se: float, shared: float, image_se: float) -> float:
    return max(math.sqrt(se**2 + shared), image_se)


def detectable_difference(
    se: float, df: float, shared: float, images: int, level: float, image_se: float = 0.0
) -> float | None:
    """Return the difference that is detected in 8 of 10 experiments, in points; None if there is no spread."""
    from scipy import optimize

    def excess(difference: float) -> float:
        return power(difference, se, df, shared, images, level, image_se) - WANTED

    spread = high = _spread(se, shared, image_se)
    if spread == 0:
        return None
    while excess(high) < 0:
        high *= 2
    return float(optimize.brentq(excess, 0.0, high, xtol=1e-4 * spread))


def seeds_for(
    difference: float,
    sd: float,
    shared: float,
    images: int,
    level: float,
    *,
    paired: bool = True,
    of_each_seed: float = 0.0,
) -> int | None:
    """Return how many seeds detect ``difference`` in 8 of 10 experiments; None if more than 1,000.

    ``of_each_seed`` is the variance from the images that is not shared, in points squared, of one seed. If the runs are
    not paired, the number is per model.
    """

    def enough(n: int) -> bool:
        df = float((n - 1) if paired else 2 * (n - 1))
        image_se = math.sqrt(shared + of_each_seed / n) if of_each_seed else 0.0
        return power(difference, sd / math.sqrt(n), df, shared, images, level, image_se) >= WANTED

    numbers = range(2, MOST_SEEDS + 1)
    first = bisect.bisect_left(numbers, True, key=enough)
    return numbers[first] if first < len(numbers) else None
