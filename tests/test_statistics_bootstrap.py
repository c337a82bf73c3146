"""Resampled metrics equal the evaluator's, with each image once and with repeated images."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scenes import random_scene

from yolo_attn.errors import DataError
from yolo_attn.metrics import boxes_to_coco, columns, compute_class_metrics, compute_metrics
from yolo_attn.metrics.matching import match, read_objects
from yolo_attn.statistics import image_bootstrap
from yolo_attn.statistics.image_bootstrap import draw_images, resample_metrics


def evaluator(truth, predictions):
    """Return the metrics of faster-coco-eval by our names."""
    found = compute_metrics(truth, predictions)
    for name, values in compute_class_metrics(truth, predictions).items():
        found |= {f"{metric}[{name}]": value for metric, value in values.items()}
    return found


def ours(truth, predictions, weights=None):
    known = read_objects(truth)
    weights = np.ones((1, len(known.images)), dtype=np.int32) if weights is None else weights
    return resample_metrics(known, match(known, predictions), weights)


def assert_same(found, expected, row=0):
    """Compare every resampled metric with the evaluator's; return how many there were."""
    compared = [name for name in found if name in expected]
    got = {name: None if np.isnan(found[name][row]) else float(found[name][row]) for name in compared}
    assert got == pytest.approx({name: expected[name] for name in compared}, abs=1e-12)
    return sum(value is not None for value in got.values())


def on_a_grid(truth, predictions):
    """Round boxes to multiples of 8 pixels, for overlaps of exactly 0.5, 0.75 and 1, and equal ones."""
    for item in [*truth["annotations"], *predictions]:
        item["bbox"] = [
            8.0 * max(round(value / 8), low) for value, low in zip(item["bbox"], (-99, -99, 1, 1), strict=True)
        ]
    return truth, predictions


@pytest.mark.parametrize("grid", [False, True])
@pytest.mark.parametrize(
    "kind",
    [{}, {"crowd": 0.3}, {"ties": True}, {"many": 250}, {"crowd": 0.2, "ties": True, "many": 130}, {"images": 3}],
    ids=["plain", "crowd", "ties", "many", "all", "few images"],
)
def test_with_unit_weights_metrics_equal_the_evaluators(kind, grid):
    compared = 0
    for seed in range(4):
        truth, predictions = random_scene(seed, **kind)
        if grid:
            truth, predictions = on_a_grid(truth, predictions)
        compared += assert_same(ours(truth, predictions), evaluator(truth, predictions))
    assert compared > 30


@pytest.mark.parametrize("seed", range(3))
def test_objects_that_overlap_each_other(seed):
    """Every prediction overlaps several objects, some equally, some of them crowd regions."""
    rng = np.random.default_rng(seed)

    def box():
        return (8.0 * np.concatenate([rng.integers(0, 3, 2), rng.integers(3, 7, 2)])).tolist()

    truth = boxes_to_coco(
        [(k, f"{k}.jpg", 99, 99) for k in range(1, 31)], [(k, 0, box()) for k in range(1, 31) for _ in range(5)], ["x"]
    )
    for annotation in truth["annotations"]:
        annotation["iscrowd"] = int(rng.random() < 0.25)
        annotation["area"] *= rng.choice([0.5, 1.0])
    images = [k for k in range(1, 31) for _ in range(8)]
    predictions = [{"image_id": k, "category_id": 0, "bbox": box(), "score": float(rng.random())} for k in images]
    assert_same(ours(truth, predictions), evaluator(truth, predictions))


def test_area_limits_are_inside_both_sizes():
    sides = [(32, 32), (96, 96), (16, 64), (31, 33), (97, 95)]
    boxes = [(1, 0, [10 + 110 * k, 10, *side]) for k, side in enumerate(sides)]
    truth = boxes_to_coco([(1, "a.jpg", 480, 640)], boxes, ["x"])
    found = [
        {"image_id": 1, "category_id": 0, "bbox": box, "score": 0.9 - k / 10} for k, (_, _, box) in enumerate(boxes)
    ]
    expected = evaluator(truth, found[1:])
    assert 0 < expected["AP_small"] < 1
    assert 0 < expected["AP_medium"] < 1
    assert_same(ours(truth, found[1:]), expected)


def test_no_predictions_and_absent_objects():
    truth = boxes_to_coco([(3, "a.jpg", 99, 99), (1, "b.jpg", 99, 99)], [(3, 1, [5, 5, 10, 10])], ["x", "y"])
    found = ours(truth, [])
    assert found["AP"][0] == found["AP_small"][0] == found["AP50[y]"][0] == 0
    assert np.isnan([found[name][0] for name in ("AP_large", "AP[x]")]).all()
    nothing = boxes_to_coco([(1, "b.jpg", 99, 99)], [], ["x"])
    stray = [{"image_id": 1, "category_id": 0, "bbox": [1, 1, 5, 5], "score": 0.5}]
    assert np.isnan([values[0] for values in ours(nothing, stray).values()]).all()


def test_predictions_of_unlisted_classes_are_skipped():
    truth, predictions = random_scene(5)
    more = [*predictions, {"image_id": 1, "category_id": 77, "bbox": [0, 0, 50, 50], "score": 0.99}]
    assert_same(ours(truth, more), evaluator(truth, more))


def repeated(truth, predictions, weights):
    """Return the set in which image k appears weights[k] times, its copies in a row with new ids."""
    result, found = {**truth, "images": [], "annotations": []}, []
    for image, times in zip(sorted(truth["images"], key=lambda image: image["id"]), weights, strict=True):
        for copy in range(times):
            new = {"image_id": 1000 * image["id"] + copy}
            result["images"].append({**image, "id": new["image_id"]})
            result["annotations"] += [{**a, **new} for a in truth["annotations"] if a["image_id"] == image["id"]]
            found += [{**p, **new} for p in predictions if p["image_id"] == image["id"]]
    result["annotations"] = [{**a, "id": number} for number, a in enumerate(result["annotations"], 1)]
    return result, found


@pytest.mark.parametrize("seed", range(4))
def test_weights_equal_an_evaluation_of_the_resampled_set(seed):
    # Scores repeat from image to image, where the order is that of the images; never within an image and class.
    truth, predictions = random_scene(seed, crowd=0.2)
    seen = {}
    for prediction in predictions:
        key = prediction["image_id"], prediction["category_id"]
        seen[key] = seen.get(key, 0) + 1
        prediction["score"] = round(1 - seen[key] / 20, 2)
    weights = np.concatenate([draw_images(12, 3, seed), np.eye(12, dtype=np.int32)[[2]] * 5])
    found = ours(truth, predictions, weights)
    for row, times in enumerate(weights):
        assert_same(found, evaluator(*repeated(truth, predictions, times)), row)
    assert len({round(float(value), 9) for value in found["AP"]}) == 4


def test_copies_of_a_prediction_are_in_a_row_if_scores_tie():
    # A right and a wrong prediction of one score: twice the image is right, right, wrong, wrong.
    truth = boxes_to_coco([(1, "a.jpg", 99, 99)], [(1, 0, [0, 0, 50, 50]), (1, 0, [50, 50, 40, 40])], ["x"])
    right, wrong = (
        {"image_id": 1, "category_id": 0, "bbox": b, "score": 0.5} for b in ([0, 0, 50, 50], [60, 0, 30, 30])
    )
    found = ours(truth, [right, wrong], np.array([[1], [2]], dtype=np.int32))
    assert found["AP50"] == pytest.approx([51 / 101, 51 / 101])


def test_blocks_and_threads_change_nothing(monkeypatch):
    truth, predictions = random_scene(6, images=30)
    weights = draw_images(30, 50, 1)
    whole = ours(truth, predictions, weights)
    monkeypatch.setattr(image_bootstrap, "BLOCK", 40)
    monkeypatch.setattr(image_bootstrap, "MAX_THREADS", 1)
    parts = ours(truth, predictions, weights)
    for name, values in whole.items():
        np.testing.assert_array_equal(values, parts[name])


def test_wanted_metrics_only():
    truth, predictions = random_scene(7)
    known, weights = read_objects(truth), draw_images(12, 5, 0)
    every = ours(truth, predictions, weights)
    some = resample_metrics(known, match(known, predictions), weights, ["AP_small", "AP50[b]"])
    assert list(some) == ["AP_small", "AP50[b]"]
    for name, values in some.items():
        np.testing.assert_array_equal(values, every[name])


def test_draws_are_sets_of_the_same_size_and_repeat_with_the_seed():
    weights = draw_images(40, 500, 3)
    assert weights.shape == (500, 40)
    assert (weights.sum(axis=1) == 40).all()
    assert weights.min() == 0
    assert weights.mean(axis=0) == pytest.approx(np.ones(40), abs=0.25)
    assert weights.var() == pytest.approx(1 - 1 / 40, rel=0.05)
    np.testing.assert_array_equal(weights, draw_images(40, 500, 3))
    assert (weights != draw_images(40, 500, 4)).any()


def test_order_of_images_and_classes_and_form_of_predictions_do_not_matter():
    truth, predictions = random_scene(8, crowd=0.2)
    before = json.dumps([truth, predictions])
    expected = ours(truth, predictions)
    assert json.dumps([truth, predictions]) == before
    turned = {key: value[::-1] for key, value in truth.items()}
    for name, values in ours(turned, columns(predictions)).items():
        np.testing.assert_allclose(values, expected[name], rtol=0, atol=1e-15)


def test_bad_input():
    truth, predictions = random_scene(11)
    found = columns(predictions)
    with pytest.raises(DataError, match=r"1 image .*image 99"):
        ours(truth, {**found, "image_id": [99, *found["image_id"][1:]]})
    with pytest.raises(DataError, match="image_id 1,"):
        ours(truth, {**found, "image_id": [1]})
    with pytest.raises(DataError, match=r"prediction 0 .* nan .*\["):
        ours(truth, {**found, "score": [float("nan"), *found["score"][1:]]})
    with pytest.raises(DataError, match="no images"):
        ours({**truth, "images": [], "annotations": []}, [])
    lost = [{**truth["annotations"][0], "image_id": 98}, *truth["annotations"][1:]]
    with pytest.raises(DataError, match=r"annotation 1 .*image 98"):
        ours({**truth, "annotations": lost}, predictions)
    lost = [{**truth["annotations"][0], "category_id": 55}, *truth["annotations"][1:]]
    with pytest.raises(DataError, match=r"annotation 1 .*category 55"):
        ours({**truth, "annotations": lost}, predictions)


def test_real_predictions(shared):
    from ultralytics import YOLO

    folder = shared / "data" / "coco_val128"
    truth = json.loads((folder / "annotations" / "instances_val.json").read_text())
    crowded = {a["image_id"] for a in truth["annotations"] if a["iscrowd"]}
    truth["images"] = sorted(truth["images"], key=lambda image: image["id"] not in crowded)[:24]
    kept = {image["id"] for image in truth["images"]}
    truth["annotations"] = [a for a in truth["annotations"] if a["image_id"] in kept]
    assert crowded, "the set has crowd regions"
    order = sorted(category["id"] for category in truth["categories"])  # of the model's classes
    model, predictions = YOLO(shared / "weights" / "yolo11n.pt"), []
    for image in truth["images"]:
        path = folder / "images" / "val" / image["file_name"]
        (result,) = model.predict(path, imgsz=320, conf=0.001, iou=0.7, verbose=False)
        predictions += [
            {
                "image_id": image["id"],
                "category_id": order[int(klass)],
                "score": round(float(score), 3),
                "bbox": [float(x - w / 2), float(y - h / 2), float(w), float(h)],
            }
            for klass, score, (x, y, w, h) in zip(result.boxes.cls, result.boxes.conf, result.boxes.xywh, strict=True)
        ]
    expected = evaluator(truth, predictions)
    assert expected["AP"] > 0.2
    assert assert_same(ours(truth, predictions), expected) > 40
