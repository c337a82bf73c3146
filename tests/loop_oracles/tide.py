"""TIDE's error kinds (https://arxiv.org/abs/2008.08050, Sec. 2.2) one prediction and one object at a time."""

from __future__ import annotations

import numpy as np


def overlap(a, b, crowd=False):
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    inside = width * height
    return inside / (a[2] * a[3] if crowd else a[2] * a[3] + b[2] * b[3] - inside)


def average_precision(points, objects):
    """``points``: (score, right), in the order of the images; COCO's mean of the precision at 101 recalls."""
    points = sorted(points, key=lambda point: -point[0])
    curve, hits = [], 0
    for number, (_, right) in enumerate(points, start=1):
        hits += right
        curve.append((hits / objects, hits / number))
    total = 0.0
    for step in np.linspace(0, 1, 101):  # as COCO's evaluator has them: some are a bit above i / 100
        total += max((precision for recall, precision in curve if recall >= step), default=0.0)
    return total / 101


def mean(points, wanted, objects):
    """``points``: (class, score, right); ``wanted``: objects to find by class, of the ``objects`` that there are."""
    values = []
    for category, count in objects.items():
        mine = [(score, right) for label, score, right in points if label == category]
        if count and (wanted[category] or mine):
            values.append(average_precision(mine, wanted[category]) if wanted[category] else 0.0)
    return sum(values) / len(values) if values else 1.0


def judge_image(found, annotations):
    """Return of each prediction (class, score, kind or None, ignored, object it is about), and the missed objects."""
    objects = [dict(entry, taken=False, about=[]) for entry in annotations if not entry["iscrowd"]]
    crowd = [entry for entry in annotations if entry["iscrowd"]]
    judged = []
    for prediction in sorted(found, key=lambda entry: -entry["score"])[:100]:
        best, most = None, 0.5
        for thing in objects:
            value = overlap(prediction["bbox"], thing["bbox"])
            free = thing["category_id"] == prediction["category_id"] and not thing["taken"]
            if free and value >= most and (best is None or value > most):
                best, most = thing, value
        if best:
            best["taken"] = True
        judged.append([prediction, None if best else "?", False, best])
    for entry in judged:
        prediction, kind = entry[:2]
        if kind is None:
            continue
        label, box = prediction["category_id"], prediction["bbox"]
        entry[2] = any(c["category_id"] == label and overlap(box, c["bbox"], crowd=True) > 0.5 for c in crowd)
        own = [(overlap(box, o["bbox"]), o) for o in objects if o["category_id"] == label]
        other = [(overlap(box, o["bbox"]), o) for o in objects if o["category_id"] != label]
        nearest, wrong = (max(pairs, key=lambda pair: pair[0], default=(0.0, None)) for pairs in (own, other))
        if own and 0.1 <= nearest[0] <= 0.5:
            entry[1], entry[3] = "localisation", nearest[1]
        elif other and wrong[0] >= 0.5:
            entry[1], entry[3] = "classification", wrong[1]
        elif any(value >= 0.5 and o["taken"] for value, o in own):
            entry[1] = "duplicate"
        elif max(nearest[0], wrong[0]) <= 0.1:
            entry[1] = "background"
        else:
            entry[1] = "both"
        if entry[1] in ("localisation", "classification"):
            entry[3]["about"].append(entry)
    return judged, [o for o in objects if not o["taken"] and not o["about"]], objects


def error_kinds(truth, predictions):
    """Return AP50, the counts, and the rise of AP50 by kind."""
    kinds = ("classification", "localisation", "both", "duplicate", "background", "missed")
    judged, missed, objects = [], [], []
    for image in sorted(truth["images"], key=lambda image: image["id"]):
        found = [p for p in predictions if p["image_id"] == image["id"]]
        three = judge_image(found, [a for a in truth["annotations"] if a["image_id"] == image["id"]])
        for total, part in zip((judged, missed, objects), three, strict=True):
            total += part

    def count(things):
        return {c["id"]: sum(o["category_id"] == c["id"] for o in things) for c in truth["categories"]}

    def point(entry, right, label=None):
        return (entry[0]["category_id"] if label is None else label, entry[0]["score"], right)

    there = count(objects)
    normal = [point(e, e[1] is None) for e in judged if not e[2]]
    before = mean(normal, there, there)
    counts = {kind: sum(e[1] == kind for e in judged) for kind in kinds} | {"missed": len(missed)}
    after = {}
    for kind in kinds[:-1]:
        points = []
        for entry in judged:
            if entry[1] != kind:
                points += [] if entry[2] else [point(entry, entry[1] is None)]
            elif entry[3] is not None and not entry[3]["taken"] and entry[3]["about"][0] is entry:
                points.append(point(entry, True, entry[3]["category_id"]))  # the best one about a free object
        after[kind] = mean(points, there, there)
    lost = count(missed)
    after["missed"] = mean(normal, {c: there[c] - lost[c] for c in there}, there)
    after["false_positive"] = mean([(c, float(right), right) for c, _, right in normal], there, there)
    hits = count([o for o in objects if o["taken"]])
    after["false_negative"] = mean(normal, hits, there)
    return before, counts, {kind: max(value - before, 0.0) for kind, value in after.items()}
