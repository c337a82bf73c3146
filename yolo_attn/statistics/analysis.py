"""A base and its variants: differences, intervals and verdicts."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ArgumentError, DataError
from ..metrics.matching import Truth, match, read_truth
from . import image_bootstrap
from .intervals import ImageInterval, ImageNoise, Interval, combined, image_noise, p_value
from .seed_differences import EXACT_UP_TO, Difference, paired, unpaired
from .verdicts import Evidence, Verdict, holm, verdict

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXACT_BESIDE = 13  # seeds up to which every figure but the first has its signs flipped exactly: 8,192 patterns
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Group:
    """The runs of one model.

    Attributes:
        name: Of the model.
        values: Figure -> one value per seed, from 0 to 1; None where there is none.
        predictions: One per seed, in columns as a record holds them, None where a run is missing; or empty. Each is
            read once, so that a sequence may load them one by one.
    """

    name: str
    values: Mapping[str, Sequence[float | None]]
    predictions: Sequence[Any] = field(default_factory=tuple)


@dataclass(frozen=True)
class FigureEffect:
    """What a variant changes in one figure, in points.

    Attributes:
        seeds: Over the seeds, on these test images.
        images: Over test images, with these very models; None without predictions.
        combined: Over both; None without predictions or with one seed.
    """

    seeds: Difference
    images: ImageInterval | None
    combined: Interval | None


@dataclass(frozen=True)
class Effect:
    """What a variant changes.

    Attributes:
        name: Of the variant.
        figures: By name; those that base and variant have for at least one seed.
        verdict: On the primary figure.
    """

    name: str
    figures: dict[str, FigureEffect]
    verdict: Verdict


def analyse(
    base: Group,
    variants: Sequence[Group],
    truth: Mapping[str, Any] | None,
    *,
    primary: str = "AP",
    images: Sequence[str] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    paired: bool = True,
    progress: Progress | None = None,
) -> list[Effect]:
    """Compare each variant with the base.

    The verdict is on ``primary``, corrected by Holm for the number of variants. Effects in other figures, as by class
    and size, have intervals and no verdict: among many of them some will stand out by chance.

    Args:
        base: What the variants are compared with.
        variants: Each with the base's seeds in the base's order, where ``paired``.
        truth: The test images' objects in COCO's format, for the resampling of images; None to leave it out.
        primary: The figure that is decided on.
        images: Figures whose test images are resampled, as ``AP``, ``AP50``, ``AP_small``, ``AP[person]``; by default
            all that can be. Sizes take twice the time.
        resamples: Number of resampled sets of images.
        seed: Of the resampling.
        paired: Whether the same seed means the same data order; if not, Welch's test takes the place of the paired.
        progress: Called with the number of prediction sets that are done and that there are.

    Returns:
        One effect per variant, in their order.

    Raises:
        ArgumentError: If a figure is unknown or ``resamples`` too small.
        DataError: If the numbers of seeds differ, or predictions do not fit ``truth``.
    """
    _check(base, variants, primary, images, resamples, paired)
    noise = _Resampling(base, variants, truth, images, resamples, seed, progress)
    findings = [_findings(base, variant, noise, primary, images_paired=paired) for variant in variants]
    evidence = [_evidence(primary, found, noise.size, paired) for found in findings]
    corrected = holm([item.p for item in evidence])
    tests = sum(item.p is not None for item in evidence)
    return [
        Effect(variant.name, {name: effect for name, (effect, _) in found.items()}, verdict(item, p, tests))
        for variant, found, item, p in zip(variants, findings, evidence, corrected, strict=True)
    ]


def _check(
    base: Group, variants: Sequence[Group], primary: str, images: Sequence[str] | None, resamples: int, paired: bool
) -> None:
    if resamples < 2:
        raise ArgumentError(f"resamples={resamples} is too few for an interval; 1000 is usual")
    for name in (primary, *(images or ())):
        if name not in base.values:
            near = difflib.get_close_matches(name, base.values, 1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise ArgumentError(f"unknown figure {name}; {hint}{base.name} has {', '.join(base.values)}")
    for group in (base, *variants):
        n = len(group.values.get(primary, ()))
        lengths = {name: len(values) for name, values in group.values.items()}
        if group.predictions:
            lengths["predictions"] = len(group.predictions)
        wrong = {name: length for name, length in lengths.items() if length != n}
        if wrong:
            name, length = next(iter(wrong.items()))
            raise DataError(f"{group.name} has {primary} of {n} seeds and {name} of {length}; give one for each seed")
    n = len(base.values[primary])
    for variant in variants:
        its = len(variant.values.get(primary, ()))
        if paired and its != n:
            raise DataError(f"{variant.name} has {its} seeds and {base.name} {n}; pairs need one run of each per seed")


class _Resampling:
    """The figures of every run over the same resampled sets of images.

    Attributes:
        size: Number of images; 0 without predictions.
        sets: By group and seed: figure -> ``(resamples,)``, points; None where a run has no predictions.
    """

    def __init__(
        self,
        base: Group,
        variants: Sequence[Group],
        truth: Mapping[str, Any] | None,
        images: Sequence[str] | None,
        resamples: int,
        seed: int,
        progress: Progress | None,
    ) -> None:
        self.size = 0
        self.sets: dict[int, list[dict[str, NDArray[np.float64]] | None]] = {}
        groups = [group for group in (base, *variants) if len(group.predictions)]
        if truth is None or not len(base.predictions) or len(groups) < 2:
            return
        objects = read_truth(truth)
        self.size = len(objects.images)
        asked = base.values if images is None else images
        wanted = [name for name in image_bootstrap.names(objects) if name in asked]
        weights = image_bootstrap.draw(self.size, resamples, seed)
        total, done = sum(len(group.predictions) for group in groups), 0
        for group in groups:
            rows: list[dict[str, NDArray[np.float64]] | None] = []
            for columns in group.predictions:
                rows.append(None if columns is None else self._run(group, objects, columns, weights, wanted))
                done += 1
                if progress is not None:
                    progress(done, total)
            self.sets[id(group)] = rows

    @staticmethod
    def _run(
        group: Group, truth: Truth, columns: Any, weights: NDArray[np.int32], wanted: Sequence[str]
    ) -> dict[str, NDArray[np.float64]]:
        try:
            matches = match(truth, columns)
        except DataError as error:
            raise DataError(f"{group.name}: {error}") from None
        found = image_bootstrap.resampled(truth, matches, weights, wanted)
        return {name: 100 * values for name, values in found.items()}

    def runs(self, group: Group, figure: str, seeds: Sequence[int]) -> NDArray[np.float64] | None:
        """Return ``(seeds, resamples)``, or None if one of the runs has no predictions or the figure no resampling."""
        rows = self.sets.get(id(group))
        if rows is None:
            return None
        found = [row.get(figure) for row in (rows[seed] for seed in seeds) if row is not None]
        kept = [values for values in found if values is not None]
        return np.stack(kept) if kept and len(kept) == len(seeds) else None


def _findings(
    base: Group, variant: Group, noise: _Resampling, primary: str, *, images_paired: bool
) -> dict[str, tuple[FigureEffect, ImageNoise | None]]:
    """Return the effect in every figure that both have."""
    found = {}
    for figure, theirs in base.values.items():
        ours = variant.values.get(figure, ())
        if images_paired:
            seeds = [k for k, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a is not None and b is not None]
            mine, its = seeds, seeds
        else:
            mine = [k for k, value in enumerate(ours) if value is not None]
            its = [k for k, value in enumerate(theirs) if value is not None]
        if not mine or not its:
            continue
        a, b = (np.array([values[k] for k in at], dtype=float) * 100 for values, at in ((ours, mine), (theirs, its)))
        if images_paired:
            difference = paired((a - b).tolist(), exact_up_to=EXACT_UP_TO if figure == primary else EXACT_BESIDE)
        else:
            difference = unpaired(a.tolist(), b.tolist())
        rows, base_rows = noise.runs(variant, figure, mine), noise.runs(base, figure, its)
        extra = None
        if rows is not None and base_rows is not None:
            extra = image_noise(rows, base_rows, noise.size, paired=images_paired)
        both = combined(difference, extra.shared, noise.size) if extra else None
        found[figure] = FigureEffect(difference, extra.interval if extra else None, both), extra
    return found


def _evidence(
    primary: str, found: Mapping[str, tuple[FigureEffect, ImageNoise | None]], images: int, paired: bool
) -> Evidence:
    if primary not in found:
        return Evidence(primary, None, None, None, 0.0, None, paired)
    effect, extra = found[primary]
    shared = extra.shared if extra is not None and extra.shared is not None else 0.0
    p = p_value(effect.seeds, shared, images) if effect.seeds.n > 1 else None
    return Evidence(primary, effect.seeds, effect.images, effect.combined, shared, p, paired)
