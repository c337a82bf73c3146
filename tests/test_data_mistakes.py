"""Mistakes that people make with data sets: named in one line before a training, or said where they do not stop it."""

import os
import re
import shutil

import cv2
import numpy as np
import pytest
from comparison import make
from support import logged, read_json
from ultralytics.data import utils as data_utils
from ultralytics.engine.trainer import BaseTrainer

import yolo_attn
from yolo_attn.cli import main
from yolo_attn.comparison import worker
from yolo_attn.errors import UserError
from yolo_attn.integration.queries import data_fingerprint
from yolo_attn.integration.strict_mode import strict

pytestmark = pytest.mark.fast
yolo_attn.install()
IMAGES = 6


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Six different images with a box each in train and val; ``d.yaml``."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        for k in range(IMAGES):
            image, label = (tmp_path / "set" / kind / split / f"{split}{k}" for kind in ("images", "labels"))
            image.parent.mkdir(parents=True, exist_ok=True)
            label.parent.mkdir(parents=True, exist_ok=True)
            coarse = random.integers(0, 255, (6, 6, 3), np.uint8)
            cv2.imwrite(f"{image}.png", cv2.resize(coarse, (64, 64), interpolation=cv2.INTER_CUBIC))
            label.with_suffix(".txt").write_text("0 0.5 0.5 0.3 0.3\n")
    write(tmp_path / "set")
    return tmp_path / "set"


def write(root, train="images/train", val="images/val", names="names: [a, b]\n", **more):
    lines = {"path": root, "train": train, "val": val, **more}
    text = "".join(f"{key}: {value}\n" for key, value in lines.items() if value is not None)
    (root / "d.yaml").write_text(text + names)


def label(root, text, name="train/train0"):
    (root / "labels" / f"{name}.txt").write_text(text)


def image_list(root, line, encoding="utf-8", images=IMAGES):
    text = "".join(line.format(k) + "\n" for k in range(images))
    (root / "train.txt").write_bytes(text.encode(encoding))
    write(root, train="train.txt")


def labels_beside_images(root):
    for file in sorted((root / "labels").rglob("*.txt")):
        file.rename(root / "images" / file.relative_to(root / "labels"))
    shutil.rmtree(root / "labels")


def link_the_folder(root):
    (root / "images" / "train").rename(root / "real")
    (root / "images" / "train").symlink_to(root / "real")


def all_of_class_two(root):
    for file in (root / "labels").rglob("*.txt"):
        file.write_text("2 0.5 0.5 0.3 0.3\n")


def upper_case_labels(root):
    for file in sorted((root / "labels").rglob("*.txt")):
        file.rename(file.with_suffix(".TXT"))


def no_images(root, split):
    for file in (root / "images" / split).iterdir():
        file.unlink()


REFUSED = {
    "another path": (lambda root: write(root, path="/nowhere/data"), "/nowhere/data/images/val, which does not exist"),
    "another folder": (lambda root: write(root, val="images/valid"), "images/valid, which does not exist.* train, val"),
    "no names": (lambda root: write(root, names=""), "names"),
    "a gap": (lambda root: write(root, names="names: {0: a, 2: b}\n"), r"d\.yaml: names: has no class 1;"),
    "from 1": (lambda root: write(root, names="names: {1: a, 2: b}\n"), r"d\.yaml: names: has no class 0;"),
    "none": (lambda root: write(root, names="names: []\n"), r"d\.yaml: names: has no class 0;"),
    "turned round": (lambda root: write(root, names="names: {a: 0, b: 1}\n"), r"d\.yaml: names: has the keys 'a', 'b'"),
    "an empty name": (lambda root: write(root, names="names: [a, null]\n"), r"d\.yaml: names: class 1 has no name"),
    "nc differs": (lambda root: write(root, names="names: [a, b]\nnc: 3\n"), "2 .*3"),
    "an empty key": (lambda root: write(root, train=""), r"d\.yaml: 'train:' is empty"),
    "a class beyond": (lambda root: label(root, "7 0.5 0.5 0.3 0.3\n"), r"train0\.txt line 1: class 7 .* 0 to 1"),
    "all classes beyond": (all_of_class_two, r"6 of 6 images .*train0\.txt line 1: class 2 .* 0 to 1"),
    "pixels": (lambda root: label(root, "0 20 20 30 30\n"), r"train0\.txt line 1: box 20 20 30 30 lies outside"),
    "commas": (lambda root: label(root, "0,0.5,0.5,0.3,0.3\n"), r"train0\.txt line 1: '0,0.5,0.5,0.3,0.3'"),
    "a name as class": (lambda root: label(root, "cat 0.5 0.5 0.3 0.3\n"), r"train0\.txt line 1: 'cat"),
    "a confidence": (lambda root: label(root, "0 0.5 0.5 0.3 0.3 0.9\n"), r"train0\.txt line 1: 6 numbers"),
    "boxes and polygons": (
        lambda root: label(root, "0 0.5 0.5 0.3 0.3\n0 0.1 0.1 0.5 0.1 0.5 0.5\n"), r"train0\.txt: .*5 numbers among"
    ),
    "labels beside": (labels_beside_images, r"none of the 6 images .*move \S+images/train/train0\.txt there"),
    "labels elsewhere": (lambda root: (root / "labels").rename(root / "yolo"), "labels/train/train0.*holds.* yolo"),
    "labels in one folder": (
        lambda root: [f.rename(root / "labels" / f.name) for f in sorted((root / "labels").rglob("*.txt"))],
        "none of the 6 images",
    ),
    "labels .TXT": (upper_case_labels, r"none of the 6 images .*train0\.TXT"),
    "no images": (lambda root: no_images(root, "train"), "no images in .*images/train; .*png"),
    "an image": (lambda root: write(root, train="images/train/train0.png"), r"train0\.png is an image;"),
    "one of two folders": (lambda root: write(root, train="[images/train, images/nope]"), "images/nope does not exist"),
    "list without ./": (lambda root: image_list(root, "images/train/train{}.png"), r"train\.txt line 1: images/train"),
    "list of Windows": (lambda root: image_list(root, r".\images\train\train{}.png"), r"train\.txt line 1: \.\\images"),
    "list of another machine": (lambda root: image_list(root, "/kaggle/a{}.png"), r"train\.txt line 1: /kaggle/a0"),
    "list too long": (
        lambda root: image_list(root, "./images/train/train{}.png", images=8), r"train\.txt line 7: .*train6\.png"
    ),
    "list in UTF-16": (lambda root: image_list(root, "./images/train/train{}.png", "utf-16"), r"train\.txt is UTF-16"),
    "an empty list": (lambda root: image_list(root, "", images=0), r"no images in .*train\.txt"),
    "a linked folder": (link_the_folder, r"real/train0\.txt does not exist"),
    "a broken link": (
        lambda root: (root / "images/train/z.png").symlink_to("/nowhere.png"), r"1 of 7 images .*z\.png does not exist"
    ),
}  # fmt: skip
OF_VAL = {
    "no images": (lambda root: no_images(root, "val"), "no images in .*images/val;"),
    "no labels": (lambda root: shutil.rmtree(root / "labels" / "val"), "none of the 6 images in .*images/val"),
    "an image twice": (
        lambda root: [
            (root / "val.txt").write_text("./images/val/val0.png\n./images/val/val1.png\n./images/val/val0.png\n"),
            write(root, val="val.txt"),
        ],
        r"val lists images twice: val0\.png",
    ),
}


def compare(root, monkeypatch):
    """Check what the first process of a comparison checks, with its warnings."""
    monkeypatch.setattr(worker.model_checks, "check_models", lambda plan: None)
    plan = make(root.parent / "c", data=str(root / "d.yaml"))
    plan.claim()
    with logged() as lines, strict():
        worker.check(plan)
    return lines


@pytest.mark.parametrize(("mistake", "message"), [*REFUSED.values(), *OF_VAL.values()], ids=[*REFUSED, *OF_VAL])
def test_compare_refuses_before_the_first_run(mistake, message, root, monkeypatch):
    mistake(root)
    with pytest.raises(UserError, match=message) as raised:
        compare(root, monkeypatch)
    assert "\x1b" not in str(raised.value)


@pytest.mark.parametrize(("mistake", "message"), REFUSED.values(), ids=REFUSED)
def test_train_says_it_in_one_line(mistake, message, root, monkeypatch, capsys):
    monkeypatch.setattr(data_utils, "check_font", lambda *_: None)  # would ask the network
    monkeypatch.setattr(BaseTrainer, "_do_train", lambda self, *_: self._setup_train())
    mistake(root)
    given = ["model=yolo11n-ema.yaml", f"data={root / 'd.yaml'}", "epochs=1", "imgsz=64", "batch=2", "workers=0"]
    assert main(["train", *given, "device=cpu", "plots=False", f"project={root}/runs"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert not any("Traceback" in line for line in lines)
    (line,) = [line for line in lines if line.startswith("yolo-attn: ")]
    assert re.search(message, line)


def test_a_last_batch_of_one_image_is_one_line(root, monkeypatch, capsys):
    monkeypatch.setattr(data_utils, "check_font", lambda *_: None)
    given = ["model=yolo11n-ema.yaml", f"data={root / 'd.yaml'}", "epochs=1", "imgsz=32", "batch=5", "workers=0"]
    assert main(["train", *given, "device=cpu", "plots=False", f"project={root}/runs"]) == 2
    assert "final batch=1" in capsys.readouterr().err.splitlines()[-1]


def another_suffix(root):
    shutil.copy(root / "images/val/val0.png", root / "val0.png")
    image = cv2.imread(str(root / "images/train/train0.png"))
    cv2.imwrite(str(root / "images/train/train0.bmp"), cv2.flip(image, 1))


SAID = {
    "a name twice": (lambda root: write(root, names="names: [a, a]\n"), "names: has 'a' twice"),
    "a misspelt split": (lambda root: write(root, tests="images/test"), "'tests' is not used. Did you mean 'test'"),
    "a label without image": (
        lambda root: label(root, "0 0.5 0.5 0.3 0.3\n", "train/z"), "1 label file of train has no image .*: z.txt"
    ),
    "a format that is not read": (
        lambda root: [
            (root / "images/train/g.gif").write_bytes(b"GIF89a"), label(root, "0 0.5 0.5 0.3 0.3\n", "train/g")
        ],
        "1 label file of train has no image .*: g.txt",
    ),
    "two images, one label": (another_suffix, "share 1 label file: train0.txt"),
    "an image twice": (
        lambda root: image_list(root, "./images/train/train0.png"), "train lists 1 image more than once.*: train0.png"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("mistake", "message"), SAID.values(), ids=SAID)
def test_compare_says_what_does_not_stop_it(mistake, message, root, monkeypatch):
    mistake(root)
    assert any(re.search(message, line) for line in compare(root, monkeypatch))


def list_with_mark(root):
    image_list(root, "./images/train/train{}.png", "utf-8-sig")


def links_to_images(root):
    (root / "real").mkdir()
    for file in sorted((root / "images" / "train").iterdir()):
        file.rename(root / "real" / file.name)
        file.symlink_to(root / "real" / file.name)


def linked_sub_folder(root):
    for kind in ("images", "labels"):
        (root / kind / "train").rename(root / f"real {kind}")
        (root / kind / "train").mkdir()
        (root / kind / "train" / "sub").symlink_to(root / f"real {kind}")


FINE = {
    "nothing": lambda root: None,
    "number as text": lambda root: write(root, names="names: {'0': a, '1': b}\n"),
    "a list": lambda root: image_list(root, "./images/train/train{}.png"),
    "a list with a mark": list_with_mark,
    "a list of Windows' line ends": lambda root: image_list(root, "./images/train/train{}.png\r"),
    "links": links_to_images,
    "a linked folder": linked_sub_folder,
    "a hidden file": lambda root: (root / "images/train/._train0.png").write_bytes(b"of macOS"),
    "classes.txt": lambda root: label(root, "a\nb\n", "train/classes"),
    "a float as class": lambda root: label(root, "1.0 0.5 0.5 0.3 0.3\n"),
    "folders": lambda root: write(root, train="[images/train]"),
    "brackets in the path": lambda root: [
        shutil.copytree(root, root.parent / "a [b] c"), write(root, path=root.parent / "a [b] c")
    ],
}  # fmt: skip


@pytest.mark.parametrize("edit", FINE.values(), ids=FINE)
def test_what_ultralytics_reads_is_compared(edit, root, monkeypatch):
    """The images that a training uses are those of the fingerprint."""
    from ultralytics.data.dataset import YOLODataset

    edit(root)
    assert not any("d.yaml" in line for line in compare(root, monkeypatch))
    assert read_json(root.parent / "c" / "data.json")["warnings"] == []
    data = data_utils.check_det_dataset(str(root / "d.yaml"))
    trained = YOLODataset(img_path=data["train"], data=data, augment=False).im_files
    assert sorted(data_fingerprint.images_of(data["train"])) == sorted(map(os.path.normpath, trained))
    assert len(trained) == IMAGES
