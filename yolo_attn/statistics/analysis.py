"""Compare variants with a baseline: differences, confidence intervals and verdicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DataError
from ..metrics import Dataset, Predictions
from ..metrics.matching import match, read_objects
from . import image_bootstrap
from .seed_and_image_intervals import MetricEffect, combined_interval, image_interval
from .seed_differences import EXACT_UP_TO, Difference, paired_difference, unpaired_difference
from .verdicts import PRIMARY, Verdict, holm, judge

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXACT_BESIDE = 13  # seeds up to which the permutation test of every metric but AP is exact: 8,192 patterns
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Group:
    """The runs of one model.

    Attributes:
        name: Name of the model.
        values: By metric, one value per seed, from 0 to 1; None where there is none.
        predictions: One set per seed, as columns, None where a run is missing; or empty. Each is read once, so a lazy
            sequence may load them one by one.
    """

    name: str
    values: Mapping[str, Sequence[float | None]]
    predictions: Sequence[Predictions | None] = field(default_factory=tuple)


@dataclass(frozen=True)
class Effect:
    """The changes by a variant.

    Attributes:
        name: Name of the variant.
        metrics: By name of the metric; those that the baseline and the variant have for at least one seed.
        verdict: The verdict on the primary metric.
    """

    name: str
    metrics: dict[str, MetricEffect]
    verdict: Verdict


def analyse(
    base: Group,
    variants: Sequence[Group],
    truth: Dataset | None,
    *,
    resamples: int = 1000,
    paired: bool = True,
    progress: Progress | None = None,
) -> list[Effect]:
    """Compare each variant with the baseline; return one effect per variant, in their order.

    The verdict is on AP, with Holm's correction for the number of variants. Effects in other metrics, such as AP by
    class and by size, have intervals but no verdict: among many of them some stand out by chance.

    Args:
        base: The baseline.
        variants: The variants; if ``paired``, each with the baseline's seeds in the same order.
        truth: The objects of the test images in COCO's format, to resample the images; None to skip that.
        resamples: Number of resampled sets of images; at least 2.
        paired: Whether runs with the same seed see the same data order; if not, Welch's test is used.
        progress: Called with the number of processed sets of predictions and their total.

    Raises:
        DataError: If the numbers of seeds differ, or predictions do not fit ``truth``.
    """
    groups = [base, *variants]
    _check(groups, paired=paired)
    noise = _resample(groups, truth, resamples, progress)
    found = [
        _metric_effects(base, variant, noise, number, paired=paired) for number, variant in enumerate(variants, start=1)
    ]
    p = [metrics[PRIMARY].p if PRIMARY in metrics else None for metrics in found]
    tests = sum(value is not None for value in p)
    return [
        Effect(variant.name, metrics, _verdict(base, variant, metrics, value, corrected, tests, paired=paired))
        for variant, metrics, value, corrected in zip(variants, found, p, holm(p), strict=True)
    ]


def _verdict(
    base: Group,
    variant: Group,
    metrics: Mapping[str, MetricEffect],
    p: float | None,
    p_holm: float | None,
    tests: int,
    *,
    paired: bool,
) -> Verdict:
    detected = any(value for group in (base, variant) for value in group.values.get(PRIMARY, ()))
    return judge(metrics.get(PRIMARY), p, p_holm, tests, paired=paired, detected=detected)


def _check(groups: Sequence[Group], *, paired: bool) -> None:
    n = len(groups[0].values.get(PRIMARY, ()))
    for group in groups:
        lengths = {name: len(values) for name, values in group.values.items()}
        lengths |= {"predictions": len(group.predictions)} if group.predictions else {}
        own = lengths.get(PRIMARY, 0)
        if paired and own != n:
            raise DataError(f"{group.name} has {own} seeds and {groups[0].name} has {n}; give both the same seeds")
        for name, length in lengths.items():
            if length != own:
                raise DataError(
                    f"{group.name} has {PRIMARY} for {own} seeds but {name} for {length}; give one for each seed"
                )


@dataclass(frozen=True)
class _Resamples:
    """The metrics of every run over the same resampled sets of images.

    Attributes:
        images: Number of images.
        groups: By position of the group, for each seed metric -> ``(resamples,)`` in points; None without predictions.
    """

    images: int
    groups: list[list[dict[str, NDArray[np.float64]] | None]]

    def runs(self, group: int, metric: str, seeds: Sequence[int]) -> NDArray[np.float64] | None:
        """Return ``(seeds, resamples)``; None if a run has no predictions, or the metric was not resampled."""
        rows = self.groups[group]
        kept = [row[metric] for row in (rows[seed] for seed in seeds if rows) if row is not None and metric in row]
        return np.stack(kept) if kept and len(kept) == len(seeds) else None


def _resample(groups: Sequence[Group], truth: Dataset | None, resamples: int, progress: Progress | None) -> _Resamples:
    """Resample the test images; return no metrics if the baseline, which is first, or all others lack predictions."""
    total, done = sum(len(group.predictions) for group in groups), 0
    if truth is None or not 0 < len(groups[0].predictions) < total:
        return _Resamples(0, [[] for _ in groups])
    objects = read_objects(truth)
    wanted = [name for name in image_bootstrap.metric_names(objects) if name in groups[0].values]
    weights = image_bootstrap.draw_images(len(objects.images), resamples, seed=0)
    found = _Resamples(len(objects.images), [[] for _ in groups])
    for group, rows in zip(groups, found.groups, strict=True):
        for predictions in group.predictions:
            row = None
            if predictions is not None:
                try:
                    matches = match(objects, predictions)
                except DataError as error:
                    raise DataError(f"{group.name}: {error}") from None
                row = image_bootstrap.resample_metrics(objects, matches, weights, wanted)
            rows.append(row and {name: 100 * values for name, values in row.items()})
            done += 1
            if progress is not None:
                progress(done, total)
    return found


def _metric_effects(
    base: Group, variant: Group, noise: _Resamples, number: int, *, paired: bool
) -> dict[str, MetricEffect]:
    """Return the effect in every metric that both models have."""
    found = {}
    for metric, theirs in base.values.items():
        ours = variant.values.get(metric, ())
        mine = [k for k, value in enumerate(ours) if value is not None]
        its = [k for k, value in enumerate(theirs) if value is not None]
        if paired:
            mine = its = [k for k in mine if k in its]
        if not mine or not its:
            continue
        a, b = (np.array([values[k] for k in at], dtype=float) * 100 for values, at in ((ours, mine), (theirs, its)))
        if paired:
            exact_up_to = EXACT_UP_TO if metric == PRIMARY else EXACT_BESIDE
            difference = paired_difference((a - b).tolist(), exact_up_to=exact_up_to)
        else:
            difference = unpaired_difference(a.tolist(), b.tolist())
        rows, base_rows = noise.runs(number, metric, mine), noise.runs(0, metric, its)
        over_images = None
        if rows is not None and base_rows is not None:
            over_images = image_interval(rows, base_rows, noise.images, mean=difference.mean, paired=paired)
        both = combined_interval(difference, over_images.shared, noise.images, over_images.se) if over_images else None
        if not (a.any() or b.any()):  # nothing found by either: no test, no interval
            difference, over_images, both = Difference(difference.n, difference.values, 0.0), None, None
        found[metric] = MetricEffect(difference, over_images, both)
    return found
