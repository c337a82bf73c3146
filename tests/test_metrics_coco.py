"""COCO's metrics: equal to those of pycocotools and faster-coco-eval, and the edge cases."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from scenes import pycocotools_metrics, pycocotools_per_class, random_scene

from yolo_attn.errors import DataError
from yolo_attn.metrics import METRICS, boxes_to_coco, columns, compute_class_metrics, compute_metrics, error_kinds, rows
from yolo_attn.metrics.matching import assign, match, read_objects

SCENES = {
    "plain": {},
    "crowd and areas of segments": {"crowd": 0.2},
    "equal scores": {"ties": True, "crowd": 0.1},
    "more than 100 of a class": {"many": 130},
    "much of everything": {"classes": 8, "images": 30, "crowd": 0.15, "ties": True, "many": 140, "conjure": 5},
}


def same(found, expected):
    assert list(found) == list(expected)
    assert [name for name in found if found[name] is None] == [name for name in found if expected[name] is None]
    assert {k: v or 0 for k, v in found.items()} == pytest.approx({k: v or 0 for k, v in expected.items()}, abs=1e-12)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("scene", SCENES)
def test_metrics_equal_pycocotools(scene, seed):
    truth, predictions = random_scene(seed, **SCENES[scene])
    found = compute_metrics(truth, predictions)
    assert list(found) == list(METRICS)
    same(found, pycocotools_metrics(truth, predictions))
    assert 0.02 < found["AP"] < 0.95
    classes, expected = compute_class_metrics(truth, predictions), pycocotools_per_class(truth, predictions)
    assert list(classes) == list(expected)
    for name in classes:
        same(classes[name], expected[name])


def jittered(bbox, rng):
    x, y, w, h = bbox
    shares = [rng.gauss(0, 0.08) for _ in range(4)]
    return [x + w * shares[0], y + h * shares[1], w * (1 + shares[2]), h * (1 + shares[3])]


@pytest.mark.parametrize(
    ("folder", "file"),
    [
        ("coco_val128", "instances_val.json"),
        ("coco_val128", "instances_val_coco91.json"),
        ("bccd", "instances_test.json"),
    ],
)
def test_metrics_equal_pycocotools_on_real_ground_truth(shared, folder, file):
    path = shared / "data" / folder / "annotations" / file
    if not path.is_file():
        pytest.skip(f"needs {path}")
    truth = json.loads(path.read_text(encoding="utf-8"))
    rng = random.Random(0)
    numbers = [category["id"] for category in truth["categories"]]
    predictions = [
        {
            "image_id": annotation["image_id"],
            "category_id": annotation["category_id"] if rng.random() < 0.8 else rng.choice(numbers),
            "bbox": jittered(annotation["bbox"], rng),
            "score": round(rng.random(), 2),  # many are equal
        }
        for annotation in truth["annotations"]
        for _ in range(rng.randint(0, 3))
    ]
    found = compute_metrics(truth, predictions)
    same(found, pycocotools_metrics(truth, predictions))
    assert 0.1 < found["AP"] < 0.9
    expected = pycocotools_per_class(truth, predictions)
    for name, values in compute_class_metrics(truth, predictions).items():
        same(values, expected[name])


def test_columns_and_rows_are_the_same_predictions_and_not_changed():
    truth, predictions = random_scene(2)
    kept = json.loads(json.dumps(columns(predictions)))
    before = json.dumps([truth, predictions, kept])
    assert list(kept) == ["image_id", "category_id", "score", "bbox"]
    assert rows(kept) == rows(predictions) == predictions
    assert columns(kept) == kept
    for function in (compute_metrics, compute_class_metrics, error_kinds):
        assert function(truth, kept) == function(truth, predictions)
    assert columns([]) == {"image_id": [], "category_id": [], "score": [], "bbox": []}
    assert json.dumps([truth, predictions, kept]) == before


def test_columns_that_do_not_fit_are_refused():
    good = {"image_id": [1], "category_id": [0], "score": [0.5], "bbox": [[0, 0, 1, 1]]}
    with pytest.raises(DataError, match="image_id 1, category_id 1, score 2, bbox 1"):
        rows({**good, "score": [0.5, 0.1]})
    with pytest.raises(DataError, match="image_id 1, category_id 1, bbox 1"):
        rows({k: v for k, v in good.items() if k != "score"})


def test_metrics_are_zero_without_predictions():
    truth = boxes_to_coco([(1, "a.jpg", 99, 99), (2, "b.jpg", 99, 99)], [(1, 0, [5, 5, 10, 10])], ["x", "y"])
    found = compute_metrics(truth, [])
    assert found["AP"] == found["AP_small"] == found["AR100"] == 0
    assert found["AP_medium"] is found["AP_large"] is None
    same(found, pycocotools_metrics(truth, []))
    assert compute_class_metrics(truth, []) == {
        "x": {"AP": 0, "AP50": 0, "AR100": 0},
        "y": {"AP": None, "AP50": None, "AR100": None},
    }


def test_images_without_labels_and_absent_classes():
    images = [(1, "a.jpg", 99, 99), (2, "b.jpg", 99, 99)]
    hit = {"image_id": 1, "category_id": 0, "bbox": [5, 5, 50, 50], "score": 0.5}
    stray = {"image_id": 2, "category_id": 1, "bbox": [5, 5, 50, 50], "score": 0.9}
    truth = boxes_to_coco(images, [(1, 0, [5, 5, 50, 50])], ["x", "y"])
    assert compute_metrics(truth, [hit])["AP"] == pytest.approx(1)
    assert compute_metrics(truth, [hit, stray])["AP"] == pytest.approx(1)  # class y is not in the split
    on_empty = {**stray, "category_id": 0}  # a wrong prediction for an image without labels
    assert compute_metrics(truth, [hit, on_empty])["AP"] == pytest.approx(0.5)
    nothing = boxes_to_coco(images, [], ["x", "y"])
    assert set(compute_metrics(nothing, [hit]).values()) == {None}
    assert compute_class_metrics(nothing, [hit])["x"] == {"AP": None, "AP50": None, "AR100": None}


def test_classes_of_one_name_are_kept_apart():
    truth = boxes_to_coco([(1, "a.jpg", 99, 99)], [(1, 0, [5, 5, 50, 50])], ["x", "x"])
    hit = {"image_id": 1, "category_id": 0, "bbox": [5, 5, 50, 50], "score": 0.5}
    found = compute_class_metrics(truth, [hit])
    assert {name: values["AP"] for name, values in found.items()} == {"x": pytest.approx(1), "x (1)": None}
    assert read_objects(truth).names == ("x", "x (1)")


def test_predictions_of_unknown_images_are_refused():
    truth = boxes_to_coco([(1, "a.jpg", 99, 99)], [(1, 0, [5, 5, 50, 50])], ["x"])
    for function in (compute_metrics, compute_class_metrics, error_kinds):
        with pytest.raises(DataError, match=r"1 image .*image 7"):
            function(truth, [{"image_id": 7, "category_id": 0, "bbox": [0, 0, 1, 1], "score": 1.0}])


BAD = [("score", value) for value in (float("nan"), float("inf"), None, "high", [0.5])]
BAD += [("bbox", [0, 0, value, 1]) for value in (float("nan"), float("-inf"), None, "wide", [1])]
BAD += [("bbox", box) for box in ([0, 0, 1], [0, 0, 1, 1, 1], [], 7)]
FUNCTIONS = {
    "metrics": compute_metrics,
    "metrics of classes": compute_class_metrics,
    "error kinds": error_kinds,
    "matches": lambda truth, predictions: match(read_objects(truth), predictions),
    "rows": lambda _, predictions: rows(predictions),
}


@pytest.mark.fast
@pytest.mark.parametrize("form", [list, columns])
@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(("key", "value"), BAD, ids=str)
def test_what_is_no_number_is_refused_by_every_function(key, value, function, form):
    truth = boxes_to_coco([(1, "a.jpg", 99, 99)], [(1, 0, [5, 5, 50, 50])], ["x"])
    good = {"image_id": 1, "category_id": 0, "bbox": [5, 5, 50, 50], "score": 0.5}
    assert FUNCTIONS[function](truth, form([good, good]))
    with pytest.raises(DataError, match="prediction 1 "):
        FUNCTIONS[function](truth, form([good, {**good, key: value}]))


@pytest.mark.fast
@pytest.mark.parametrize("key", ["image_id", "category_id", "score", "bbox"])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_prediction_without_a_key_is_refused_by_every_function(key, function):
    truth = boxes_to_coco([(1, "a.jpg", 99, 99)], [(1, 0, [5, 5, 50, 50])], ["x"])
    row = {"image_id": 1, "category_id": 0, "bbox": [5, 5, 50, 50], "score": 0.5}
    with pytest.raises(DataError, match=f"prediction 0 has no {key}"):
        FUNCTIONS[function](truth, [{name: value for name, value in row.items() if name != key}])


@pytest.mark.fast
def test_assignment():
    """Objects 0 and 1 overlap equally; 2 is a crowd region, which counts only if nothing else is free."""
    overlap, thresholds = np.array([[0.6, 0.6, 0.9]] * 4), np.array([0.5, 0.7])
    crowd = np.array([False, False, True])
    for ties, order in (("first", [0, 1, 2, 2]), ("last", [1, 0, 2, 2])):
        found = assign(overlap, thresholds, crowd=crowd, ignored=crowd[None], ties=ties)
        assert found[:, 0].tolist() == [[index, 2] for index in order]
    assert assign(overlap, thresholds, ties="first")[:, 0].tolist() == [[2, 2], [0, -1], [1, -1], [-1, -1]]
