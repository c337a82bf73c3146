"""What a difference means, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from . import power_analysis
from .intervals import ImageInterval, Interval
from .seed_differences import LEVEL, SAME, Difference

TARGETS = (0.3, 0.5, 1.0)  # points, for which the number of seeds is given
FEW = 4  # seeds; the standard deviation of 3 is off by a factor of 2 in one case of four
MOST_POINTS = 100.0  # no difference is larger
UNITS = {"AP": "mAP", "AP50": "mAP50", "AP75": "mAP75"}


@dataclass(frozen=True)
class Verdict:
    """The answer to: does it help?

    Attributes:
        word: ``better``, ``worse``, ``no evidence``, ``identical``, ``one seed`` or ``no figure``.
        text: The same in one to three sentences, with the numbers it rests on.
        p: Probability of a difference as large without an effect, over seeds and, where predictions are there, images.
        p_holm: The same after Holm's correction for the number of variants.
        detectable: True difference, in points, that this design would find 8 times in 10; None: not even 100.
        seeds_for: Seeds that would find 0.3, 0.5 and 1.0 points 8 times in 10; None: 1,000 would not.
        level: Of the test of which the power is given: 0.05 over the number of variants, Holm's first step.
    """

    word: str
    text: str
    p: float | None = None
    p_holm: float | None = None
    detectable: float | None = None
    seeds_for: dict[str, int | None] | None = None
    level: float = LEVEL


@dataclass(frozen=True)
class Evidence:
    """What a verdict rests on.

    Attributes:
        figure: Name of the figure, as ``AP``.
        seeds: The difference over the seeds; None if the two models have no seed with this figure in common.
        images: What other images would give with these models.
        combined: Both.
        shared: Variance from the images, points squared; 0 without predictions.
        p: Of the test.
        paired: Whether the seeds are paired.
    """

    figure: str
    seeds: Difference | None
    images: ImageInterval | None
    combined: Interval | None
    shared: float
    p: float | None
    paired: bool


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Return p values corrected for their number: of all that are claimed, 5 in 100 experiments claim a wrong one.

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


def verdict(evidence: Evidence, p_holm: float | None, tests: int) -> Verdict:
    """Say what is known of one variant.

    Args:
        evidence: What it rests on.
        p_holm: Its p value after Holm's correction.
        tests: How many variants are tested together.
    """
    seeds, unit = evidence.seeds, UNITS.get(evidence.figure, evidence.figure)
    level = LEVEL / max(tests, 1)
    if seeds is None:
        text = f"no figure: no seed has {unit} of both models; train the missing runs, or choose data with objects"
        return Verdict("no figure", text, level=level)
    if max(abs(value) for value in seeds.values) <= SAME:
        every = "the one seed gives" if seeds.n == 1 else f"every one of {seeds.n} seeds gives"
        return Verdict("identical", f"identical: {every} exactly the base's {unit}", evidence.p, p_holm, level=level)
    if seeds.n == 1:
        return Verdict("one seed", _one_seed(evidence, unit), level=level)
    if seeds.se is None or evidence.p is None or p_holm is None:
        text = (
            f"no evidence either way: each of {seeds.n} seeds gives the same {_signed(seeds.mean, 2)} {unit}; "
            "a seed that changes nothing makes no second run, so that they count as one"
        )
        return Verdict("no evidence", text, level=level)

    count = evidence.images.images if evidence.images else 2
    detectable, wanted = plan(seeds, evidence.shared, count, level, paired=evidence.paired)
    word = "no evidence" if p_holm > LEVEL else "better" if seeds.mean > 0 else "worse"
    sentences = [_finding(evidence, word, unit, p_holm, tests)]
    if word == "no evidence" and detectable is not None:
        sentences[0] += "; " + _design(evidence, unit, detectable, wanted, tests, count)
    if seeds.p_smallest is not None and seeds.p_smallest > LEVEL:
        sentences.append(
            f"The exact permutation test cannot fall below {seeds.p_smallest:.3g} at {seeds.n} seeds, "
            "so the verdict rests on the t distribution"
        )
    if not evidence.paired:
        sentences.append("The seeds are not paired, so Welch's test compares the two groups of runs")
    if detectable is not None and detectable > MOST_POINTS:
        detectable = None
    return Verdict(word, ". ".join(sentences), evidence.p, p_holm, detectable, wanted, level)


def plan(
    seeds: Difference, shared: float, images: int, level: float, *, paired: bool = True
) -> tuple[float | None, dict[str, int | None]]:
    """Return the difference that was detectable, in points, and the seeds for smaller ones, at the measured spread.

    Args:
        seeds: The difference over the seeds.
        shared: Variance from the images.
        images: Number of images.
        level: Of the test.
        paired: Whether the seeds are paired.
    """
    if seeds.se is None or seeds.sd is None or seeds.df is None:
        return None, {}
    found = power_analysis.detectable(seeds.se, seeds.df, shared, images, level)
    needed = {str(d): power_analysis.seeds_for(d, seeds.sd, shared, images, level, paired=paired) for d in TARGETS}
    return found, needed


def _finding(evidence: Evidence, word: str, unit: str, p_holm: float, tests: int) -> str:
    seeds, whole = evidence.seeds, evidence.combined
    assert seeds is not None, "the caller has looked"
    low, high = (whole.low, whole.high) if whole else (seeds.low or 0.0, seeds.high or 0.0)
    scope = "over seeds and test images" if whole else "over seeds, on these test images"
    digits = _digits((high - low) / 2)
    interval = f"95 % interval {_signed(low, digits)} to {_signed(high, digits)} {scope}"
    head = "no evidence either way" if word == "no evidence" else word
    text = f"{head}: {_signed(seeds.mean, digits)} {unit} ({interval})"
    many = f" after Holm's correction for {tests} variants" if tests > 1 else ""
    if word != "no evidence":
        return f"{text}, {_probability(p_holm)}{many}"
    if tests > 1 and evidence.p is not None and evidence.p <= LEVEL:
        return f"{text}, {_probability(evidence.p)} alone but {_probability(p_holm)}{many}"
    return text


def _design(
    evidence: Evidence, unit: str, detectable: float, wanted: dict[str, int | None], tests: int, images: int
) -> str:
    """Return what the comparison could have seen."""
    seeds = evidence.seeds
    assert seeds is not None, "the caller has looked"
    at = f" (tested at {LEVEL / tests:.2g}, the first step of {tests} variants)" if tests > 1 else ""
    size = f"{detectable:.{_digits(detectable)}f}"
    spread = "this spread" if seeds.n >= FEW else f"this spread, a rough guess from {seeds.n}"
    text = f"at {seeds.n} seeds and {spread}, a difference of {size} {unit} or more would be found 8 times in 10{at}"
    if detectable > MOST_POINTS:
        text = f"at {seeds.n} seeds and {spread}, no difference is large enough to be found 8 times in 10{at}"
    smaller = [(target, needed) for target, needed in wanted.items() if float(target) < detectable]
    if not smaller:
        return text
    target, needed = next(((t, n) for t, n in smaller if n is not None), smaller[0])
    first = smaller[0][0]
    if needed is not None and target == first:
        return f"{text}; for {target} {unit} plan {needed} seeds"
    bound = (
        power_analysis.power(float(first), 1e-9, 1e9, evidence.shared, images, LEVEL / tests) < power_analysis.WANTED
    )
    why = f"no number of seeds is enough on {images} images" if bound else "it takes more than 1,000 seeds"
    text += f"; for {first} {unit} {why}"
    return text if needed is None else f"{text}, for {target} {unit} plan {needed}"


def _one_seed(evidence: Evidence, unit: str) -> str:
    assert evidence.seeds is not None, "the caller has looked"
    text, images = f"one seed: {_signed(evidence.seeds.mean, 2)} {unit}", evidence.images
    if images is not None:
        digits = _digits((images.high - images.low) / 2)
        ends = f"{_signed(images.low, digits)} to {_signed(images.high, digits)}"
        text += f" ({ends} on other images with these very weights)"
    text += "; another seed may turn it around, so nothing is claimed: plan at least 3 seeds"
    return text if evidence.paired else f"{text}. The seeds are not paired"


def _digits(half: float) -> int:
    """Return the decimals that are worth printing beside such an uncertainty."""
    return 1 if half >= 0.5 else min(4, 1 - math.floor(math.log10(max(half, 1e-4))))


def _signed(value: float, digits: int) -> str:
    text = f"{value:+.{digits}f}"
    return text if float(text) else text[1:]


def _probability(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
