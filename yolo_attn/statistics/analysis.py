"""Compare variants with a baseline: differences, confidence intervals and verdicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ArgumentError, DataError
from ..messages import joined, nearest
from ..metrics import Dataset, Predictions
from ..metrics.matching import match, read_objects
from . import image_bootstrap
from .seed_and_image_intervals import MetricEffect, combined_interval, image_interval
from .seed_differences import EXACT_UP_TO, paired_difference, unpaired_difference
from .verdicts import Verdict, holm, judge

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXACT_BESIDE = 13  # seeds up to which the permutation test of every metric but the primary one is exact: 8,192 patterns
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
    primary: str = "AP",
    images: Sequence[str] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    paired: bool = True,
    progress: Progress | None = None,
) -> list[Effect]:
    """Compare each variant with the baseline; return one effect per variant, in their order.

    The verdict is on ``primary``, with Holm's correction for the number of variants. Effects in other metrics, such as
    AP by class and by size, have intervals but no verdict: among many of them some stand out by chance.

    Args:
        base: The baseline.
        variants: The variants; if ``paired``, each with the baseline's seeds in the same order.
        truth: The objects of the test images in COCO's format, to resample the images; None to skip that.
        primary: The metric of the verdict.
        images: Metrics to resample, such as ``AP``, ``AP50``, ``AP_small``, ``AP[person]``; by default all that can
            be. AP by size doubles the time.
        resamples: Number of resampled sets of images.
        seed: Seed of the resampling.
        paired: Whether runs with the same seed see the same data order; if not, Welch's test is used.
        progress: Called with the number of processed sets of predictions and their total.

    Raises:
        ArgumentError: If a metric is unknown or ``resamples`` is too small.
        DataError: If the numbers of seeds differ, or predictions do not fit ``truth``.
    """
    _check(base, variants, primary, images, resamples, paired)
    noise = _resample(
        [base, *variants], truth, list(base.values if images is None else images), resamples, seed, progress
    )
    found = [
        _metric_effects(base, variant, noise, number, primary, paired=paired)
        for number, variant in enumerate(variants, start=1)
    ]
    decided = [effects.get(primary) for effects in found]
    p = [effect.p if effect else None for effect in decided]
    tests = sum(value is not None for value in p)
    verdicts = [
        judge(primary, effect, value, corrected, tests, paired=paired)
        for effect, value, corrected in zip(decided, p, holm(p), strict=True)
    ]
    return [
        Effect(variant.name, metrics, verdict)
        for variant, metrics, verdict in zip(variants, found, verdicts, strict=True)
    ]


def _check(
    base: Group, variants: Sequence[Group], primary: str, images: Sequence[str] | None, resamples: int, paired: bool
) -> None:
    if resamples < 2:
        raise ArgumentError(f"resamples={resamples} is too small for an interval; 1000 is usual")
    for name in (primary, *(images or ())):
        if name not in base.values:
            raise ArgumentError(
                f"unknown metric {name!r}.{nearest(name, base.values)} {base.name} has {joined(base.values)}"
            )
    n = len(base.values[primary])
    for group in (base, *variants):
        own = len(group.values.get(primary, ()))
        if paired and own != n:
            raise DataError(f"{group.name} has {own} seeds and {base.name} has {n}; give both the same seeds")
        lengths = {name: len(values) for name, values in group.values.items()}
        lengths |= {"predictions": len(group.predictions)} if group.predictions else {}
        for name, length in lengths.items():
            if length != own:
                raise DataError(
                    f"{group.name} has {primary} for {own} seeds but {name} for {length}; give one for each seed"
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


def _resample(
    groups: Sequence[Group],
    truth: Dataset | None,
    metrics: Sequence[str],
    resamples: int,
    seed: int,
    progress: Progress | None,
) -> _Resamples:
    """Resample the test images; return no metrics if the baseline, which is first, or all others lack predictions."""
    total, done = sum(len(group.predictions) for group in groups), 0
    if truth is None or not 0 < len(groups[0].predictions) < total:
        return _Resamples(0, [[] for _ in groups])
    objects = read_objects(truth)
    wanted = [name for name in image_bootstrap.metric_names(objects) if name in metrics]
    weights = image_bootstrap.draw_images(len(objects.images), resamples, seed)
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
    base: Group, variant: Group, noise: _Resamples, number: int, primary: str, *, paired: bool
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
            exact_up_to = EXACT_UP_TO if metric == primary else EXACT_BESIDE
            difference = paired_difference((a - b).tolist(), exact_up_to=exact_up_to)
        else:
            difference = unpaired_difference(a.tolist(), b.tolist())
        rows, base_rows = noise.runs(number, metric, mine), noise.runs(0, metric, its)
        over_images = None
        if rows is not None and base_rows is not None:
            over_images = image_interval(rows, base_rows, noise.images, paired=paired)
        both = combined_interval(difference, over_images.shared, noise.images) if over_images else None
        found[metric] = MetricEffect(difference, over_images, both)
    return found
