"""Real images, labels and COCO-trained weights from the folder beside the checkout; skipped where it is absent.

The weights are rebuilt from int8 exports and not bit-identical to the official files.
"""

import shutil

import numpy as np
import pytest
import yaml
from ultralytics import YOLO

import yolo_attn
from yolo_attn.integration.strict_mode import strict

yolo_attn.install()


@pytest.fixture
def coco(shared, tmp_path):
    """A copy of coco_val128: a scan writes its cache beside the labels."""
    return borrowed(shared / "data" / "coco_val128", "coco_val128.yaml", tmp_path)


def borrowed(folder, name, tmp_path):
    content = yaml.safe_load((folder / name).read_text())
    for part in ("images", "labels"):
        shutil.copytree(folder / part, tmp_path / part)
    (tmp_path / name).write_text(yaml.safe_dump({**content, "path": str(tmp_path)}))
    return tmp_path / name


@pytest.mark.parametrize("name", ["yolov8n", "yolo11n", "yolo26n"])
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
    words = {"imgsz": 64, "batch": 4, "workers": 0, "plots": False, "device": "cpu", "project": str(tmp_path / "out")}
    model.train(data=str(data), epochs=1, fraction=0.05, **words)
    metrics = model.val(data=str(data), split="test", **words)
    assert len(metrics.box.maps) == 3
