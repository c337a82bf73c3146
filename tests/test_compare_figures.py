"""COCO's figures: those of pycocotools and faster-coco-eval, and the edge cases."""

from __future__ import annotations

import json
import random

import pytest
from comparison import ORDER

from yolo_attn.compare import coco


def random_scene(seed, images=12, classes=4, objects=9):
    """Ground truth, and predictions that hit some of it."""
    rng = random.Random(seed)
    boxes, predictions = [], []
    for image in range(1, images + 1):
        for _ in range(rng.randint(0, objects)):
            side = rng.choice([12, 20, 50, 80, 120, 200])
            box = [rng.uniform(0, 400), rng.uniform(0, 300), side * rng.uniform(0.6, 1.4), side * rng.uniform(0.6, 1.4)]
            category = rng.randrange(classes)
            boxes.append((image, category, box))
            for _ in range(rng.randint(0, 2)):
                moved = [value + rng.gauss(0, 0.06) * side for value in box]
                predictions.append((image, category if rng.random() < 0.9 else rng.randrange(classes), moved))
        predictions.append((image, rng.randrange(classes), [5.0, 5.0, rng.uniform(5, 90), rng.uniform(5, 90)]))
    truth = coco.ground_truth([(i, f"{i}.jpg", 480, 640) for i in range(1, images + 1)], boxes, list("abcd")[:classes])
    scores = rng.sample(range(1, 100000), len(predictions))  # no ties: their order is not defined
    found = [
        {"image_id": i, "category_id": c, "bbox": [round(x, 3) for x in b], "score": s / 1e5}
        for (i, c, b), s in zip(predictions, scores, strict=True)
    ]
    return truth, found


def pycocotools_figures(truth, predictions):
    api = pytest.importorskip("pycocotools.coco")
    from pycocotools.cocoeval import COCOeval

    reference = api.COCO()
    reference.dataset = truth
    reference.createIndex()
    evaluation = COCOeval(reference, reference.loadRes(predictions), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return dict(zip(ORDER, (None if value < 0 else value for value in evaluation.stats), strict=True))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_figures_are_those_of_pycocotools(seed):
    truth, predictions = random_scene(seed)
    expected = pycocotools_figures(json.loads(json.dumps(truth)), json.loads(json.dumps(predictions)))
    found = coco.figures(truth, predictions)
    assert list(found) == ORDER
    assert found == pytest.approx(expected, abs=1e-12)
    assert 0.05 < found["AP"] < 0.95


def test_figures_are_those_of_faster_coco_eval():
    from faster_coco_eval import COCO, COCOeval_faster

    truth, predictions = random_scene(3)
    ours = coco.figures(truth, predictions)
    reference = COCO(truth)
    evaluation = COCOeval_faster(
        reference, reference.loadRes(predictions), iouType="bbox", print_function=lambda *_: None
    )
    evaluation.run()
    assert [ours[name] for name in ORDER] == pytest.approx(list(evaluation.stats[:12]), abs=1e-12)


def test_figures_do_not_change_what_they_are_given():
    truth, predictions = random_scene(4)
    before = json.dumps([truth, predictions])
    assert coco.figures(truth, predictions) == coco.figures(truth, predictions)
    assert json.dumps([truth, predictions]) == before


def test_no_predictions_is_zero_where_there_is_something_to_find():
    truth = coco.ground_truth([(1, "a.jpg", 99, 99), (2, "b.jpg", 99, 99)], [(1, 0, [5, 5, 10, 10])], ["x", "y"])
    found = coco.figures(truth, [])
    assert found["AP"] == found["AP_small"] == found["AR100"] == 0
    assert found["AP_medium"] is None
    assert found["AP_large"] is None


def test_images_without_labels_and_absent_classes():
    images = [(1, "a.jpg", 99, 99), (2, "b.jpg", 99, 99)]
    hit = {"image_id": 1, "category_id": 0, "bbox": [5, 5, 50, 50], "score": 0.5}
    stray = {"image_id": 2, "category_id": 1, "bbox": [5, 5, 50, 50], "score": 0.9}
    truth = coco.ground_truth(images, [(1, 0, [5, 5, 50, 50])], ["x", "y"])
    assert coco.figures(truth, [hit])["AP"] == pytest.approx(1)
    assert coco.figures(truth, [hit, stray])["AP"] == pytest.approx(1)  # class y is not in the split
    on_empty = {**stray, "category_id": 0}
    assert coco.figures(truth, [hit, on_empty])["AP"] == pytest.approx(0.5)  # a false find on an image without labels
    assert set(coco.figures(coco.ground_truth(images, [], ["x", "y"]), [hit]).values()) == {None}


def test_predictions_of_unknown_images_are_refused():
    truth = coco.ground_truth([(1, "a.jpg", 99, 99)], [(1, 0, [5, 5, 50, 50])], ["x"])
    with pytest.raises(ValueError, match="predictions of 1 images without ground truth, as of image 7"):
        coco.figures(truth, [{"image_id": 7, "category_id": 0, "bbox": [0, 0, 1, 1], "score": 1.0}])
