"""Kinds of error: each definition by hand, all against a loop, and the AP against the evaluator's."""

from __future__ import annotations

import json

import pytest
from loop_oracles import tide
from scenes import random_scene

from yolo_attn.metrics import KINDS, boxes_to_coco, compute_metrics, error_kinds

pytestmark = pytest.mark.fast

OBJECT = [100.0, 100.0, 100.0, 100.0]


def one_object(*predictions, others=()):
    """Return the errors of predictions ``(class, box, score)`` with one object of class 0 (and ``others``)."""
    boxes = [(1, 0, OBJECT), *((1, category, box) for category, box in others)]
    truth = boxes_to_coco([(1, "a.jpg", 400, 400), (2, "b.jpg", 400, 400)], boxes, ["x", "y"])
    found = [{"image_id": 1, "category_id": c, "bbox": list(box), "score": score} for c, box, score in predictions]
    return error_kinds(truth, found)


def counted(result):
    return {kind: count for kind, count in result.counts.items() if count}


def shifted(by):
    return [OBJECT[0] + by, *OBJECT[1:]]


def test_a_right_prediction_is_no_error():
    result = one_object((0, shifted(30), 0.5))  # IoU 70 / 130
    assert counted(result) == {}
    assert result.ap50 == pytest.approx(1)
    assert set(result.dap.values()) == {0}
    assert list(result.counts) == list(KINDS)
    assert list(result.dap) == [*KINDS, "false_positive", "false_negative"]


@pytest.mark.parametrize(
    ("category", "by", "kind"),
    [
        (0, 40, "localisation"),  # IoU 60 / 140
        (0, 80, "localisation"),  # IoU 20 / 180
        (0, 90, "background"),  # IoU 10 / 190
        (0, 300, "background"),
        (1, 10, "classification"),
        (1, 30, "classification"),
        (1, 60, "both"),
        (1, 90, "background"),
    ],
)
def test_each_kind_alone(category, by, kind):
    result = one_object((category, shifted(by), 0.5))
    about = kind in ("localisation", "classification")
    assert counted(result) == {kind: 1} | ({} if about else {"missed": 1})
    assert result.ap50 == 0
    assert result.dap[kind] == pytest.approx(1 if about else 0)
    # An object that need not be found leaves the AP as it is where something wrong was found of its class.
    assert result.dap["missed"] == pytest.approx(1 if category == 1 and not about else 0)


def test_a_second_prediction_of_an_object_is_a_duplicate():
    result = one_object((0, shifted(10), 0.4), (0, shifted(20), 0.9), (0, shifted(300), 0.95))
    assert counted(result) == {"duplicate": 1, "background": 1}
    assert result.ap50 == pytest.approx(0.5)
    assert result.dap["background"] == pytest.approx(0.5)
    assert result.dap["duplicate"] == 0  # below the right one it costs nothing
    assert result.dap["false_positive"] == pytest.approx(0.5)
    assert result.dap["false_negative"] == 0


def test_only_the_best_error_about_an_object_is_fixed():
    result = one_object((0, shifted(40), 0.4), (1, shifted(10), 0.8), (0, shifted(50), 0.3))
    assert counted(result) == {"classification": 1, "localisation": 2}
    assert result.dap["classification"] == pytest.approx(1)
    assert result.dap["localisation"] == 0


def test_an_object_that_is_found_has_nothing_to_fix():
    result = one_object((0, OBJECT, 0.3), (1, shifted(10), 0.8), (0, shifted(50), 0.9))
    assert counted(result) == {"classification": 1, "localisation": 1}
    assert result.dap["localisation"] == pytest.approx(0.5)  # it vanishes
    assert result.dap["classification"] == 0  # of a class without objects


def test_an_object_without_a_prediction_is_missed():
    result = one_object(others=[(1, [10, 10, 20, 20])])
    assert counted(result) == {"missed": 2}
    assert result.ap50 == 0
    assert result.dap["missed"] == result.dap["false_negative"] == 1


def test_the_hundred_best_of_an_image_count():
    many = [(1, [300.0, 300.0, 10 + i / 10, 10.0], 0.9) for i in range(100)]
    result = one_object(*many, (0, OBJECT, 0.5))
    assert counted(result) == {"background": 100, "missed": 1}
    assert one_object(*many[1:], (0, OBJECT, 0.5)).ap50 == 1


def test_nothing_to_find():
    truth = boxes_to_coco([(1, "a.jpg", 9, 9)], [], ["x"])
    result = error_kinds(truth, [{"image_id": 1, "category_id": 0, "bbox": [1, 1, 5, 5], "score": 0.5}])
    assert result.ap50 is None
    assert counted(result) == {"background": 1}
    assert set(result.dap.values()) == {0}
    assert error_kinds(truth, []).counts["background"] == 0


SCENES = {
    "plain": {},
    "crowd": {"crowd": 0.3},
    "equal scores": {"ties": True},
    "more than 100": {"many": 130, "images": 4},
    "much of everything": {"classes": 8, "images": 20, "objects": 12, "crowd": 0.15, "conjure": 4},
}


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("scene", SCENES)
def test_error_kinds_equal_a_loop(scene, seed):
    truth, predictions = random_scene(seed, **SCENES[scene])
    found = error_kinds(truth, predictions)
    before, counts, rises = tide.error_kinds(truth, predictions)
    assert found.ap50 == pytest.approx(before, abs=1e-12)
    assert found.counts == counts
    assert found.dap == pytest.approx(rises, abs=1e-12)


def test_the_loop_sees_every_kind():
    totals = dict.fromkeys(KINDS, 0)
    for seed in range(3):
        for kind, count in tide.error_kinds(*random_scene(seed, **SCENES["much of everything"]))[1].items():
            totals[kind] += count
    assert min(totals.values()) > 0, totals


@pytest.mark.parametrize("seed", range(6))
def test_the_ap_equals_the_evaluators(seed):
    truth, predictions = random_scene(seed, crowd=0.2)  # below 100 predictions an image
    assert error_kinds(truth, predictions).ap50 == pytest.approx(compute_metrics(truth, predictions)["AP50"], abs=1e-12)


def test_real_ground_truth_found_exactly_has_no_errors(shared):
    path = shared / "data" / "coco_val128" / "annotations" / "instances_val.json"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    truth = json.loads(path.read_text(encoding="utf-8"))
    found = [
        {**{key: a[key] for key in ("image_id", "category_id", "bbox")}, "score": 0.5}
        for a in truth["annotations"]
        if not a["iscrowd"]
    ]
    result = error_kinds(truth, found)
    assert counted(result) == {}
    assert result.ap50 == pytest.approx(1)
    without = error_kinds(truth, found[1:])
    assert counted(without) == {"missed": 1}
