"""Names of files that are long, no text, or of characters that a terminal cannot show: they work, or give one line."""

import json
import os

import cv2
import numpy as np
import pytest
from comparison import make
from support import noise_data

from yolo_attn.cli import main
from yolo_attn.comparison import worker
from yolo_attn.data.coco_reading import Image
from yolo_attn.data.coco_to_yolo import from_coco
from yolo_attn.data.coco_writing import _write_images
from yolo_attn.errors import DataError
from yolo_attn.experiment import storage
from yolo_attn.experiment.data_set_file import DataFingerprint

pytestmark = pytest.mark.fast
LONG = "a" * 300
USABLE = [
    "A.PNG", " a b .png", "a\nb.png", "b" * 250 + ".png", "%s{}.png", "e\u0301.png", "\x1b[31ma.png", "a'\".png",
    "#a.png", "a.b.c.png", "\U0001f642.png", "[red]a.png", "-a.png", "~.png", "\u3000.png",
]  # fmt: skip


def picture(file):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(cv2.imencode(".png", np.full((40, 40, 3), 90, np.uint8))[1].tobytes())


def instances(folder, names, category="cell"):
    """Write a COCO JSON with a good image and images of these names, a box each."""
    picture(folder / "images" / "good.png")
    entries = [{"id": k, "file_name": name} for k, name in enumerate(["good.png", *names])]
    boxes = [{"id": k, "image_id": k, "category_id": 1, "bbox": [1, 1, 9, 9]} for k in range(len(entries))]
    content = {"images": entries, "annotations": boxes, "categories": [{"id": 1, "name": category}]}
    (folder / "instances.json").write_text(json.dumps(content))


def converted(folder):
    given = [str(folder / name) for name in ("instances.json", "images", "out")]
    return main(["data", "from-coco", *given])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (f"{LONG}.png", "File name too long"),
        ("d/" * 3000 + "a.png", "File name too long"),
        ("\ud800.png", "not valid Unicode"),
        (os.fsdecode(b"\xff.png"), "not valid Unicode"),
        ("a\0b.png", "does not exist"),
        ("../outside.png", "outside the images folder"),
        ("/etc/a.png", "outside the images folder"),
        ("C:\\a.png", "outside the images folder"),
        ("a//b/../c.png", "outside the images folder"),
        ("http://x.y/a.png", "does not exist"),
        (".", "without a suffix"),
    ],
    ids=lambda text: ascii(text)[:30],
)
def test_from_coco_leaves_out_an_image_whose_name_it_cannot_use(name, reason, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    picture(tmp_path / "outside.png")
    if name.startswith("\udcff"):
        picture(tmp_path / "images" / name)
    instances(tmp_path, [name])
    assert converted(tmp_path) == 0
    assert reason in capsys.readouterr().out
    assert [file.name for file in (tmp_path / "out" / "images").rglob("*.png")] == ["good.png"]
    assert reason in (tmp_path / "out" / "bad_boxes_train.csv").read_text()


def test_from_coco_takes_unusual_names(tmp_path, capsys):
    for name in USABLE:
        picture(tmp_path / "images" / name)
    instances(tmp_path, [*USABLE, "a.PNG"])
    picture(tmp_path / "images" / "a.PNG")  # another file, except where letter case does not count
    result = from_coco(tmp_path / "instances.json", tmp_path / "images", tmp_path / "out", progress=False)
    assert result.bad == []
    kept = {file.name for file in (tmp_path / "out" / "images" / "train").iterdir()}
    assert kept == {"good.png", "a.PNG", *USABLE}
    assert len(list((tmp_path / "out" / "labels" / "train").iterdir())) == len(kept)


def test_a_file_system_where_letter_case_does_not_count(tmp_path):
    """As if 'a.png' and 'A.png' were one name there."""
    picture(tmp_path / "a.png")
    twice = [Image(k, tmp_path / "a.png", tmp_path / "a.png", 40, 40) for k in range(2)]
    with pytest.raises(DataError, match=r"a\.png: .* letter case"):
        _write_images([Image(i.id, i.source, i.source.relative_to(tmp_path), 40, 40) for i in twice],
                      tmp_path / "images", tmp_path / "labels")  # fmt: skip


@pytest.mark.parametrize("name", ["a\ud800", "a\x1b[31m", "a\nb"])
def test_a_category_with_control_characters_is_refused(name, tmp_path, capsys):
    instances(tmp_path, [], name)
    assert converted(tmp_path) == 2
    assert "categor" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def data(tmp_path):
    return noise_data(tmp_path / "set", ("train", "val"), images=2)


def check(data, monkeypatch):
    monkeypatch.setattr(worker.model_checks, "check_models", lambda plan: None)
    plan = make(data.parent / "c", data=str(data))
    plan.claim()
    worker.check(plan)
    return plan


def add(data, name, label):
    picture(data.parent / "images" / "train" / name)
    (data.parent / "labels" / "train" / label).write_text("0 0.5 0.5 0.2 0.2\n")


def test_a_data_set_with_unusual_names_is_compared(data, monkeypatch):
    for name in USABLE:
        add(data, name, name.removesuffix(".png").removesuffix(".PNG") + ".txt")
    plan = check(data, monkeypatch)
    kept = storage.read(plan.folder / "data.json", DataFingerprint)
    assert kept.splits["train"].images == kept.splits["train"].labels == 2 + len(USABLE)


@pytest.mark.skipif(os.name == "nt", reason="names are always Unicode there")
def test_a_name_that_is_not_utf8_is_one_line(data, monkeypatch):
    add(data, os.fsdecode(b"\xff.png"), os.fsdecode(b"\xff.txt"))
    with pytest.raises(DataError, match=r"train/\\udcff\.png: the file's name is not UTF-8; rename"):
        check(data, monkeypatch)


COMMANDS = {
    "check": ["check", "{}.yaml"],
    "info": ["info", "{}.pt"],
    "diagram": ["diagram", "{}.yaml", "-o", "x.svg"],
    "place": ["place", "{}.yaml", "EMA", "--at", "neck.P3", "-o", "x.yaml"],
    "place -o": ["place", "yolo11.yaml", "EMA", "--at", "neck.P3", "-o", "{}.yaml"],
    "convert": ["convert", "{}.yaml", "-o", "x.yaml"],
    "transfer": ["transfer", "{}.pt", "yolo11n-ema.yaml", "-o", "x.pt"],
    "train": ["train", "model={}.yaml", "data=digits.yaml"],
    "train data": ["train", "model=yolo11n.yaml", "data={}.yaml"],
    "predict": ["predict", "model=yolo11n.yaml", "source={}.png"],
    "compare": ["compare", "base={}.yaml", "models=yolo11n-ema.yaml", "data=digits.yaml"],
    "compare data": ["compare", "base=yolo11n.yaml", "models=yolo11n-ema.yaml", "data={}.yaml", "folder=e"],
    "compare folder": ["compare", "base=yolo11n.yaml", "models=yolo11n-ema.yaml", "data=digits.yaml", "folder={}"],
    "report": ["report", "{}"],
    "from-coco": ["data", "from-coco", "{}.json", ".", "o"],
    "from-coco images": ["data", "from-coco", "instances.json", "{}", "o"],
    "from-coco out": ["data", "from-coco", "instances.json", "images", "{}"],
}


@pytest.mark.parametrize("name", [LONG, "\udcff"], ids=["long", "not UTF-8"])
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_path_that_cannot_be_used_is_one_line(command, name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    instances(tmp_path, [])
    before = {str(path) for path in tmp_path.rglob("*")}
    assert main([part.format(name) for part in command]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if line.startswith("yolo-attn: ")]) == 1
    assert not any("Traceback" in line for line in lines)
    assert {str(path) for path in tmp_path.rglob("*")} == before
