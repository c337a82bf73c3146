"""COCO-trained detectors with a residual block inserted: before any training they detect exactly the same as before.

The weights are rebuilt from int8 exports and not bit-identical to the official files.
"""

import cv2
import numpy as np
import pytest
import torch
from shipped import tensors
from test_real_data import borrowed
from ultralytics import YOLO

import yolo_attn
from yolo_attn import Insertion, place
from yolo_attn.integration.queries import model_graph
from yolo_attn.model_yaml import places

yolo_attn.install()
MODELS = ("yolo11n", "yolov8n", "yolo26n")
BACKBONE = ("backbone.P3", "backbone.P4", "backbone.P5")
EMA = {"factor": 8, "residual": True}
NECK = ("neck.P3", "neck.P4", "neck.P5")
PLACES = ("backbone.P1", "backbone.P2", *BACKBONE, "backbone.end", "before_neck", *NECK, "before_head")


def load_images(shared):
    files = sorted((shared / "data" / "coco_val128" / "images" / "val").iterdir())[:2]
    loaded = [cv2.resize(cv2.imread(str(f)), (320, 320))[..., ::-1] for f in files]
    return torch.from_numpy(np.stack(loaded)).permute(0, 3, 1, 2).float() / 255


@pytest.mark.fast
def test_these_are_all_named_places():
    for model in MODELS:
        assert tuple(places.named(model_graph.build(model_graph.load(f"{model}.yaml")))) == PLACES


@pytest.mark.parametrize("at", PLACES)
def test_the_same_output_with_the_block_at_one_place(at, shared, tmp_path):
    images = load_images(shared)
    weights = shared / "weights" / "yolo11n.pt"
    placed = place("yolo11.yaml", "EMA", at=at, options=EMA, output=tmp_path / "yolo11-own.yaml")
    model = YOLO(str(tmp_path / "yolo11n-own.yaml")).load(weights)
    base = YOLO(str(weights))
    with torch.no_grad():
        wanted, got = tensors(base.model.eval()(images)), tensors(model.model.eval()(images))
    assert all(torch.equal(a, b) for a, b in zip(wanted, got, strict=True))
    assert len(model.model.model) == len(base.model.model) + len(placed.inserted)
    with torch.no_grad():  # the block is in the path: as soon as gamma moves, the output does
        for row in placed.inserted:
            model.model.model[row.index].residual.gamma_logit_scale.fill_(0.5)
        assert not all(torch.equal(a, b) for a, b in zip(wanted, tensors(model.model(images)), strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_the_same_map_with_blocks_at_every_place(name, shared, tmp_path):
    weights, base = shared / "weights" / f"{name}.pt", f"{name[:-1]}.yaml"
    data = borrowed(shared / "data" / "coco_val128", "coco_val128.yaml", tmp_path)
    everywhere = [
        Insertion("EMA", [p for p in PLACES if p != "backbone.end"], options=EMA),  # that is backbone.P5
        Insertion("PMFS", ("before_neck",), BACKBONE, options={"residual": True}),
        Insertion("AttentionFPN", ("before_neck",), BACKBONE, options={"residual": True}),
    ]
    place(base, everywhere, output=tmp_path / f"{name}-own.yaml")
    for image in sorted((tmp_path / "images" / "val").iterdir())[48:]:  # enough objects of many classes
        image.unlink()
    options = {"data": str(data), "imgsz": 256, "batch": 16, "device": "cpu", "workers": 0, "plots": False}
    options |= {"project": str(tmp_path), "exist_ok": True, "verbose": False}
    wanted = YOLO(str(weights)).val(**options)
    got = YOLO(str(tmp_path / f"{name}-own.yaml")).load(weights).val(**options)
    assert wanted.box.map > 0.2
    assert got.box.map == wanted.box.map
    assert got.box.maps.tolist() == wanted.box.maps.tolist()
