"""Mistakes with ``from-coco``: one line that names the way out, or a warning."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from yolo_attn.cli import main

pytestmark = pytest.mark.fast


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    (tmp_path / "images").mkdir()
    for k in range(4):
        cv2.imwrite(f"images/{k}.png", np.full((40, 40, 3), 50 * k, np.uint8))
    write()
    return tmp_path


def write(rename="{}.png", **keys):
    images = [{"id": k, "file_name": rename.format(k), **keys} for k in range(4)]
    boxes = [{"id": k + 1, "image_id": k, "category_id": 1, "bbox": [1, 1, 9, 9]} for k in range(4)]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "c"}]}
    Path("i.json").write_text(json.dumps(content))


def from_coco(*arguments):
    return main(["data", "from-coco", *(arguments or ("i.json", "images", "out"))])


@pytest.mark.parametrize(
    ("rename", "arguments", "message"),
    [
        ("images/{}.png", (), r"images/images/0\.png does not exist.*; images/0\.png does: name the folder \."),
        ("train2017/{}.png", (), r"; images/0\.png does: write this file_name as 0\.png"),
        ("{}.jpg", (), r"images/0\.jpg does not exist.*; images/0\.png does$"),
        ("z{}.jpg", (), r"images/z0\.jpg does not exist.*left out with it\)$"),
        ("{}.png", ("images", "i.json", "out"), "images is a folder; name a COCO instances JSON"),
        ("{}.png", ("i.json", "images", "i.json"), "i.json is a file; name a folder"),
        ("{}.png", ("i.json", "images", "i.json/x"), "i.json/.*Not a directory"),
        ("{}.png", ("i.json", "images", "out", "--split", "vall"), "'vall' must be one of train, val, test"),
        ("{}.png", ("i.json", "images", "out", "--split", "80/10/10"), "'80/10/10' .* such as 0.8/0.1/0.1"),
        ("{}.png", ("i.json", "images", "out", "--split", ".5/.4"), "'.5/.4' .* such as 0.8/0.1/0.1"),
    ],
)
def test_a_mistake_is_one_line(rename, arguments, message, root, capsys):
    write(rename)
    assert from_coco(*arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert re.search(message, lines[-1])
    assert not any("Traceback" in line for line in lines)
    assert not (root / "out").exists()


@pytest.mark.parametrize("size", [None, 0, "0", 40, "40", 40.0])
def test_a_size_that_is_not_known_is_read_from_the_image(size, root):
    write(width=size, height=size)
    assert from_coco() == 0
    assert len(list((root / "out/images/train").iterdir())) == 4


def test_parts_without_a_leading_zero(root):
    assert from_coco("i.json", "images", "out", "--split", ".5/.5") == 0
    assert sorted(path.name for path in (root / "out/images").iterdir()) == ["train", "val"]


def test_a_second_split_of_the_same_images_is_said(root, capsys):
    assert from_coco() == 0
    assert "are in" not in capsys.readouterr().out
    assert from_coco("i.json", "images", "out", "--split", "val") == 0
    assert "warning: 4 of 4 images are in train too" in capsys.readouterr().out
