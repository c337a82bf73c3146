"""Data sets that mislead: splits that share images, images without labels, files that Ultralytics rewrites."""

import contextlib
import io
import re
import shutil

import cv2
import numpy as np
import pytest
from comparison import make
from PIL import Image
from support import logged, noise_data, read_json
from ultralytics import YOLO
from ultralytics.utils import LOGGER

from yolo_attn.comparison import worker
from yolo_attn.data import yolo_labels
from yolo_attn.data.yolo_labels import why_unusable
from yolo_attn.errors import DataError
from yolo_attn.experiment import storage
from yolo_attn.experiment.data_set_file import DataFingerprint
from yolo_attn.integration.queries import data_fingerprint, jpeg_repair, split_checks, validation
from yolo_attn.integration.strict_mode import strict

pytestmark = pytest.mark.fast


@pytest.fixture
def data(tmp_path):
    """Smooth random images, three a split, all different; returns the YAML."""
    file = noise_data(tmp_path / "set", ("train", "val", "test"), images=3, size=96)
    random = np.random.default_rng(1)
    for image in sorted((tmp_path / "set" / "images").rglob("*.png")):
        coarse = random.integers(0, 255, (6, 6, 3), np.uint8)
        cv2.imwrite(str(image), cv2.resize(coarse, (96, 96), interpolation=cv2.INTER_CUBIC))
    return file


def warnings(file):
    return split_checks.check(validation.check_data(str(file))).warnings


def test_different_splits_are_fine(data):
    assert warnings(data) == []


@pytest.mark.parametrize(("one", "other"), [("train", "val"), ("train", "test"), ("val", "test")])
def test_a_copy_in_another_split_is_named(one, other, data):
    images = data.parent / "images"
    shutil.copy(images / one / "1.png", images / other / "0.png")
    (warning,) = warnings(data)
    assert warning.startswith(f"1 of 3 images of {other} are in {one} too: 0.png.")


def recompressed(image):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 1)


@pytest.mark.parametrize(
    "edit",
    [recompressed, lambda image: cv2.resize(image, (80, 80)), lambda image: cv2.convertScaleAbs(image, alpha=0.9)],
    ids=["recompressed", "smaller", "darker"],
)
def test_an_image_that_looks_alike_is_named(edit, data):
    images = data.parent / "images"
    cv2.imwrite(str(images / "test" / "2.png"), edit(cv2.imread(str(images / "train" / "1.png"))))
    (warning,) = warnings(data)
    assert warning.startswith("1 of 3 images of test look like images of train: 2.png (train: 1.png).")


def test_flat_images_do_not_look_alike(data):
    for split in ("train", "val"):
        cv2.imwrite(str(data.parent / "images" / split / "0.png"), np.full((96, 96, 3), ord(split[0]), np.uint8))
    assert warnings(data) == []


@pytest.mark.parametrize("how", ["the same folder", "copies", "other order"])
def test_identical_splits_are_refused(how, data):
    root = data.parent
    if how == "the same folder":
        data.write_text(data.read_text().replace("val: images/val", "val: images/train"))
    else:
        shutil.rmtree(root / "images" / "val")
        shutil.copytree(root / "images" / "train", root / "images" / "val")
    if how == "other order":
        for a, b in (("0", "x"), ("1", "0"), ("x", "1")):
            (root / "images" / "val" / f"{a}.png").rename(root / "images" / "val" / f"{b}.png")
    with pytest.raises(DataError, match=r"mine\.yaml: train and val are the same 3 images"):
        warnings(data)
    plan = make(root / "c", data=str(data))
    plan.claim()
    with pytest.raises(DataError, match="train and val are the same 3 images"):
        worker.check(plan)


def test_images_without_a_label_file_are_counted(data):
    (data.parent / "labels" / "train" / "1.txt").unlink()
    (warning,) = warnings(data)
    assert warning.startswith("1 of 3 images of train have no label file")
    assert "1.png" in warning
    shutil.rmtree(data.parent / "labels" / "test")  # as COCO's test-dev: none has labels
    assert len(warnings(data)) == 1


def test_compare_says_it_first_and_keeps_it(data, monkeypatch):
    shutil.copy(data.parent / "images/train/1.png", data.parent / "images/test/0.png")
    plan = make(data.parent / "c", data=str(data))
    plan.claim()
    monkeypatch.setattr(worker.model_checks, "check_models", lambda plan: None)
    with logged() as lines:
        worker.check(plan)
    assert any("1 of 3 images of test are in train too" in line for line in lines)
    (kept,) = read_json(plan.folder / "data.json")["warnings"]
    assert kept.startswith("1 of 3 images of test are in train too")
    worker.check_unchanged(plan, validation.check_data(str(data)))  # as each run does
    assert read_json(plan.folder / "data.json")["warnings"] == [kept]


@pytest.mark.parametrize("split", ["auto", "test"])
def test_a_test_split_that_is_not_new_is_not_called_so(split, data, monkeypatch):
    images = data.parent / "images"
    for number, other in enumerate(("train", "val")):
        shutil.copy(images / other / "1.png", images / "test" / f"{number}.png")
    cv2.imwrite(str(images / "val" / "2.png"), recompressed(cv2.imread(str(images / "train" / "0.png"))))
    plan = make(data.parent / "c", data=str(data), split=split)
    plan.claim()
    monkeypatch.setattr(worker.model_checks, "check_models", lambda plan: None)
    worker.check(plan)
    kept = storage.read(plan.folder / "data.json", DataFingerprint)
    assert {name: found.shared for name, found in kept.splits.items()} == {"train": 0, "val": 1, "test": 2}
    reason = validation._chosen(validation.check_data(str(data)))[1] if split == "auto" else "asked for"
    said = worker._reason("test", reason, kept)
    assert said == f"{reason}, but it shares 2 of its 3 images with train or val"
    assert worker._reason("val", "asked for", kept) == "asked for"


def jpeg(seed, end=b""):
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 40, 3), np.uint8)).save(stream, "JPEG")
    return stream.getvalue() + end


ENDS = {"a zero": b"\0", "zeros": b"\0\0", "bytes after": b"more bytes"}


def labelled_jpeg(root, split, content, name="9.jpg"):
    file = root / "images" / split / name
    file.write_bytes(content)
    (root / "labels" / split / file.name).with_suffix(".txt").write_text("")
    return file


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_jpeg_without_its_end_gets_one_and_keeps_its_pixels(end, data):
    root = data.parent
    broken = [labelled_jpeg(root, split, jpeg(len(split), end)) for split in ("test", "train")]
    broken.append(labelled_jpeg(root, "val", jpeg(5, end), "named.png"))
    whole = labelled_jpeg(root, "val", jpeg(7))
    pixels = [cv2.imread(str(file)) for file in broken]
    found = validation.check_data(str(data))
    with logged() as lines:
        assert jpeg_repair.repair(found) == broken
    assert "3 JPEGs without an end marker" in lines[0]
    assert whole.read_bytes() == jpeg(7)
    for file, before in zip(broken, pixels, strict=True):
        np.testing.assert_array_equal(cv2.imread(str(file)), before)
    before = data_fingerprint.fingerprint(found)
    from ultralytics.data.dataset import YOLODataset

    for split in ("train", "val", "test"):  # what a training does
        YOLODataset(img_path=str(root / "images" / split), imgsz=64, augment=False, data=found)
    assert data_fingerprint.fingerprint(found) == before
    assert jpeg_repair.repair(found) == []


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_what_a_link_leads_to_stays(link, data):
    source = data.parent / "source.jpg"
    source.write_bytes(jpeg(1, b"more"))
    file = data.parent / "images" / "train" / "9.jpg"
    getattr(file, link)(source)
    jpeg_repair.repair(validation.check_data(str(data)))
    assert (source.read_bytes(), file.read_bytes()) == (jpeg(1, b"more"), jpeg(1, b"more\xff\xd9"))


class TrainedError(Exception):
    """Instead of a training."""


def train_on_a_copy(data, tmp_path, monkeypatch, change=lambda root: None):
    """Check the data on the head, and begin a run on a node with its own copy of them."""
    shutil.copytree(data.parent, there := tmp_path / "node" / "set")
    (there / data.name).write_text(data.read_text().replace(str(data.parent), str(there)))
    change(there)
    monkeypatch.setattr(worker.model_checks, "check_models", lambda plan: None)
    head = make(tmp_path / "head" / "c", data=str(data))
    head.claim()
    worker.check(head)
    node = make(tmp_path / "node" / "c", data=str(there / data.name))
    node.claim()
    shutil.copy(head.folder / "data.json", node.folder)

    def train(*_):
        raise TrainedError

    monkeypatch.setattr(worker.training, "train", train)
    worker.perform(node, node.runs[0])


def test_a_node_with_its_own_copy_of_the_data_has_the_same_fingerprint(data, tmp_path, monkeypatch):
    labelled_jpeg(data.parent, "train", jpeg(3, b"more"))
    with pytest.raises(TrainedError):
        train_on_a_copy(data, tmp_path, monkeypatch)


def test_a_node_with_other_data_is_refused(data, tmp_path, monkeypatch):
    """Though no run of the node's scratch folder has trained."""
    with pytest.raises(DataError, match=r"has changed .*train: 3 images then, 2 now"):
        train_on_a_copy(data, tmp_path, monkeypatch, lambda root: (root / "images/train/0.png").unlink())


@pytest.mark.parametrize("length", [-2, 900, 200, 2])
def test_a_truncated_jpeg_is_left_and_named(length, data):
    file = labelled_jpeg(data.parent, "train", damaged := jpeg(3)[:length])
    assert jpeg_repair.repair(validation.check_data(str(data))) == []
    assert file.read_bytes() == damaged
    assert re.match(rf"{file} does not decode \(.*(truncated|damaged)", why_unusable(file, 2))


def test_download_code_is_announced_before_it_runs(tmp_path, monkeypatch):
    trace = tmp_path / "trace"
    file = tmp_path / "theirs.yaml"
    file.write_text(
        f"path: {tmp_path}/none\ntrain: images\nval: images\nnames: [a]\n"
        f"download: |\n  from pathlib import Path\n  Path({str(trace)!r}).touch()\n"
    )
    ran_before = []

    def keep(line):
        if "theirs.yaml" in line and "2 lines; the first: from pathlib import Path" in line:
            ran_before.append(trace.exists())

    monkeypatch.setattr(LOGGER, "warning", keep)
    with strict(), contextlib.suppress(DataError):
        validation.check_data(str(file))
    assert trace.exists()
    assert ran_before == [False]


def test_boxes_without_an_area_are_counted_and_named(data, tmp_path):
    labels = data.parent / "labels"
    (labels / "val" / "1.txt").write_text("1 0.5 0.5 0.2 0.2\n0 0.5 0.5 0 0.2\n\n0 0.5 0.5 0.2 0.0\n")
    (labels / "test" / "2.txt").write_text("0 0.5 0.5 0.2 0\n")
    several, one = warnings(data)
    assert several.startswith("val: 2 boxes ")
    assert f"{labels / 'val' / '1.txt'} line 2, {labels / 'val' / '1.txt'} line 4" in several
    assert one.startswith("test: 1 box ")
    with logged() as lines, strict(), contextlib.suppress(StopIteration):
        stop_after_the_data_set(data)
    assert any(f"{labels / 'val' / '1.txt'} line 2" in line for line in lines)


def stop_after_the_data_set(data):
    """Validate a model on val until its first batch."""

    def stop(_):
        raise StopIteration

    model = YOLO("yolo11n.yaml")
    model.add_callback("on_val_batch_start", stop)
    model.val(data=str(data), imgsz=32, batch=1, workers=0, device="cpu")


SIDES = [(0.5, 0.5, 1.0, 1.0), (0.0, 0.5, 0.0, 0.1), (1.0, 1.0, 0.02, 0.02), (0.95, 0.5, 0.119, 0.2)]
BEYOND = [(0.95, 0.5, 0.13, 0.2), (0.04, 0.5, 0.11, 0.2), (0.5, 0.98, 0.2, 0.2), (0.5, 0.01, 0.2, 0.2)]
BEYOND += [(1.005, 0.5, 0.0, 0.1), (-0.001, 0.5, 0.01, 0.1), (0.5, 1.0001, 0.01, 0.01)]


@pytest.mark.parametrize(("box", "wrong"), [*((b, False) for b in SIDES), *((b, True) for b in BEYOND)])
def test_the_rule_of_the_scan_and_of_the_message_is_one(box, wrong, data):
    (label := data.parent / "labels" / "train" / "1.txt").write_text(f"0 {' '.join(map(str, box))}\n")
    assert yolo_labels.outside(np.array([box], np.float32)).tolist() == [wrong]
    reason = yolo_labels.why_unusable(data.parent / "images" / "train" / "1.png", 2)
    assert (f"{label} line 1: box " in reason) == wrong


@pytest.mark.parametrize("name", ["bccd", "aquarium", "coco_val128"])
def test_real_labels_are_not_refused(name, shared):
    files = list((shared / "data" / name).rglob("labels/**/*.txt"))
    lines = [line.split()[1:] for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    assert len(lines) > 500
    assert not yolo_labels.outside(np.array(lines, np.float32)).any()
    assert yolo_labels.without_area(files) == ""
