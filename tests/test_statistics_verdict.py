"""Differences, intervals, corrections and verdicts."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re

import numpy as np
import pytest
from scenes import random_scene
from scipy import stats

from yolo_attn.errors import DataError
from yolo_attn.metrics import columns, compute_class_metrics, compute_metrics
from yolo_attn.statistics import Group, analyse
from yolo_attn.statistics.seed_and_image_intervals import half_width
from yolo_attn.statistics.seed_differences import PERMUTATIONS, paired_difference, unpaired_difference
from yolo_attn.statistics.verdicts import holm

pytestmark = pytest.mark.fast

BASE = [0.400, 0.412, 0.391, 0.405, 0.398]


def shifted(differences, base=BASE, name="variant"):
    """Return a group with these differences to the baseline, in points."""
    return Group(name, {"AP": [value + d / 100 for value, d in zip(base, differences, strict=False)]})


def only(differences, **options):
    base = Group("base", {"AP": BASE[: len(differences)]})
    (effect,) = analyse(base, [shifted(differences)], None, **options)
    return effect


def test_difference_is_that_of_the_paired_t_test():
    rng = np.random.default_rng(0)
    base, variant = rng.normal(40, 1, 6), rng.normal(40.5, 1, 6)
    found, expected = paired_difference(variant - base), stats.ttest_rel(variant, base)
    interval = expected.confidence_interval()
    assert found.p_t == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert half_width(found.se, 5, 0.0, 100) == pytest.approx(found.high - found.mean)  # whose coverage is simulated
    assert (found.n, found.method, found.df, found.mean) == (6, "t", 5, pytest.approx(np.mean(variant - base)))


def test_permutation_flips_every_pattern_of_signs():
    values = [0.9, 0.4, -0.2, 1.3, 0.7, 0.1]
    means = [abs(np.dot(signs, values)) for signs in itertools.product((-1, 1), repeat=6)]
    found = paired_difference(values)
    assert found.p_permutation == pytest.approx(np.mean(np.array(means) >= abs(sum(values)) - 1e-12))
    assert found.p_smallest == 2 / 64
    five = paired_difference([1.0, 1.1, 1.2, 1.3, 1.4])
    assert five.p_permutation == five.p_smallest == 0.0625


def test_permutation_is_exact_up_to_the_limit_and_random_above():
    values = np.random.default_rng(1).normal(0.4, 1, 14)
    exact, drawn = paired_difference(values), paired_difference(values, exact_up_to=13)
    assert exact.p_permutation * 2**14 == pytest.approx(round(exact.p_permutation * 2**14))
    assert drawn.p_permutation == pytest.approx(exact.p_permutation, abs=0.02)
    assert drawn.p_permutation == paired_difference(values, exact_up_to=13).p_permutation
    assert drawn.p_smallest == 2 / (PERMUTATIONS + 1)


@pytest.mark.parametrize("differences", [[5.0], [5.0, -30.0], [1.0, 1.0]])
def test_below_three_seeds_there_is_no_interval_and_no_p(differences):
    effect = only(differences)
    found = effect.metrics["AP"]
    assert found.seeds.values == pytest.approx(differences)
    assert (found.interval.low, found.interval.high, found.p, effect.verdict.p_holm) == (None,) * 4
    assert effect.verdict.word == {1: "one seed", 2: "two seeds"}[len(differences)]


@pytest.mark.parametrize("n", [1, 2, 3, 9])
def test_ap_0_everywhere_is_not_identical(n):
    zero = {"AP": [0.0] * n}
    (effect,) = analyse(Group("base", zero), [Group("variant", zero)], None)
    assert (effect.verdict.word, effect.verdict.p, effect.metrics["AP"].p) == ("not measured", None, None)
    assert "AP is 0" in effect.verdict.text


def test_welch_for_runs_that_are_not_paired():
    rng = np.random.default_rng(3)
    ours, theirs = rng.normal(41, 1, 4), rng.normal(40, 2, 6)
    found, expected = unpaired_difference(ours, theirs), stats.ttest_ind(ours, theirs, equal_var=False)
    interval = expected.confidence_interval()
    assert found.method == "Welch"
    assert (found.p_t, found.low, found.high) == pytest.approx((expected.pvalue, interval.low, interval.high))
    assert found.p_smallest == pytest.approx(2 / 210)
    assert unpaired_difference([1.0, 2.0, 3.0], [7.0, 8.0, 9.5]).p_permutation == pytest.approx(0.1)
    assert unpaired_difference([1.0], [2.0, 3.0]).p_t is None
    assert unpaired_difference([1.0, 1.0, 1.0], [1.0, 1.0, 1.0]).p_t == 1


def test_holm():
    assert holm([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, None, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def numbers(text):
    return re.findall(r"[+-]?\d[\d.,]*(?<![.,])", text)


def test_no_evidence_names_the_detectable_difference():
    effect = only([0.4, 1.2, -0.6, 1.0, 0.1])
    verdict = effect.verdict
    assert verdict.word == "no evidence"
    assert numbers(verdict.text) == ["+0.4", "95", "-0.5", "+1.3", "5", "1.2", "8", "10", "0.3", "48"]
    assert verdict.seeds_for["0.3"] == 48
    assert verdict.seeds_for["0.3"] > verdict.seeds_for["0.5"] > verdict.seeds_for["1.0"]
    assert verdict.detectable == pytest.approx(1.2, abs=0.05)
    assert verdict.p == verdict.p_holm == pytest.approx(effect.metrics["AP"].seeds.p_t)


@pytest.mark.parametrize(("sign", "word"), [(1, "better"), (-1, "worse")])
def test_better_and_worse(sign, word):
    effect = only([sign * d for d in (2.0, 2.2, 1.8, 2.5, 1.9)])
    assert effect.verdict.word == word
    assert numbers(effect.verdict.text)[0] == f"{'+' if sign > 0 else '-'}2.08"
    assert f"p < 0.001: {word}." in effect.verdict.text


@pytest.mark.parametrize(
    ("differences", "word", "text", "ends"),
    [
        ([0.0], "identical", "exactly the baseline's AP.", (None, None, None)),
        ([0.0] * 2, "identical", "All 2 seeds", (None, None, None)),
        ([0.0] * 5, "identical", "All 5 seeds", (0, 0, 1)),
        ([1.0] * 4, "no evidence", "+1.00 with each of 4 seeds", (None, None, None)),
        ([5.0], "one seed", "+5.00 with one seed", (None, None, None)),
        ([-30.0], "one seed", "-30.00 with one seed", (None, None, None)),
    ],
)
def test_seeds_without_spread_give_no_interval(differences, word, text, ends):
    effect = only(differences)
    seeds = effect.metrics["AP"].seeds
    assert effect.verdict.word == word
    assert text in effect.verdict.text
    assert (seeds.low, seeds.high, seeds.p_t) == ends
    assert effect.verdict.p == ends[2]


def test_many_variants_need_stronger_evidence():
    differences = [0.5, 1.4, 0.2, 1.0, 0.9]
    alone = only(differences)
    assert alone.verdict.word == "better"
    base = Group("base", {"AP": BASE})
    others = [shifted([0.1, -0.2, 0.3, 0.0, -0.1], name=f"other {k}") for k in range(4)]
    effect = analyse(base, [shifted(differences), *others], None)[0]
    assert effect.verdict.word == "no evidence"
    assert effect.verdict.p_holm == pytest.approx(5 * alone.verdict.p)
    assert f"p = {5 * alone.verdict.p:.2g} after Holm's correction for 5 variants" in effect.verdict.text
    assert "level 0.01, as 5 variants" in effect.verdict.text
    assert effect.verdict.level == pytest.approx(0.01)
    assert effect.verdict.detectable > alone.verdict.detectable


def test_unpaired_seeds_need_stronger_evidence():
    differences = [1.0, 1.1, 0.9, 1.2, 0.8]
    assert only(differences).verdict.word == "better"
    effect = only(differences, paired=False)
    assert effect.metrics["AP"].seeds.method == "Welch"
    assert effect.verdict.word == "no evidence"
    assert "Welch" in effect.verdict.text


def test_huge_spread_and_few_seeds_give_sensible_numbers():
    verdict = only([-40.0, 20.0, 35.0]).verdict
    assert (verdict.detectable, verdict.seeds_for) == (None, {"0.3": None, "0.5": None, "1.0": None})
    assert "roughly), no difference is detected" in verdict.text
    assert "0.3 points needs more than 1,000 seeds" in verdict.text
    verdict = only([-0.5, 0.7, 0.1]).verdict
    assert "With 3 seeds and this spread (known only roughly)" in verdict.text


def test_missing_runs_are_left_out_pair_by_pair():
    base = Group("base", {"AP": BASE, "AP_large": [None] * 5})
    gaps = shifted([0.4, 1.2, -0.6, 1.0, 0.1])
    values = [None, *gaps.values["AP"][1:4], None]
    effect = analyse(base, [Group("variant", {"AP": values, "AP_large": [None] * 5})], None)[0]
    assert effect.metrics["AP"].seeds.values == pytest.approx([1.2, -0.6, 1.0])
    assert list(effect.metrics) == ["AP"]
    holes = Group("base", {"AP": [*BASE[:3], None, BASE[4]]})
    (effect,) = analyse(holes, [Group("variant", {"AP": values})], None)
    assert effect.metrics["AP"].seeds.values == pytest.approx([1.2, -0.6])
    nothing = analyse(base, [Group("variant", {"AP": [None] * 5})], None)[0]
    assert nothing.verdict.word == "not measured"
    assert nothing.metrics == {}


def test_verdict_agrees_with_the_interval():
    rng = np.random.default_rng(4)
    words = set()
    for _ in range(30):
        effect = only(rng.normal(0.9, 0.8, 5).tolist())
        seeds = effect.metrics["AP"].seeds
        outside = seeds.low > 0 or seeds.high < 0
        assert (effect.verdict.word != "no evidence") == outside
        words.add(effect.verdict.word)
    assert words >= {"better", "no evidence"}


def runs(name, seeds, noise, truth, hits):
    """Return runs that predict ``hits``, each with its own noise in the scores."""
    values, found = {}, []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        predictions = [{**hit, "score": float(np.clip(hit["score"] + rng.normal(0, noise), 0, 1))} for hit in hits]
        result = compute_metrics(truth, predictions)
        result |= {f"AP[{klass}]": value["AP"] for klass, value in compute_class_metrics(truth, predictions).items()}
        for metric, value in result.items():
            values.setdefault(metric, []).append(value)
        found.append(columns(predictions))
    return Group(name, values, found)


@pytest.fixture(scope="module")
def detections():
    """A baseline, and a variant without every fifth of its predictions."""
    truth, hits = random_scene(1, images=40, classes=3)
    base = runs("base", range(3), 0.2, truth, hits)
    worse = [hit for number, hit in enumerate(hits) if number % 5]
    return truth, base, runs("worse", range(10, 13), 0.2, truth, worse)


def test_images_and_both(detections):
    truth, base, variant = detections
    seen = []
    (effect,) = analyse(base, [variant], truth, resamples=300, progress=lambda *counts: seen.append(counts))
    assert seen == [(k, 6) for k in range(1, 7)]
    metric = effect.metrics["AP"]
    assert (metric.images.resamples, metric.images.images) == (300, 40)
    assert metric.images.low < metric.seeds.mean < metric.images.high
    half = (metric.seeds.high - metric.seeds.low) / 2
    assert metric.combined.high - metric.seeds.mean >= half
    assert metric.combined.se > metric.seeds.se
    assert "over seeds and test images" in effect.verdict.text
    assert effect.verdict.p > metric.seeds.p_t
    assert effect.metrics["AR100"].images is None
    for name in ("AP50", "AP_small", "AP[a]"):
        assert effect.metrics[name].images is not None
    json.dumps(dataclasses.asdict(effect), allow_nan=False)


def test_images_are_drawn_the_same_for_both_and_every_time(detections):
    truth, base, variant = detections
    groups = [dataclasses.replace(base, name="again"), variant]
    effects = analyse(base, groups, truth, resamples=50)
    metric = effects[0].metrics["AP"]
    assert effects[0].verdict.word == "identical"
    assert (metric.images.low, metric.images.high, metric.combined.low, metric.combined.high) == (0, 0, 0, 0)
    assert analyse(base, groups, truth, resamples=50) == effects


def test_one_seed_with_predictions(detections):
    truth, base, variant = detections
    groups = [Group(g.name, {k: v[:1] for k, v in g.values.items()}, g.predictions[:1]) for g in (base, variant)]
    (effect,) = analyse(groups[0], groups[1:], truth, resamples=100)
    assert effect.verdict.word == "one seed"
    assert "over test images, with these weights" in effect.verdict.text
    assert effect.metrics["AP"].images is not None
    assert effect.metrics["AP"].combined is None


def test_not_paired_with_predictions(detections):
    truth, base, variant = detections
    fewer = Group("worse", {name: values[:3] for name, values in variant.values.items()}, variant.predictions[:3])
    (effect,) = analyse(base, [fewer], truth, resamples=100, paired=False)
    assert effect.metrics["AP"].combined.se > effect.metrics["AP"].seeds.se
    assert effect.metrics["AP"].images.low < effect.metrics["AP"].images.high


def test_a_missing_run_has_no_predictions(detections):
    truth, base, variant = detections
    gap = {name: [None, *values[1:]] for name, values in variant.values.items()}
    (effect,) = analyse(base, [Group("gap", gap, [None, *variant.predictions[1:]])], truth, resamples=50)
    assert effect.metrics["AP"].seeds.n == 2
    assert effect.metrics["AP"].images is not None
    for predictions in ([None, *variant.predictions[1:]], []):  # not of the difference's seeds; none
        (effect,) = analyse(base, [dataclasses.replace(variant, predictions=predictions)], truth, resamples=50)
        assert effect.metrics["AP"].seeds.n == 3
        assert effect.metrics["AP"].images is None


def test_objects_on_very_few_images_have_no_image_interval(detections):
    truth, hits = random_scene(1, images=40, classes=3)
    rare = [a for a in truth["annotations"] if a["category_id"] == 2][:1]
    truth["annotations"] = [a for a in truth["annotations"] if a["category_id"] != 2] + rare
    base, variant = runs("base", range(2), 0.2, truth, hits), runs("variant", range(5, 7), 0.2, truth, hits)
    (effect,) = analyse(base, [variant], truth, resamples=100)
    assert effect.metrics["AP[c]"].images is None
    assert effect.metrics["AP[a]"].images is not None


def test_bad_input(detections):
    truth, base, variant = detections
    with pytest.raises(DataError, match=r"variant has 2 .*base has 5"):
        analyse(Group("base", {"AP": BASE}), [shifted([0.1, 0.2])], None)
    with pytest.raises(DataError, match=r"worse .*AP for 3 .*predictions for 2"):
        analyse(base, [dataclasses.replace(variant, predictions=variant.predictions[:2])], truth)
    strange = {**variant.predictions[0], "image_id": [999] * len(variant.predictions[0]["image_id"])}
    with pytest.raises(DataError, match=r"worse: .*image 999"):
        analyse(base, [dataclasses.replace(variant, predictions=[strange] * 3)], truth)
