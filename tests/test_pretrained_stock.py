"""Between the models that Ultralytics ships, aligning never loses what matching by number finds, nor cannot decide."""

import re
from functools import cache

import pytest
from hand_made import SHIPPED
from ultralytics import YOLO
from ultralytics.utils import LOGGER

from yolo_attn.alignment.layer_alignment import align, by_number
from yolo_attn.integration.queries import model_layers

FAMILIES = {
    "v5": ("yolov5.yaml", "yolov5-p6.yaml"),
    "v8": (
        "yolov8.yaml",
        "yolov8-p2.yaml",
        "yolov8-p6.yaml",
        "yolov8-seg.yaml",
        "yolov8-pose-p6.yaml",
        "yolov8-cls.yaml",
    ),
    "v9": ("yolov9t.yaml", "yolov9c.yaml", "yolov9c-seg.yaml"),
    "11": ("yolo11.yaml", "yolo11-obb.yaml", "yolo11-seg.yaml", "yolo11-cls.yaml"),
    "26": ("yolo26.yaml", "yolo26-p2.yaml", "yolo26-p6.yaml", "yolo26-pose.yaml"),
}


@cache
def layers(family, name):
    if not (SHIPPED / family / name).is_file():
        pytest.skip(f"this Ultralytics has no {name}")
    level = LOGGER.level
    LOGGER.setLevel("ERROR")
    try:
        return model_layers.describe(YOLO(re.sub(r"^(yolov?\d+)(?=[-.])", r"\1n", name)).model)
    finally:
        LOGGER.setLevel(level)


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
