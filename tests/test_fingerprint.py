"""A data set's fingerprint: what changes it, what does not, and a comparison that refuses changed data."""

from __future__ import annotations

import os
import shutil

import cv2
import msgspec
import pytest
from comparison import make
from support import noise_data, read_json

from yolo_attn.comparison import worker
from yolo_attn.errors import DataError
from yolo_attn.experiment.data_set_file import DataFingerprint
from yolo_attn.integration.queries import data_fingerprint, validation


@pytest.fixture
def data(tmp_path):
    """A data set of three images a split, one of them without a label file; returns its YAML."""
    file = noise_data(tmp_path / "set", ("train", "val", "test"), images=3, size=96)
    (tmp_path / "set" / "labels" / "test" / "2.txt").unlink()
    return file


def taken(data):
    return data_fingerprint.fingerprint(validation.check_data(str(data)))


def test_the_same_files_elsewhere_are_the_same_data_set(tmp_path, data):
    before = taken(data)
    assert before["splits"]["train"]["images"] == before["splits"]["train"]["labels"] == 3
    assert before["splits"]["test"] | {"digest": ""} == {"digest": "", "images": 3, "labels": 2}
    assert len({split["digest"] for split in before["splits"].values()}) == 3
    shutil.copytree(data.parent, tmp_path / "copy")
    moved = tmp_path / "copy" / "mine.yaml"
    moved.write_text(data.read_text().replace(str(data.parent), str(moved.parent)))
    for path in moved.parent.rglob("*"):
        os.utime(path, (1, 1))
    (moved.parent / "labels" / "train.cache").write_bytes(b"of Ultralytics")
    (moved.parent / "images" / "train" / "notes.txt").write_text("no image")
    assert taken(moved) == before
    listing = moved.parent / "test.txt"  # the same images by a list
    listing.write_text("".join(f"./images/test/{number}.png\n" for number in range(3)))
    moved.write_text(moved.read_text().replace("test: images/test", "test: test.txt"))
    assert taken(moved) == before


def edit_pixels(root):
    image = cv2.imread(str(root / "images" / "val" / "1.png"))
    image[:8] = 0
    cv2.imwrite(str(root / "images" / "val" / "1.png"), image)


def same_size_other_bytes(root):
    path = root / "images" / "test" / "0.png"
    whole = bytearray(path.read_bytes())
    whole[-20] ^= 1
    path.write_bytes(whole)


def edit(root, old, new):
    (root / "mine.yaml").write_text((root / "mine.yaml").read_text().replace(old, new))


OTHER = "the contents of images or labels differ"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (edit_pixels, [f"val: {OTHER}"]),
        (same_size_other_bytes, [f"test: {OTHER}"]),
        (lambda root: (root / "labels/train/0.txt").write_text("1 0.5 0.5 0.1 0.2\n"), [f"train: {OTHER}"]),
        (lambda root: (root / "labels/train/0.txt").unlink(), ["train: 3 labels then, 2 now"]),
        (lambda root: (root / "images/val/2.png").unlink(), ["val: 3 images then, 2 now, 3 labels then, 2 now"]),
        (lambda root: (root / "images/val/2.png").rename(root / "images/val/9.png"), ["val: 3 labels then, 2 now"]),
        (lambda root: edit(root, "test: images/test", ""), ["test: 3 images then, 0 now, 2 labels then, 0 now"]),
        (lambda root: edit(root, "[a, b]", "[b, a]"), ["the class names differ"]),
    ],
)  # fmt: skip
def test_every_change_is_seen_and_named(data, change, words):
    before = taken(data)
    change(data.parent)
    after = taken(data)
    assert after["digest"] != before["digest"]
    before, after = (msgspec.convert(each, DataFingerprint) for each in (before, after))
    assert before.changes(after) == words


def test_a_comparison_refuses_data_that_changed_between_runs(tmp_path, data):
    plan = make(tmp_path / "c", data=str(data))
    plan.claim()
    found = validation.check_data(str(data))
    digest = worker.check_unchanged(plan, found)
    assert worker.check_unchanged(plan, found) == digest == read_json(plan.folder / "data.json")["digest"]
    kept = (plan.folder / "data.json").read_bytes()
    (data.parent / "images" / "train" / "0.png").unlink()
    plan.runs[0].folder.mkdir(parents=True)
    (plan.runs[0].folder / "results.csv").write_text("epoch")
    with pytest.raises(DataError, match=r"mine\.yaml .*train: 3 images then, 2 now"):
        worker.check_unchanged(plan, found)
    assert (plan.folder / "data.json").read_bytes() == kept
