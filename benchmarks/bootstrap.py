"""Time and memory of the image bootstrap on a made-up set of COCO val2017's size, for two models.

    python benchmarks/bootstrap.py [--oracle] [--images 5000] [--classes 80] [--boxes 36000] [--predictions 300]
                                    [--resamples 1000]

The classes are as uneven as COCO's, and a third of the objects goes to each size. A model finds nine objects in ten,
the better the higher the score, twice some of them; the rest of its predictions are of other places. Prints seconds
for matching and for resampling AP, AP50, AP75, AP by size and by class of both models, and the peak of resident memory;
with ``--oracle`` the seconds of one evaluation by faster-coco-eval, and how far the two differ at most.
"""

import argparse
import importlib.metadata
import os
import resource
import time
from typing import Any

import numpy as np

from yolo_attn.metrics import compute_metrics
from yolo_attn.metrics.matching import match, read_objects
from yolo_attn.statistics.image_bootstrap import METRICS, draw_images, resample_metrics

WIDTH, HEIGHT = 640, 480


def scene(images: int, classes: int, boxes: int, seed: int) -> tuple[dict[str, Any], np.ndarray]:
    """Return a data set in COCO's format, and its objects: image, class, x, y, width, height."""
    rng = np.random.default_rng(seed)
    share = 1 / (np.arange(classes) + 1.5)  # a third of COCO's objects are persons
    image = rng.integers(images, size=boxes)
    home = rng.choice(classes, size=(images, 3), p=share / share.sum())  # an image holds about three classes
    klass = home[image, rng.integers(3, size=boxes)]
    side = rng.choice([18.0, 55.0, 160.0], size=boxes)[:, None] * rng.uniform(0.6, 1.4, (boxes, 2))
    corner = rng.uniform(0, 1, (boxes, 2)) * (np.array([WIDTH, HEIGHT]) - side)
    objects = np.column_stack([image, klass, corner, side])
    truth = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "height": HEIGHT, "width": WIDTH} for i in range(images)],
        "annotations": [
            {
                "id": number,
                "image_id": int(row[0]),
                "category_id": int(row[1]),
                "bbox": row[2:].tolist(),
                "area": float(row[4] * row[5]),
                "iscrowd": int(number % 80 == 0),
            }
            for number, row in enumerate(objects, start=1)
        ],
        "categories": [{"id": k, "name": f"class {k}"} for k in range(classes)],
    }
    return truth, objects


def model(objects: np.ndarray, images: int, classes: int, per_image: int, seed: int) -> dict[str, np.ndarray]:
    """Return predictions in columns, ``per_image`` of each image."""
    rng = np.random.default_rng(seed)
    hits = np.concatenate([objects[rng.random(len(objects)) < chance] for chance in (0.9, 0.6, 0.4)])
    score = rng.beta(2, 2, len(hits))
    jitter = rng.normal(size=(len(hits), 4)) * (0.02 + 0.15 * (1 - score[:, None])) * hits[:, [4, 5, 4, 5]]
    hits = np.column_stack([hits[:, :2], hits[:, 2:] + jitter, score])
    missing = np.maximum(per_image - np.bincount(hits[:, 0].astype(int), minlength=images), 0)
    image = np.repeat(np.arange(images), missing)
    source = objects[rng.integers(len(objects), size=len(image))]  # classes and boxes of other images
    other = rng.random(len(image)) < 0.5
    around = np.searchsorted(np.sort(objects[:, 0]), image) % len(objects)
    klass = np.where(other, source[:, 1], objects[np.argsort(objects[:, 0], kind="stable")][around, 1])
    rest = np.column_stack([image, klass, source[:, 2:], rng.beta(0.3, 6, len(image))])
    found = np.concatenate([hits, rest])
    found[:, 4:6] = np.maximum(found[:, 4:6], 1)
    return {
        "image_id": found[:, 0].astype(int),
        "category_id": found[:, 1].astype(int),
        "score": np.round(found[:, 6], 5),
        "bbox": found[:, 2:6],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("images", 5000), ("classes", 80), ("boxes", 36000), ("predictions", 300)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--oracle", action="store_true", help="evaluate once by faster-coco-eval too (more memory)")
    a = parser.parse_args()
    truth, objects = scene(a.images, a.classes, a.boxes, 0)
    models = [model(objects, a.images, a.classes, a.predictions, seed) for seed in (1, 2)]

    seconds = {"match": 0.0, "resample": 0.0}
    begin = time.perf_counter()
    known = read_objects(truth)
    weights = draw_images(a.images, a.resamples, 0)
    seconds["match"] += time.perf_counter() - begin
    results, plain = [], []
    for predictions in models:
        begin = time.perf_counter()
        matches = match(known, predictions)
        middle = time.perf_counter()
        results.append(resample_metrics(known, matches, weights))
        seconds["match"] += middle - begin
        seconds["resample"] += time.perf_counter() - middle
        plain.append(resample_metrics(known, matches, np.ones((1, a.images), dtype=np.int32)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    total = sum(len(predictions["score"]) for predictions in models)
    packages = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "scipy"))
    print(f"{a.images} images, {a.classes} classes, {a.boxes} boxes, {total} predictions of two models")
    print(f"{a.resamples} resamples, {len(results[0])} metrics, {len(os.sched_getaffinity(0))} cores, {packages}")
    print(f"matching {seconds['match']:.1f} s, resampling {seconds['resample']:.1f} s, peak memory {peak:.2f} GiB")
    for name in METRICS:
        low, high = np.nanpercentile(100 * (results[1][name] - results[0][name]), [2.5, 97.5])
        print(f"{name:9} {100 * plain[0][name][0]:6.2f} {100 * plain[1][name][0]:6.2f}  {low:+.2f} to {high:+.2f}")
    if a.oracle:
        begin = time.perf_counter()
        expected = compute_metrics(truth, {key: column.tolist() for key, column in models[0].items()})
        largest = max(abs(expected[name] - plain[0][name][0]) for name in METRICS)
        print(
            f"one evaluation by faster-coco-eval {time.perf_counter() - begin:.1f} s, largest difference {largest:.1e}"
        )


if __name__ == "__main__":
    main()
