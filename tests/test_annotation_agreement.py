"""A COCO JSON for the metrics whose boxes are not those of the labels: said, or refused before the first training."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from comparison import make
from PIL import Image
from support import logged, noise_data, read_json

from yolo_attn.comparison import worker
from yolo_attn.data.annotation_agreement import agreement_of
from yolo_attn.data.yolo_labels import boxes_in, label_line
from yolo_attn.errors import DataError
from yolo_attn.integration.queries import annotation_checks, validation

pytestmark = pytest.mark.fast
COCO = Path(__file__).parents[2] / "shared" / "data" / "coco_val128"
NAMES = ["cat", "dog", "cow"]
WIDTH, HEIGHT, IMAGES = 200, 120, 8


def entries(boxes=3):
    """Random boxes of three classes in each image, as COCO annotations; category ids 30, 20 and 10."""
    random = np.random.default_rng(0)
    found = []
    for image in range(IMAGES):
        for k in range(boxes):
            w, h = (int(side) for side in random.integers(20, 50, 2))
            x, y = int(random.integers(0, WIDTH - w)), int(random.integers(0, HEIGHT - h))
            category = 30 - 10 * ((image + k) % 3)
            number = len(found) + 1
            found.append({"id": number, "image_id": image, "category_id": category, "bbox": [x, y, w, h]})
    return found


@pytest.fixture
def root(tmp_path):
    """A data set with labels, and the same boxes in a COCO JSON, whose categories have another order."""
    (tmp_path / "set").mkdir()
    noise_data(tmp_path / "set", ("train",), images=2)
    for kind in ("images", "labels"):
        (tmp_path / "set" / kind / "val").mkdir()
    lines = [""] * IMAGES
    for entry in entries():
        lines[entry["image_id"]] += label_line(3 - entry["category_id"] // 10, entry["bbox"], WIDTH, HEIGHT)
    random = np.random.default_rng(1)
    for k, text in enumerate(lines):
        pixels = random.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "set" / "images" / "val" / f"{k}.png")
        (tmp_path / "set" / "labels" / "val" / f"{k}.txt").write_text(text)
    keys = {"path": str(tmp_path / "set"), "train": "images/train", "val": "images/val", "names": NAMES}
    (tmp_path / "set" / "mine.yaml").write_text(yaml.safe_dump(keys | {"annotations": {"val": "val.json"}}))
    write(tmp_path / "set", entries())
    return tmp_path / "set"


def write(root, annotations, names=tuple(NAMES)):
    images = [{"id": k, "file_name": f"{k}.png", "width": WIDTH, "height": HEIGHT} for k in range(IMAGES)]
    categories = [{"id": 30 - 10 * k, "name": name} for k, name in enumerate(names)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "val.json").write_text(json.dumps(content))


def checked(root):
    return annotation_checks.check(validation.check_data(str(root / "mine.yaml")))


def edited(change):
    return [{**entry, "bbox": change(*entry["bbox"])} for entry in entries()]


CROWD = {"id": 99, "image_id": 0, "category_id": 10, "bbox": [0, 0, 200, 120], "iscrowd": 1}


@pytest.mark.parametrize(
    "annotations",
    [
        entries(),
        [*entries(), CROWD],
        edited(lambda x, y, w, h: [x + 0.4, y, w, h - 0.4]),
        [{**entry, "category_id": str(entry["category_id"])} for entry in entries()],
    ],
    ids=["equal", "a crowd region", "rounded", "ids as text"],
)
def test_the_same_boxes_are_fine(annotations, root):
    write(root, annotations)
    assert checked(root) == []


FAR = {
    "corners": (edited(lambda x, y, w, h: [x, y, x + w, y + h]), "left, top, right, bottom"),
    "centres": (edited(lambda x, y, w, h: [x + w / 2, y + h / 2, w, h]), "x centre, y centre, width, height"),
    "fractions": (edited(lambda x, y, w, h: [x / WIDTH, y / HEIGHT, w / WIDTH, h / HEIGHT]), "parts of the image"),
    "half the size": (edited(lambda *box: [side / 2 for side in box]), "multiplied by 2"),
    "twice the size": (edited(lambda *box: [side * 2 for side in box]), r"multiplied by 0\.5"),
    "shifted": (edited(lambda x, y, w, h: [x + 15, y + 15, w, h]), ""),
    "none": ([], ""),
    "another image's": ([{**e, "image_id": (e["image_id"] + 1) % IMAGES} for e in entries()], ""),
    "two of three": ([entry for entry in entries() if entry["id"] % 3], ""),
}


@pytest.mark.parametrize(("annotations", "hint"), FAR.values(), ids=FAR)
def test_other_boxes_are_refused_before_the_first_training(annotations, hint, root, monkeypatch):
    write(root, annotations)
    monkeypatch.setattr(worker.model_checks, "check_models", lambda plan: pytest.fail("too late"))
    plan = make(root / "c", data=str(root / "mine.yaml"))
    plan.claim()
    with pytest.raises(DataError) as raised:
        worker.check(plan)
    text = str(raised.value)
    assert text.startswith(f"annotations: val: val.json has {len(annotations)} boxes, the labels have 24; ")
    assert ("The boxes of the JSON fit" in text) == bool(hint)
    assert re.search(f"fit .*{hint}" if hint else "Correct the JSON or the labels", text)


def test_labels_in_another_order_than_the_names_are_named(root):
    write(root, entries(), names=["dog", "cow", "cat"])
    with pytest.raises(DataError, match="fit with other classes: the order of names:"):
        checked(root)


def test_a_few_other_boxes_are_said_first_and_kept(root, monkeypatch):
    write(root, [entry for entry in entries() if entry["id"] not in (1, 2, 5)] + [CROWD])
    monkeypatch.setattr(worker.model_checks, "check_models", lambda plan: None)
    plan = make(root / "c", data=str(root / "mine.yaml"))
    plan.claim()
    with logged() as lines:
        worker.check(plan)
    (warning,) = read_json(plan.folder / "data.json")["warnings"]
    assert warning in lines
    assert warning.startswith(
        "annotations: val: val.json has 21 boxes and 1 crowd region, the labels have 24; the numbers differ in 2 of 8 "
        "images with objects, and the median IoU of the boxes is 1.00."
    )


def test_moved_boxes_are_said(root):
    write(root, edited(lambda x, y, w, h: [x + 4, y + 2, w, h]))
    (warning,) = checked(root)
    assert "24 boxes, the labels have 24; the numbers differ in 0 of 8 " in warning


def test_a_split_without_labels_is_said(root):
    """As a test split that has a JSON only."""
    for file in (root / "labels" / "val").iterdir():
        file.unlink()
    (warning,) = checked(root)
    assert "24 boxes, the labels have 0; " in warning


@pytest.mark.parametrize(
    ("text", "boxes"),
    [
        ("", []),
        ("1 0.5 0.5 0.2 0.4\n\n1 0.5 0.5 0.2 0.4\n", [[1, 0.5, 0.5, 0.2, 0.4]]),  # Ultralytics drops equal lines
        ("0 0.1 0.1 0.5 0.1 0.5 0.3\n", [[0, 0.3, 0.2, 0.4, 0.2]]),
        ("no box\n2 0.5 0.5 3 3\n2 0.5 0.5 0.1 0.1\n", [[2, 0.5, 0.5, 0.1, 0.1]]),
    ],
)
def test_boxes_of_a_label_file(text, boxes, tmp_path):
    (tmp_path / "a.txt").write_text(text)
    np.testing.assert_allclose(boxes_in(tmp_path / "a.txt"), np.reshape(boxes, (-1, 5)))


def test_an_overlap_by_hand():
    """Of three boxes one has IoU 1/3 with a label, one has no partner of its class, one is equal."""
    boxes = [[0, 0, 0, 20, 10], [1, 50, 0, 10, 10], [0, 0, 50, 10, 10]]
    annotations = [{"image_id": 7, "category_id": cls, "bbox": box, "iscrowd": 0} for cls, *box in boxes]
    truth = {"images": [{"id": 7, "width": 100, "height": 100}], "annotations": annotations}
    labels = np.array([[0, 10, 0, 20, 10], [0, 50, 0, 10, 10], [0, 0, 50, 10, 10]], float)
    found = agreement_of(truth, {7: labels})
    assert found.overlap == pytest.approx(1 / 3)  # the median of 1/3, 1/3, 0, 0, 1, 1
    assert (found.images, found.differing, found.annotation_boxes, found.label_boxes) == (1, 0, 3, 3)


@pytest.mark.skipif(not COCO.exists(), reason="needs ../shared/data/coco_val128")
@pytest.mark.parametrize("file", ["instances_val.json", "instances_val_coco91.json"])
def test_coco_agrees(file, tmp_path):
    data = yaml.safe_load((COCO / "coco_val128.yaml").read_text())
    data |= {"path": str(COCO), "annotations": {"val": f"annotations/{file}"}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(data))
    assert checked(tmp_path) == []
