"""Between the models that Ultralytics ships, aligning never loses what matching by number finds, nor cannot decide."""

import re
from functools import cache

import pytest
from hand_made import SHIPPED
from ultralytics import YOLO

from yolo_attn.alignment.layer_alignment import align, by_number
from yolo_attn.integration.queries import model_layers

FAMILIES = {
    "v5": ("yolov5", "yolov5-p6"),
    "v8": ("yolov8", "yolov8-p2", "yolov8-p6", "yolov8-seg", "yolov8-pose-p6", "yolov8-cls"),
    "v9": ("yolov9t", "yolov9c", "yolov9c-seg"),
    "11": ("yolo11", "yolo11-obb", "yolo11-seg", "yolo11-cls"),
    "26": ("yolo26", "yolo26-p2", "yolo26-p6", "yolo26-pose"),
}


@cache
def layers(family, name):
    if not (SHIPPED / family / f"{name}.yaml").is_file():
        pytest.skip(f"this Ultralytics has no {name}")
    return model_layers.describe(YOLO(re.sub(r"^(yolov?\d+)(?=-|$)", r"\1n", name) + ".yaml").model)


@pytest.mark.parametrize("family", FAMILIES)
def test_never_worse_and_never_ambiguous(family):
    more = 0
    for a in FAMILIES[family]:
        for b in FAMILIES[family]:
            source, target = layers(family, a), layers(family, b)
            found, stock = align(source, target), by_number(source, target)
            assert found.ambiguity is None, (a, b)
            assert found.fitting >= stock.fitting, (a, b)
            same = found.pairs == stock.pairs and len(source) == len(target)
            assert same == (len(source) == len(target)) or found.fitting > stock.fitting, (a, b)
            more += found.fitting > stock.fitting
    assert more or family == "v9"
