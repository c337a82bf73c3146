"""Random ground truth and predictions with hard cases: crowds, ties, empty images, many predictions."""

from __future__ import annotations

import json
import random

import pytest

from yolo_attn.metrics import METRICS, boxes_to_coco


def random_scene(seed, images=12, classes=4, objects=9, crowd=0.0, ties=False, many=0, conjure=1):
    """Return ground truth, and predictions that match some of it.

    Args:
        seed: Seed of the random numbers.
        images: Number of images; some have no objects.
        classes: Number of classes.
        objects: Largest number of objects in an image.
        crowd: Share of crowd regions among the objects; every area is then smaller than its box.
        ties: Whether many predictions have the same score.
        many: Number of additional predictions of one class in one image.
        conjure: Number of predictions without an object in each image.
    """
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
        predictions += [
            (image, rng.randrange(classes), [5.0, 5.0, rng.uniform(5, 90), rng.uniform(5, 90)]) for _ in range(conjure)
        ]
    target = next(box for image, category, box in boxes if (image, category) == boxes[0][:2])
    for _ in range(many):
        moved = [value + rng.gauss(0, 12) for value in target]
        predictions.append((boxes[0][0], boxes[0][1], [*moved[:2], abs(moved[2]), abs(moved[3])]))
    truth = boxes_to_coco([(i, f"{i}.jpg", 480, 640) for i in range(1, images + 1)], boxes, list("abcdefgh")[:classes])
    for annotation in truth["annotations"] if crowd else ():
        annotation["iscrowd"] = int(rng.random() < crowd)
        annotation["area"] *= rng.uniform(0.3, 0.9)
    scores = [rng.randint(1, 9) for _ in predictions] if ties else rng.sample(range(1, 100000), len(predictions))
    found = [
        {"image_id": i, "category_id": c, "bbox": [round(x, 3) for x in b], "score": s / (10 if ties else 1e5)}
        for (i, c, b), s in zip(predictions, scores, strict=True)
    ]
    return truth, found


def pycocotools_evaluation(truth, predictions):
    """The evaluation of pycocotools, summarised."""
    api = pytest.importorskip("pycocotools.coco")
    from pycocotools.cocoeval import COCOeval

    truth, predictions = json.loads(json.dumps([truth, predictions]))
    reference, found = api.COCO(), api.COCO()
    reference.dataset = truth
    reference.createIndex()
    if predictions:
        found = reference.loadRes(predictions)
    else:  # which loadRes refuses
        found.dataset = {**truth, "annotations": []}
        found.createIndex()
    evaluation = COCOeval(reference, found, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


def pycocotools_metrics(truth, predictions):
    values = pycocotools_evaluation(truth, predictions).stats
    return dict(zip(METRICS, (None if value < 0 else value for value in values), strict=True))


def pycocotools_per_class(truth, predictions):
    evaluation = pycocotools_evaluation(truth, predictions)

    def mean(values):
        values = values[values > -1]
        return values.mean() if values.size else None

    return {
        evaluation.cocoGt.cats[number]["name"]: {
            "AP": mean(evaluation.eval["precision"][:, :, index, 0, 2]),
            "AP50": mean(evaluation.eval["precision"][0, :, index, 0, 2]),
            "AR100": mean(evaluation.eval["recall"][:, index, 0, 2]),
        }
        for index, number in enumerate(evaluation.params.catIds)
    }
