"""A data set appears completely or not at all: every write of a conversion fails once."""

import errno
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from yolo_attn.data.coco_to_yolo import divide_coco, from_coco
from yolo_attn.errors import DataError, DiskFullError

pytestmark = pytest.mark.fast
ERRORS = {
    "disk full": (OSError(errno.ENOSPC, "No space left on device"), DiskFullError),
    "not allowed": (PermissionError(errno.EACCES, "Permission denied", "out/x"), DataError),
    "interrupted": (KeyboardInterrupt(), KeyboardInterrupt),
}


@pytest.fixture
def instances(tmp_path):
    """Six different images with a box each, the last with a bad one too."""
    entries, boxes = [], []
    for k in range(6):
        file = tmp_path / "photos" / f"{k}.png"
        file.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(file), np.full((40, 40, 3), 20 * k, np.uint8))
        entries.append({"id": k, "file_name": file.name})
        boxes.append({"id": k, "image_id": k, "category_id": 1, "bbox": [5, 5, 20, 20]})
    boxes.append({"id": 9, "image_id": 5, "category_id": 1, "bbox": [5, 5, 0, 20]})
    file = tmp_path / "instances.json"
    file.write_text(json.dumps({"images": entries, "annotations": boxes, "categories": [{"id": 1, "name": "cell"}]}))
    return file


def plain(instances, out):
    from_coco(instances, instances.parent / "photos", out, progress=False)


def added(instances, out):
    from_coco(instances, instances.parent / "photos", out, split="val", progress=False)


def divided(instances, out):
    divide_coco(instances, instances.parent / "photos", out, split="0.5/0.25/0.25", progress=False)


def contents(folder):
    return {str(file): file.read_bytes() if file.is_file() else None for file in folder.rglob("*")}


def fail_at(monkeypatch, number, error):
    """Let one of the calls that change the disk raise; return the list of those that were made."""
    calls = []

    def wrapped(original):
        def call(*args, **kwargs):
            calls.append(original)
            if len(calls) == number:
                raise error
            return original(*args, **kwargs)

        return call

    for name in ("rename", "replace", "write_text", "mkdir"):
        monkeypatch.setattr(Path, name, wrapped(getattr(Path, name)))
    if not isinstance(error, PermissionError):  # without hard links there are symlinks or copies
        monkeypatch.setattr(os, "link", wrapped(os.link))
    return calls


@pytest.mark.parametrize("convert", [plain, added, divided])
@pytest.mark.parametrize(("error", "raised"), ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize("name", ["out", "deep/er/out"])
def test_whatever_fails_the_folder_stays_as_it_was(convert, error, raised, name, instances, monkeypatch):
    out = instances.parent / name
    if convert is added:
        plain(instances, out)
        (out / "bad_boxes_val.csv").write_text("of an earlier split")
    before = contents(instances.parent)
    for number in range(1, 200):
        with monkeypatch.context() as patched:
            calls = fail_at(patched, number, error)
            failed = None
            try:
                convert(instances, out)
            except raised as problem:
                failed = problem
        if failed is None:
            break
        assert contents(instances.parent) == before, f"after a failed {calls[number - 1].__name__}"
    assert number > 8
    assert (out / "images" / ("val" if convert is added else "train")).is_dir()
    assert not list(instances.parent.rglob(".*"))


def test_a_new_data_set_appears_at_once(instances, monkeypatch):
    out, seen = instances.parent / "out", []
    rename = Path.rename
    monkeypatch.setattr(Path, "rename", lambda self, target: (seen.append(out.exists()), rename(self, target))[1])
    divided(instances, out)
    assert seen == [False]
    assert sorted(path.name for path in (out / "images").iterdir()) == ["test", "train", "val"]
