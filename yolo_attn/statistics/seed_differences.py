"""Estimate the difference between two models over their training seeds, with a confidence interval and p values.

Everything here is conditional on the test images: the intervals cover other seeds, on the same images.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.05  # of every test; the intervals have 95 %
MIN_SEEDS = 3  # below it an interval is as wide as the range of AP, so none is given
EXACT_UP_TO = 20  # seeds: about a million sign patterns
PERMUTATIONS = 9_999  # random ones, where not all are tried
SAME = 1e-9  # points; differences below this are rounding


@dataclass(frozen=True)
class Difference:
    """A variant's metric minus the baseline's, in points of 100.

    Attributes:
        n: Number of differences; if the seeds are not paired, runs of the smaller group.
        values: One per seed; if the seeds are not paired, the variant's runs minus the baseline's mean.
        mean: Their mean.
        sd: Their standard deviation; if not paired, that of the difference of two runs. None below three seeds.
        low: Lower end of the 95 % confidence interval; None below three seeds, or if all give the same difference.
        high: Upper end.
        method: How the interval is computed: ``t``, ``Welch`` (not paired) or ``none``.
        p_t: p value of the t test; None where there is none.
        p_permutation: p value of the test that flips signs (not paired: shuffles runs); exact up to 20 seeds.
        p_smallest: The smallest p value that the permutation test can give with this number of seeds.
        se: Standard error of the mean.
        df: Degrees of freedom of the t test.
    """

    n: int
    values: tuple[float, ...]
    mean: float
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    method: str = "none"
    p_t: float | None = None
    p_permutation: float | None = None
    p_smallest: float | None = None
    se: float | None = None
    df: float | None = None


def paired_difference(differences: Sequence[float], *, exact_up_to: int = EXACT_UP_TO) -> Difference:
    """Estimate the mean of the differences of the seeds.

    Interval and p are of the t test, so they always agree; below three seeds there is neither. The permutation test
    counts how often random signs give a mean as large. With n seeds its p value is at least 2 / 2^n, so with five seeds
    it cannot reach 0.05.

    Args:
        differences: One per seed, in points; at least one.
        exact_up_to: Up to this number of seeds all sign patterns are tried, above it 9,999 random ones.
    """
    from scipy import stats  # type: ignore[import-untyped]

    values = np.asarray(differences, dtype=float)
    n, mean = len(values), float(values.mean())
    smallest = max(2.0 / 2.0**n, 0.0 if n <= exact_up_to else 2 / (PERMUTATIONS + 1))
    if n < MIN_SEEDS or np.ptp(values) <= SAME:
        return _without_spread(n, values, mean, "t", smallest)
    t = stats.ttest_1samp(values, 0.0)
    p = _permutation_p((values,), np.mean, "samples", 2**n if n <= exact_up_to else PERMUTATIONS)
    low, high, p_t, sd = (float(value) for value in (*t.confidence_interval(), t.pvalue, values.std(ddof=1)))
    numbers, se = tuple(values.tolist()), sd / math.sqrt(n)
    return Difference(n, numbers, mean, sd, low, high, "t", p_t, p, smallest, se, n - 1.0)


def _without_spread(n: int, values: np.ndarray, mean: float, method: str, smallest: float) -> Difference:
    """Return the difference of too few seeds, or of seeds that all give the same."""
    numbers = tuple(values.tolist())
    if n < MIN_SEEDS:
        return Difference(n, numbers, mean)
    if abs(mean) > SAME:
        return Difference(n, numbers, mean, 0.0, p_smallest=smallest)
    return Difference(n, numbers, mean, 0.0, 0.0, 0.0, method, 1.0, 1.0, smallest, 0.0, n - 1.0)


def unpaired_difference(variant: Sequence[float], base: Sequence[float]) -> Difference:
    """Estimate the difference of two means by Welch's method, for runs whose seeds are not paired.

    Args:
        variant: One value per run, in points; at least one.
        base: The same for the baseline; the number of runs may differ.
    """
    from scipy import stats

    ours, theirs = np.asarray(variant, dtype=float), np.asarray(base, dtype=float)
    n, values, mean = min(len(ours), len(theirs)), ours - theirs.mean(), float(ours.mean() - theirs.mean())
    patterns = math.comb(len(ours) + len(theirs), len(ours))
    smallest = max(min(1.0, 2.0 / patterns), 0.0 if patterns <= PERMUTATIONS else 2 / (PERMUTATIONS + 1))
    if n < MIN_SEEDS or (np.ptp(ours) <= SAME and np.ptp(theirs) <= SAME):
        return _without_spread(n, values, mean, "Welch", smallest)
    t = stats.ttest_ind(ours, theirs, equal_var=False)
    p = _permutation_p((ours, theirs), lambda a, b, axis: a.mean(axis) - b.mean(axis), "independent", PERMUTATIONS)
    mine, its = ours.var(ddof=1), theirs.var(ddof=1)
    sd, se = math.sqrt(mine + its), math.sqrt(mine / len(ours) + its / len(theirs))
    low, high, p_t, df = (float(value) for value in (*t.confidence_interval(), t.pvalue, t.df))
    return Difference(n, tuple(values.tolist()), mean, sd, low, high, "Welch", p_t, p, smallest, se, df)


def _permutation_p(
    groups: tuple[np.ndarray, ...], statistic: Callable[..., np.ndarray], kind: str, resamples: int
) -> float:
    from scipy import stats

    found = stats.permutation_test(
        groups,
        statistic,
        permutation_type=kind,
        vectorized=True,
        n_resamples=resamples,
        batch=4096,
        **_generator(stats.permutation_test),
    )
    return float(found.pvalue)


def _generator(function: object) -> dict[str, np.random.Generator]:
    """Return the argument that fixes SciPy's random numbers; its name changed in SciPy 1.15."""
    name = "rng" if "rng" in inspect.signature(function).parameters else "random_state"  # type: ignore[arg-type]
    return {name: np.random.default_rng(0)}
