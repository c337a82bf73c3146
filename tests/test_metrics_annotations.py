"""Ground truth of a COCO JSON that the data YAML names: what is kept, what is matched to what, what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from PIL import Image

from yolo_attn.data.coco_annotations import annotation_files, read_truth
from yolo_attn.errors import DataError
from yolo_attn.metrics import compute_metrics

PICTURES = [("/data/images/val/sub/b.png", "sub/b.png", 48, 64), ("/data/images/val/a.png", "a.png", 48, 64)]
NAMES = ["cat", "dog"]


def content(**changes):
    """A COCO JSON whose ids are in no order; the image ``c.png`` is not in the split."""
    return {
        "images": [
            {"id": number, "file_name": name, "height": 48, "width": 64}
            for number, name in ((30, "a.png"), (20, "sub\\b.png"), (10, "c.png"))
        ],
        "annotations": [
            {"id": 5, "image_id": 20, "category_id": 90, "bbox": [1, 2, 20, 10], "area": 77.5, "iscrowd": 0},
            {"id": 9, "image_id": 30, "category_id": 4, "bbox": [0, 0, 40, 40], "area": 900, "iscrowd": 1},
            {"id": 7, "image_id": 10, "category_id": 4, "bbox": [0, 0, 40, 40], "iscrowd": 0},
            {"id": 6, "image_id": 30, "category_id": 4, "bbox": [5, 5, 4, 3]},
        ],
        "categories": [{"id": 4, "name": "dog"}, {"id": 1, "name": "animal"}, {"id": 90, "name": "cat"}],
        **changes,
    }


def read(tmp_path, pictures=PICTURES, names=NAMES, options=None, **changes):
    file = tmp_path / "instances.json"
    file.write_text(json.dumps(content(**changes)), encoding="utf-8")
    return read_truth(file, pictures, names, **(options or {}))


def test_ids_areas_and_crowd_are_the_jsons(tmp_path):
    truth, ids = read(tmp_path)
    assert ids == {"/data/images/val/a.png": 30, "/data/images/val/sub/b.png": 20}
    assert truth == {
        "images": [
            {"id": 20, "file_name": "sub/b.png", "height": 48, "width": 64},
            {"id": 30, "file_name": "a.png", "height": 48, "width": 64},
        ],
        "annotations": [
            {"id": 5, "image_id": 20, "category_id": 0, "bbox": [1, 2, 20, 10], "area": 77.5, "iscrowd": 0},
            {"id": 9, "image_id": 30, "category_id": 1, "bbox": [0, 0, 40, 40], "area": 900, "iscrowd": 1},
            {"id": 6, "image_id": 30, "category_id": 1, "bbox": [5, 5, 4, 3], "area": 12, "iscrowd": 0},
        ],
        "categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}],
    }


def test_a_file_name_is_the_end_of_the_path(tmp_path):
    """The longest end counts: ``a.png`` and ``sub/a.png`` are two images."""
    images = [{"id": k, "file_name": name} for k, name in enumerate(("a.png", "./sub/a.png", "/z/c.png"), start=1)]
    pictures = [("/data/sub/a.png", "sub/a.png", 9, 9), ("/data/a.png", "a.png", 9, 9), ("/z/c.png", "c.png", 9, 9)]
    _, ids = read(tmp_path, pictures, images=images, annotations=[])
    assert ids == {"/data/sub/a.png": 2, "/data/a.png": 1, "/z/c.png": 3}


def test_ids_that_cannot_be_used_are_replaced(tmp_path):
    images = [{"id": "x", "file_name": "a.png"}, {"id": "y", "file_name": "sub/b.png"}]
    annotations = [{"id": 0, "image_id": image, "category_id": 4, "bbox": [0, 0, 4, 4]} for image in "xy"]
    truth, ids = read(tmp_path, images=images, annotations=annotations)
    assert ids == {PICTURES[0][0]: 1, PICTURES[1][0]: 2}
    assert [(a["id"], a["image_id"]) for a in truth["annotations"]] == [(1, 2), (2, 1)]


def test_one_class_and_chosen_classes(tmp_path):
    truth, _ = read(tmp_path, options={"merged": True})
    assert truth["categories"] == [{"id": 0, "name": "item"}]
    assert {a["category_id"] for a in truth["annotations"]} == {0}
    truth, _ = read(tmp_path, options={"classes": [0]})
    assert [a["id"] for a in truth["annotations"]] == [5]


BAD = [
    ({"names": ["cat", "horse"]}, r"names: .*'dog'; .*JSON .*'horse'"),
    ({"names": ["cat", "dog", "eel"]}, r"JSON .*'eel'"),
    ({"names": ["dog"]}, r"names: .*'cat'$"),
    ({"names": ["dog", "dog"]}, r"names: .*'dog'"),
    ({"categories": [{"id": 4, "name": "dog"}, {"id": 90, "name": "dog"}]}, r"'dog' \(id 90\)"),
    ({"categories": [{"id": 4}]}, r"categories\[0\]=\{'id': 4\}"),
    ({"pictures": [("/data/d.png", "d.png", 48, 64)]}, r"/data/d.png"),
    ({"pictures": [("/data/a.png", "a.png", 64, 48)]}, r"a.png .*48x64.*instances.json.* 64x48"),
    (
        {"pictures": [("/data/x/a.png", "x/a.png", 48, 64), ("/data/y/a.png", "y/a.png", 48, 64)]},
        r"a.png .*/data/x/a.png and /data/y/a.png",
    ),
    ({"images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "a.png"}]}, r"a.png \(id 2\)"),
    ({"images": [{"file_name": "a.png"}]}, r"images\[0\]"),
    ({"annotations": [{"id": 1, "image_id": 77}]}, r"annotations\[0\]"),
    ({"annotations": [{"id": 1, "image_id": [7]}]}, r"annotations\[0\]"),
    ({"annotations": [{"id": 1, "image_id": 30, "bbox": [1, 2, -3, 4]}]}, r"annotation 1 .*bbox=\[1, 2, -3, 4\]"),
    ({"annotations": [{"id": 1, "image_id": 30, "bbox": None}]}, r"annotation 1 .*bbox=None"),
    ({"annotations": [{"id": 1, "image_id": 30, "bbox": [1, 2, 3, 4], "category_id": 8}]}, r"category_id=8"),
    ({"annotations": None}, r"annotations"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_what_does_not_fit_is_refused(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, **changes)


def test_which_file_is_whose(tmp_path):
    (tmp_path / "v.json").write_text("{}")
    assert annotation_files({"path": tmp_path}) == {}
    assert annotation_files({"path": tmp_path, "annotations": {"val": "v.json"}}) == {"val": tmp_path / "v.json"}
    absolute = {"path": "/elsewhere", "annotations": {"test": str(tmp_path / "v.json")}}
    assert annotation_files(absolute) == {"test": tmp_path / "v.json"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("v.json", r"d.yaml: annotations: .*'v.json'"),
        ({"val": ["v.json"]}, r"\{'val': \['v.json'\]\}"),
        ({"valid": "v.json"}, r"d.yaml: annotations: .*valid; .*train, val, test"),
        ({"val": "w.json"}, r"annotations: val: .*w.json"),
    ],
)
def test_a_key_that_cannot_be_used_is_refused(tmp_path, given, message):
    (tmp_path / "v.json").write_text("{}")
    with pytest.raises(DataError, match=message):
        annotation_files({"path": tmp_path, "yaml_file": "d.yaml", "annotations": given})


@pytest.fixture
def data(tmp_path):
    """A data set of four images with labels and a JSON, the JSON with a crowd region and areas of segments."""
    root = tmp_path / "set"
    (root / "images" / "val" / "sub").mkdir(parents=True)
    (root / "labels" / "val" / "sub").mkdir(parents=True)
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for number, name in enumerate(["a", "b", "sub/a", "sub/b"]):
        Image.fromarray(rng.integers(0, 255, (48, 64, 3), np.uint8)).save(root / "images" / "val" / f"{name}.png")
        (root / "labels" / "val" / f"{name}.txt").write_text("1 0.5 0.5 0.5 0.5\n")
        images.append({"id": 900 - number, "file_name": f"{name}.png", "height": 48, "width": 64})
        box = {"image_id": 900 - number, "category_id": 3, "bbox": [16, 12, 32, 24], "area": 500, "iscrowd": 0}
        annotations.append({**box, "id": 10 + number})
    annotations.append({**box, "id": 99, "category_id": 8, "bbox": [0, 0, 64, 48], "area": 3000, "iscrowd": 1})
    categories = [{"id": 3, "name": "dog"}, {"id": 8, "name": "cat"}]
    (root / "val.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories}), encoding="utf-8"
    )
    keys = {"path": str(root), "train": "images/val", "val": "images/val", "names": {0: "cat", 1: "dog"}}
    (root / "data.yaml").write_text(yaml.safe_dump(keys | {"annotations": {"val": "val.json"}}))
    return root / "data.yaml"


@pytest.fixture
def model(tmp_path):
    from ultralytics import YOLO

    YOLO("yolo11n.yaml").save(tmp_path / "best.pt")
    return tmp_path / "best.pt"


@pytest.mark.slow
def test_an_evaluation_is_on_the_json(tmp_path, data, model):
    """Ids, areas and crowd from the JSON; Ultralytics' own metrics from the labels; the same boxes in both."""
    from yolo_attn.integration.queries import validation

    arguments = {"imgsz": 64, "device": "cpu", "batch": 2, "conf": 1e-9}
    found = validation.evaluate(model, str(data), arguments, "auto", tmp_path / "scratch")
    assert (found.split, found.reason) == ("val", "the data has no test split")
    root = str(data.parent / "images" / "val")
    assert (found.image_folder, found.annotation_file) == (root, "val.json")
    assert found.images == [
        (900, "a.png", 48, 64), (899, "b.png", 48, 64), (898, "sub/a.png", 48, 64), (897, "sub/b.png", 48, 64),
    ]  # fmt: skip
    assert {p["image_id"] for p in found.predictions} == {897, 898, 899, 900}
    assert [(a["category_id"], a["area"], a["iscrowd"]) for a in found.truth["annotations"]] == [
        *[(1, 500, 0)] * 4, (0, 3000, 1),
    ]  # fmt: skip
    assert found.boxes == [(i, 1, [16, 12, 32, 24]) for i in (900, 899, 898, 897)]
    perfect = [{"image_id": i, "category_id": c, "bbox": b, "score": 0.5} for i, c, b in found.boxes]
    assert compute_metrics(found.truth, perfect)["AP_small"] == pytest.approx(1)

    text = data.read_text()
    data.write_text(text.replace("annotations:\n  val: val.json\n", ""))
    assert data.read_text() != text
    plain = validation.evaluate(model, str(data), arguments, "auto", tmp_path / "scratch")
    assert (plain.image_folder, plain.annotation_file) == (root, None)
    assert [image["id"] for image in plain.truth["images"]] == [1, 2, 3, 4]
    assert {(a["area"], a["iscrowd"]) for a in plain.truth["annotations"]} == {(768, 0)}
    assert plain.ultralytics == found.ultralytics


def test_a_json_that_does_not_fit_is_refused_before_the_training(data):
    from yolo_attn.integration.queries import annotation_checks, validation

    described = validation.check_data(str(data))
    assert described["annotations"] == {"val": "val.json"}  # and Ultralytics takes the key
    assert annotation_checks.check(described) == []
    Image.new("RGB", (64, 48)).save(data.parent / "images" / "val" / "new.png")
    with pytest.raises(DataError, match=r"val.json .*val/new.png"):
        annotation_checks.check(validation.check_data(str(data)))
    (data.parent / "images" / "val" / "new.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"new.png"):
        annotation_checks.check(validation.check_data(str(data)))
    data.write_text(data.read_text().replace("val.json", "gone.json"))
    with pytest.raises(DataError, match=r"annotations: val: .*gone.json"):
        annotation_checks.check(validation.check_data(str(data)))


def test_what_from_coco_writes_is_evaluated_on_its_json(data):
    from yolo_attn.data.coco_to_yolo import from_coco
    from yolo_attn.integration.queries import annotation_checks, validation

    out = data.parent / "out"
    from_coco(data.parent / "val.json", data.parent / "images" / "val", out, split="val", progress=False)
    described = validation.check_data(str(out / "data.yaml"))
    file = annotation_files(described)["val"]
    truth, ids = read_truth(
        file, annotation_checks.pictures_of(described["val"]), annotation_checks.names_of(described["names"])
    )
    assert sorted(ids.values()) == [897, 898, 899, 900]
    assert sorted((a["id"], a["area"], a["iscrowd"]) for a in truth["annotations"]) == [
        (10, 500, 0), (11, 500, 0), (12, 500, 0), (13, 500, 0), (99, 3000, 1),
    ]  # fmt: skip
