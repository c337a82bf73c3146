"""Real images, labels and COCO-trained weights from the folder beside the checkout; skipped where it is absent.

The weights are rebuilt from int8 exports and not bit-identical to the official files.
"""

import shutil
import stat

import cv2
import numpy as np
import pytest
import torch
import yaml
from shipped import tensors
from ultralytics import YOLO

import yolo_attn
from yolo_attn import Insertion, place
from yolo_attn.integration.queries import model_graph
from yolo_attn.integration.strict_mode import strict
from yolo_attn.model_yaml import places

yolo_attn.install()
MODELS = ("yolo11n", "yolov8n", "yolo26n")
BACKBONE = ("backbone.P3", "backbone.P4", "backbone.P5")
EMA = {"factor": 8, "residual": True}
NECK = ("neck.P3", "neck.P4", "neck.P5")
PLACES = ("backbone.P1", "backbone.P2", *BACKBONE, "backbone.end", "before_neck", *NECK, "before_head")


@pytest.fixture
def coco(shared, tmp_path):
    """A copy of coco_val128: a scan writes its cache beside the labels."""
    return borrowed(shared / "data" / "coco_val128", "coco_val128.yaml", tmp_path)


def borrowed(folder, name, tmp_path):
    content = yaml.safe_load((folder / name).read_text())
    for part in ("images", "labels"):
        shutil.copytree(folder / part, tmp_path / part)
        for copied in (tmp_path / part, *(tmp_path / part).rglob("*")):  # the originals may be read-only
            copied.chmod(copied.stat().st_mode | stat.S_IWUSR)
    (tmp_path / name).write_text(yaml.safe_dump({**content, "path": str(tmp_path)}))
    return tmp_path / name


@pytest.mark.parametrize("name", MODELS)
def test_pretrained_weights_find_what_is_there(name, coco, shared):
    """The whole stock path with the integration in it: load, scan, validate."""
    model = YOLO(shared / "weights" / f"{name}.pt")
    with strict():  # every image and label of the set is usable
        metrics = model.val(data=str(coco), imgsz=320, batch=16, workers=0, plots=False, device="cpu", verbose=False)
    assert metrics.box.map50 > 0.4
    assert metrics.box.map > 0.28


@pytest.mark.parametrize("kind", ["ema", "gsop", "pmfs"])
def test_a_photograph_of_any_shape_goes_through(kind, coco):
    """Letterboxed rectangles: P3 to P5 of 640 x 448 and of shapes whose sides are no powers of two."""
    model = YOLO(f"yolo11n-{kind}.yaml")
    images = sorted((coco.parent / "images" / "val").iterdir())[:3]
    for image in images:
        result = model.predict(image, imgsz=224, conf=0.0, max_det=5, device="cpu", verbose=False)[0]
        assert np.isfinite(result.boxes.data.numpy()).all()


def test_bccd_is_usable_as_it_stands(shared, tmp_path):
    data = borrowed(shared / "data" / "bccd", "bccd.yaml", tmp_path)
    model = YOLO("yolo11n-ema.yaml")
    arguments = {"imgsz": 64, "batch": 4, "workers": 0, "plots": False, "device": "cpu"}
    arguments["project"] = str(tmp_path / "out")
    model.train(data=str(data), epochs=1, fraction=0.05, **arguments)
    metrics = model.val(data=str(data), split="test", **arguments)
    assert len(metrics.box.maps) == 3


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
def test_the_same_map_with_blocks_at_every_place(name, coco, shared, tmp_path):
    weights, base = shared / "weights" / f"{name}.pt", f"{name[:-1]}.yaml"
    everywhere = [
        Insertion("EMA", [p for p in PLACES if p != "backbone.end"], options=EMA),  # that is backbone.P5
        Insertion("PMFS", ("before_neck",), BACKBONE, options={"residual": True}),
        Insertion("AttentionFPN", ("before_neck",), BACKBONE, options={"residual": True}),
    ]
    place(base, everywhere, output=tmp_path / f"{name}-own.yaml")
    for image in sorted((tmp_path / "images" / "val").iterdir())[48:]:  # enough objects of many classes
        image.unlink()
    options = {"data": str(coco), "imgsz": 256, "batch": 16, "device": "cpu", "workers": 0, "plots": False}
    options |= {"project": str(tmp_path), "exist_ok": True, "verbose": False}
    wanted = YOLO(str(weights)).val(**options)
    got = YOLO(str(tmp_path / f"{name}-own.yaml")).load(weights).val(**options)
    assert wanted.box.map > 0.2
    assert got.box.map == wanted.box.map
    assert got.box.maps.tolist() == wanted.box.maps.tolist()
