"""Coverage of the intervals, false alarms and power, in simulations with a known true difference.

In a world, the difference that seed i shows is ``d + s_i + mean over the images of (a + e_i)``: the seed's own part,
the part of the test images that all seeds share, and the rest.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from yolo_attn.statistics.image_bootstrap import draw_images
from yolo_attn.statistics.power_analysis import detectable_difference, power, seeds_for
from yolo_attn.statistics.seed_and_image_intervals import (
    combined_interval,
    half_width,
    image_interval,
    p_value,
    shared_variance,
)
from yolo_attn.statistics.seed_differences import LEVEL, paired_difference

SIMULATIONS = 2_000
MANY = 20_000  # where it takes no time: a rate near 5 % is off by up to a point over 2,000, by 0.3 over these
IMAGES = 100
SEEDS = (3, 5, 10)
DIFFERENCES = (0.0, 0.5, 2.0)  # points
# standard deviations, in points: of the seeds, of what the images share, of the rest
WORLDS = {
    "seeds": (0.7, 0.0, 0.0),
    "rest": (0.2, 0.0, 0.7),
    "some images": (1.0, 0.3, 0.0),
    "both": (0.5, 0.5, 0.3),
    "images": (0.2, 0.7, 0.2),
}


def world(name, n, difference, simulations, rng):
    """Return differences ``(simulations, n)``, and the shared variance as an infinite bootstrap measures it."""
    seeds, shared, rest = WORLDS[name]
    covariance = np.full((n, n), shared**2) + np.eye(n) * (rest**2 + 1e-12)
    images = rng.multivariate_normal(np.zeros(n), covariance, simulations, method="cholesky")
    values = difference + rng.normal(size=(simulations, n)) * seeds + images
    if shared == rest == 0:
        return values, np.zeros(simulations)
    measured = stats.wishart.rvs(IMAGES - 1, covariance / (IMAGES - 1), simulations, rng)
    return values, shared_variance(measured)


def halves(values, shared, level=LEVEL):
    n = values.shape[1]
    return half_width(values.std(axis=1, ddof=1) / np.sqrt(n), n - 1, shared, IMAGES, level)


@pytest.mark.parametrize("n", SEEDS)
@pytest.mark.parametrize("name", WORLDS)
def test_combined_interval_covers_the_truth(name, n):
    rng = np.random.default_rng(1)
    for difference in DIFFERENCES:
        values, shared = world(name, n, difference, MANY, rng)
        covered = np.abs(values.mean(axis=1) - difference) <= halves(values, shared)
        assert 0.94 <= covered.mean() <= 0.965


@pytest.mark.parametrize("n", [2, *SEEDS])
@pytest.mark.parametrize("name", WORLDS)
def test_false_alarms(name, n):
    values, shared = world(name, n, 0.0, MANY, np.random.default_rng(2))
    alarms = np.abs(values.mean(axis=1)) > halves(values, shared)
    assert alarms.mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / MANY)


@pytest.mark.parametrize("n", [3, 8, 10, 20])
def test_interval_and_p_of_the_seeds_never_contradict_and_cover(n):
    values = np.random.default_rng(6).normal(0.0, 0.7, (MANY, n))
    found = [paired_difference(row, exact_up_to=0) for row in values[:100]]
    excluded = [item.low > 0 or item.high < 0 for item in found]
    assert excluded == [item.p_t < LEVEL for item in found]
    ends = halves(values, 0.0)
    assert [item.high - item.mean for item in found] == pytest.approx(ends[:100])
    assert 0.945 <= (np.abs(values.mean(axis=1)) <= ends).mean() <= 0.955


@pytest.mark.parametrize("shared", [0.0, 0.01, 1.0])
@pytest.mark.parametrize("image_se", [0.0, 0.1, 3.0])
def test_over_both_is_never_narrower_than_either_part_and_agrees_with_p(shared, image_se):
    values = paired_difference([0.5, 0.9, 1.6, 0.2])
    both = combined_interval(values, shared, IMAGES, image_se)
    half = both.high - values.mean
    assert half >= (values.high - values.low) / 2 - 1e-9
    assert half >= stats.t.isf(LEVEL / 2, IMAGES - 1) * image_se - 1e-9
    assert (p_value(values, shared, IMAGES, image_se) < LEVEL) == (both.low > 0 or both.high < 0)
    assert stats.t.isf(LEVEL / 2, both.df) * both.se == pytest.approx(half, rel=1e-6)


def test_image_interval_and_combined_interval_by_resampling():
    """Use the bootstrap itself, for a metric that is a mean over images."""
    rng = np.random.default_rng(8)
    n, difference, (seeds, shared, rest) = 5, 0.5, WORLDS["both"]
    weights = draw_images(IMAGES, 1_000, 0).T / IMAGES
    covered = np.zeros((SIMULATIONS, 2), dtype=bool)
    zero = np.zeros((n, 1_000))
    for k in range(SIMULATIONS):
        own = difference + rng.normal(size=(n, 1)) * seeds
        images = own + (rng.normal(size=IMAGES) * shared + rng.normal(size=(n, IMAGES)) * rest) * np.sqrt(IMAGES)
        noise = image_interval(images @ weights, zero, IMAGES, mean=images.mean(), paired=True)
        covered[k, 0] = noise.low <= own.mean() <= noise.high  # these models, other images
        values = images.mean(axis=1)
        both = half_width(values.std(ddof=1) / np.sqrt(n), n - 1, noise.shared, IMAGES)
        covered[k, 1] = abs(values.mean() - difference) <= both
        if k == 0:
            whole = combined_interval(paired_difference(values), noise.shared, IMAGES)
            assert whole.high - values.mean() == pytest.approx(float(both))
            assert stats.t.isf(LEVEL / 2, whole.df) * whole.se == pytest.approx(float(both), rel=1e-6)
    assert (covered.mean(axis=0) >= 0.93).all()
    assert (covered.mean(axis=0) <= 0.97).all()


@pytest.mark.parametrize(("n", "level"), [(3, 0.05), (5, 0.05), (5, 0.05 / 3), (10, 0.05)])
@pytest.mark.parametrize("name", ["seeds", "both"])
def test_power_is_the_rate_at_which_the_difference_is_found(name, n, level):
    rng = np.random.default_rng(9)
    seeds, shared, rest = WORLDS[name]
    se = np.hypot(seeds, rest) / np.sqrt(n)
    edge = detectable_difference(se, n - 1, shared**2, IMAGES, level)
    assert power(edge, se, n - 1, shared**2, IMAGES, level) == pytest.approx(0.8, abs=1e-3)
    for difference in (0.0, 0.5 * edge, edge):
        values, measured = world(name, n, difference, MANY, rng)
        found = (np.abs(values.mean(axis=1)) > halves(values, measured, level)).mean()
        assert found == pytest.approx(power(difference, se, n - 1, shared**2, IMAGES, level), abs=0.02)


def test_what_images_share_in_two_groups_that_are_not_paired():
    rng = np.random.default_rng(12)
    common, ours, theirs = (rng.normal(size=(k, 50_000)) for k in (1, 3, 4))
    noise = image_interval(
        common + ours + 0.5 * rng.normal(size=(1, 50_000)), common + theirs, IMAGES, mean=0.0, paired=False
    )
    assert noise.shared == pytest.approx(0.25, abs=0.05)  # what all runs share cancels
    assert noise.se == pytest.approx(np.sqrt(0.25 + 1 / 3 + 1 / 4), rel=0.02)


def test_power_with_a_little_of_the_images_is_that_of_the_noncentral_t():
    for df, level in ((2, 0.05), (4, 0.01), (20, 0.05)):
        for difference in (0.5, 2.0, 6.0):
            exact = power(difference, 1.0, df, 0.0, IMAGES, level)
            limit = stats.t.isf(level / 2, df)
            by_scipy = stats.nct.sf(limit, df, difference) + stats.nct.cdf(-limit, df, difference)
            assert exact == pytest.approx(by_scipy, abs=1e-9)
            assert power(difference, 1.0, df, 1e-12, IMAGES, level) == pytest.approx(by_scipy, abs=2e-3)


@pytest.mark.parametrize("level", [0.05, 0.01])
@pytest.mark.parametrize("image_se", [0.0, 0.3, 1.0, 3.0])
@pytest.mark.parametrize("shared", [0.0, 0.04, 1.0])
@pytest.mark.parametrize(("se", "df"), [(0.1, 2), (0.5, 4), (1.0, 9)])
def test_what_is_detectable_is_not_less_than_the_interval_is_wide(se, df, shared, image_se, level):
    """At half the width of the interval, only every second experiment finds a true difference."""
    half = float(half_width(se, df, shared, IMAGES, level, image_se))
    detectable = detectable_difference(se, df, shared, IMAGES, level, image_se)
    assert detectable > 0.95 * half
    assert power(detectable, se, df, shared, IMAGES, level, image_se) == pytest.approx(0.8, abs=1e-3)


def test_the_images_of_each_seed_count_when_seeds_are_planned():
    without, with_them = (seeds_for(0.5, 0.1, 0.0, IMAGES, LEVEL, of_each_seed=own) for own in (0.0, 1.0))
    assert (without, with_them) == (
        3,
        32,
    )  # ((1.98 + 0.84) / 0.5) squared is 31.9: quantiles of t at 2.5 %, and of the 80 % power


def test_seeds_that_are_planned_are_just_enough():
    for sd, shared, difference in ((0.6, 0.0, 0.3), (1.0, 0.0, 0.5), (0.6, 0.004, 0.3)):
        n = seeds_for(difference, sd, shared, IMAGES, LEVEL)
        rates = [power(difference, sd / np.sqrt(k), k - 1, shared, IMAGES, LEVEL) for k in (n - 1, n)]
        assert rates[0] < 0.8 <= rates[1]
    assert seeds_for(0.3, 0.6, 0.0, IMAGES, LEVEL) == 34
    assert seeds_for(0.3, 0.6, 0.0, IMAGES, LEVEL / 5) > 34
    apart = seeds_for(0.5, 0.6, 0.0, IMAGES, LEVEL, paired=False)
    rates = [power(0.5, 0.6 / np.sqrt(k), 2 * (k - 1), 0.0, IMAGES, LEVEL) for k in (apart - 1, apart)]
    assert rates[0] < 0.8 <= rates[1]
    assert apart < seeds_for(0.5, 0.6, 0.0, IMAGES, LEVEL)  # at one spread, twice the runs measure it better


def test_extreme_designs_stay_sensible():
    assert seeds_for(0.3, 30.0, 0.0, IMAGES, LEVEL) is None
    assert seeds_for(0.3, 0.1, 1.0, IMAGES, LEVEL) is None  # the images alone hide it
    assert detectable_difference(0.0, 4, 0.0, IMAGES, LEVEL) is None
    for level in (LEVEL, LEVEL / 20):
        with_two = detectable_difference(1.0, 1, 0.0, IMAGES, level)
        assert 10 < with_two < 2_000
        assert detectable_difference(1.0, 1, 0.3, IMAGES, level) >= 0.95 * with_two
    assert detectable_difference(1e-6, 4, 0.0, IMAGES, LEVEL) < 1e-5
    assert power(1e6, 0.1, 1, 0.0, IMAGES, LEVEL) == pytest.approx(1.0)
