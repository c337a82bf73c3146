"""State what a difference means, in words. A new verdict word is added to ``VerdictWord`` and :func:`judge`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from . import power_analysis
from .seed_and_image_intervals import MetricEffect
from .seed_differences import LEVEL, MIN_SEEDS, SAME

VerdictWord = Literal["better", "worse", "no evidence", "identical", "one seed", "two seeds", "not measured"]

PRIMARY = "AP"  # the metric of the verdict
TARGETS = (0.3, 0.5, 1.0)  # points, for which the number of seeds is given
FEW = 4  # seeds; the standard deviation of 3 is off by a factor of 2 in one case of four
MOST_POINTS = 100.0  # no difference is larger


@dataclass(frozen=True)
class Verdict:
    """The answer to "does it help?".

    Attributes:
        word: ``better``, ``worse``, ``no evidence``, ``identical``, ``one seed``, ``two seeds`` or ``not measured``.
        text: The answer in one to three sentences, with its numbers.
        p: Probability of a difference this large without an effect, over seeds and, with predictions, test images.
        p_holm: The same after Holm's correction for the number of variants.
        detectable: True difference, in points, that this design detects in 8 of 10 experiments; None: not even 100.
        seeds_for: Seeds that would detect 0.3, 0.5 and 1.0 points in 8 of 10 experiments; None: more than 1,000.
        level: Level of the test for which the power is given: 0.05 over the number of variants, Holm's first step.
    """

    word: VerdictWord
    text: str
    p: float | None = None
    p_holm: float | None = None
    detectable: float | None = None
    seeds_for: dict[str, int | None] | None = None
    level: float = LEVEL


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Correct p values for their number, so that at most 5 of 100 experiments claim any effect that is not there.

    S. Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 6, 1979.

    Args:
        p: One per variant; None where there was no test.
    """
    corrected: list[float | None] = [None] * len(p)
    tested = sorted((value, place) for place, value in enumerate(p) if value is not None)
    largest = 0.0
    for rank, (value, place) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * value))
        corrected[place] = largest
    return corrected


def judge(
    effect: MetricEffect | None,
    p: float | None,
    p_holm: float | None,
    tests: int,
    *,
    paired: bool,
    detected: bool = True,
) -> Verdict:
    """Give the verdict on one variant.

    Args:
        effect: Its change of AP; None if the two models have no seed with AP in common.
        p: Its p value; None if there was no test.
        p_holm: Its p value after Holm's correction.
        tests: Number of variants that are tested together.
        paired: Whether the seeds are paired.
        detected: Whether any run has an AP above 0.
    """
    level = LEVEL / max(tests, 1)
    if effect is None:
        text = f"No seed has {PRIMARY} for both models. Train the missing runs, or use test images with objects."
        return Verdict("not measured", text, level=level)
    seeds = effect.seeds
    if not detected:
        text = f"{PRIMARY} is 0 in every run of both models: nothing was found, so nothing is compared. Train longer."
        return Verdict("not measured", text, level=level)
    if max(abs(value) for value in seeds.values) <= SAME:
        which = "The only seed gives" if seeds.n == 1 else f"All {seeds.n} seeds give"
        return Verdict("identical", f"{which} exactly the baseline's {PRIMARY}.", p, p_holm, level=level)
    if seeds.n < MIN_SEEDS:
        word: VerdictWord = "one seed" if seeds.n == 1 else "two seeds"
        return Verdict(word, _few_seeds(effect, word, paired=paired), level=level)
    if seeds.se is None or seeds.sd is None or seeds.df is None or p is None or p_holm is None:
        text = f"{PRIMARY} {signed(seeds.mean, 2)} with each of {seeds.n} seeds: no evidence of a difference. "
        return Verdict("no evidence", text + "Runs are identical across seeds, so they count as one.", level=level)

    shared, images = effect.shared, effect.images.images if effect.images else 2
    image_se = effect.images.se if effect.images else 0.0
    of_each = max(image_se**2 - shared, 0.0) * seeds.n
    detectable = power_analysis.detectable_difference(seeds.se, seeds.df, shared, images, level, image_se)
    seeds_for = {
        str(d): power_analysis.seeds_for(d, seeds.sd, shared, images, level, paired=paired, of_each_seed=of_each)
        for d in TARGETS
    }
    word = "no evidence" if p_holm > LEVEL else "better" if seeds.mean > 0 else "worse"
    sentences = [_result(effect, word, p, p_holm, tests)]
    if word == "no evidence" and detectable is not None:
        sentences += _design(effect, detectable, seeds_for, tests, images)
    if not paired:
        sentences.append("The seeds are not paired, so Welch's test compares the two groups of runs.")
    if detectable is not None and detectable > MOST_POINTS:
        detectable = None
    return Verdict(word, " ".join(sentences), p, p_holm, detectable, seeds_for, level)


def _result(effect: MetricEffect, word: VerdictWord, p: float, p_holm: float, tests: int) -> str:
    """Return the sentence with the difference, its interval and p."""
    low, high = effect.interval.low or 0.0, effect.interval.high or 0.0
    scope = "over seeds and test images" if effect.combined else "over seeds, on these test images"
    text = f"{PRIMARY} {signed(effect.seeds.mean, _digits((high - low) / 2))} ({_interval(low, high)} {scope})"
    corrected = f"{_probability(p_holm)} after Holm's correction for {tests} variants"
    if word != "no evidence":
        return f"{text}, {corrected if tests > 1 else _probability(p_holm)}: {word}."
    if tests > 1 and p <= LEVEL:
        text += f", {_probability(p)} alone, but {corrected}"
    return f"{text}: no evidence of a difference."


def _design(
    effect: MetricEffect, detectable: float, seeds_for: dict[str, int | None], tests: int, images: int
) -> list[str]:
    """Return the sentences with the difference that the comparison could have detected, and the seeds for less."""
    seeds = effect.seeds
    rough = " (known only roughly)" if seeds.n < FEW else ""
    level = f" (tested at level {LEVEL / tests:.2g}, as {tests} variants are compared)" if tests > 1 else ""
    size = f"a true difference of {detectable:.{_digits(detectable)}f} points or more"
    what = "no difference" if detectable > MOST_POINTS else size
    sentences = [f"With {seeds.n} seeds and this spread{rough}, {what} is detected in 8 of 10 experiments{level}."]
    smaller = {target: needed for target, needed in seeds_for.items() if float(target) < detectable}
    for target, needed in smaller.items():
        if needed is not None:
            return [*sentences, f"For {target} points, plan {needed} seeds."]
        if len(sentences) == 1:
            limit = power_analysis.power(float(target), 1e-9, 1e9, effect.shared, images, LEVEL / tests)
            more_images = f"more images than these {images}" if limit < power_analysis.WANTED else ""
            why = more_images or f"more than {power_analysis.MOST_SEEDS:,} seeds"
            sentences.append(f"A difference of {target} points needs {why}.")
    return sentences


def _few_seeds(effect: MetricEffect, word: VerdictWord, *, paired: bool) -> str:
    text, images = f"{PRIMARY} {signed(effect.seeds.mean, 2)} with {word}", effect.images
    if effect.seeds.n == 1 and images is not None:
        text += f" ({_interval(images.low, images.high)} over test images, with these weights)"
    text += f". Another seed may reverse the sign, so nothing is claimed. Plan at least {MIN_SEEDS} seeds."
    return text if paired else f"{text} The seeds are not paired."


def _interval(low: float, high: float) -> str:
    digits = _digits((high - low) / 2)
    return f"95 % confidence interval {signed(low, digits)} to {signed(high, digits)}"


def _digits(half: float) -> int:
    """Return the number of decimals that make sense with such an uncertainty."""
    return 1 if half >= 0.5 else min(4, 1 - math.floor(math.log10(max(half, 1e-4))))


def signed(value: float, digits: int) -> str:
    """Return a difference with its sign; without it if it rounds to 0."""
    text = f"{value:+.{digits}f}"
    return text if float(text) else text[1:]


def _probability(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
