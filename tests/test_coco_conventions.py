"""COCO JSON as tools write it: what is beyond doubt is read; anything else is an error or a warning."""

import json

import cv2
import numpy as np
import pytest
import yaml

from yolo_attn.cli import main
from yolo_attn.data.coco_to_yolo import divide_coco, from_coco
from yolo_attn.data.coco_values import as_box, as_id
from yolo_attn.errors import DataError

pytestmark = pytest.mark.fast
BOXES = [(10, 20, 30, 40), (60, 5, 30, 20), (50, 50, 40, 25)]  # in an image of 100x80
WANTED = "1 0.25 0.5 0.3 0.5\n0 0.75 0.1875 0.3 0.25\n1 0.7 0.78125 0.4 0.3125\n"


def content():
    return {
        "images": [{"id": 4, "file_name": "a.png", "width": 100, "height": 80}],
        "annotations": [
            {"id": k + 1, "image_id": 4, "category_id": (7, 3, 7)[k], "bbox": list(b), "area": b[2] * b[3]}
            for k, b in enumerate(BOXES)
        ],
        "categories": [{"id": 3, "name": "dog"}, {"id": 7, "name": "cat"}],
    }


@pytest.fixture
def convert(tmp_path):
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), np.full((80, 100, 3), 90, np.uint8))

    def run(change, split="train", name="instances.json"):
        made = content()
        change(made)
        (tmp_path / name).write_text(json.dumps(made))
        return from_coco(tmp_path / name, tmp_path / "images", tmp_path / "out", split=split, progress=False)

    run.root = tmp_path
    return run


def each(made, **change):
    for name, edit in change.items():
        for entry in made[name]:
            edit(entry)


def corners(entry):
    x, y, w, h = entry["bbox"]
    return [x, y, x + w, y + h]


def put(key, edit):
    return lambda entry: entry.update({key: edit(entry[key])})


SAME = {
    "ids as text": lambda m: each(m, images=put("id", str), annotations=put("image_id", str)),
    "ids as text in one list": lambda m: each(m, images=put("id", str)),
    "ids as floats": lambda m: each(m, annotations=put("image_id", float)),
    "categories as text": lambda m: each(m, categories=put("id", str), annotations=put("category_id", str)),
    "categories as floats": lambda m: each(m, annotations=put("category_id", float)),
    "sizes as text": lambda m: each(m, images=lambda e: e.update(width="100", height=80.0)),
    "boxes with names": lambda m: each(
        m, annotations=put("bbox", lambda b: dict(zip(("x", "y", "width", "height"), b, strict=True)))
    ),
    "corners with names": lambda m: each(
        m, annotations=lambda e: e.update(bbox=dict(zip(("xmin", "ymin", "xmax", "ymax"), corners(e), strict=True)))
    ),
    "boxes as one text": lambda m: each(m, annotations=put("bbox", str)),
    "boxes with commas": lambda m: each(m, annotations=put("bbox", lambda b: ", ".join(map(str, b)))),
    "numbers as text": lambda m: each(m, annotations=put("bbox", lambda b: [str(v) for v in b])),
    "polygons without boxes": lambda m: each(
        m,
        annotations=lambda e: e.update(
            segmentation=[[(c := corners(e))[0], c[1], c[2], c[1], c[2], c[3]], [c[0], c[3], c[0], c[1], c[2], c[3]]],
            bbox=[],
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", SAME)
def test_what_is_beyond_doubt_is_read(what, convert):
    result = convert(SAME[what])
    assert (result.boxes, result.bad, result.warnings) == (3, [], [])
    assert (convert.root / "out/labels/train/a.txt").read_text() == WANTED
    written = json.loads((convert.root / "out/annotations/instances_train.json").read_text())
    assert [tuple(a["bbox"]) for a in written["annotations"]] == BOXES


REFUSED = {
    "corners": (lambda m: each(m, annotations=lambda e: e.update(bbox=corners(e))), "2 of 3 boxes .*left, top, right"),
    "no boxes": (lambda m: each(m, annotations=lambda e: e.pop("bbox")), "none of the 3 annotations .*no bbox"),
    "masks": (
        lambda m: each(m, annotations=lambda e: e.update(bbox=None, segmentation={"counts": "a", "size": [80, 100]})),
        "none of the 3 annotations .*no bbox",
    ),
    "other categories": (
        lambda m: each(m, annotations=put("category_id", lambda c: c + 100)),
        "none of the 3 annotations .*unknown category id 107",
    ),
    "other images": (
        lambda m: each(m, annotations=put("image_id", lambda c: c + 100)),
        "none of the 3 annotations .*no image has this image_id",
    ),
    "words as ids": (lambda m: each(m, categories=put("id", lambda c: f"c{c}")), "'c3'"),
    "halves": (
        lambda m: each(m, annotations=put("image_id", lambda c: c + 0.5)),
        r"annotations\[0\]: image_id is 4\.5",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_in_doubt_is_refused_and_nothing_is_written(what, convert):
    change, match = REFUSED[what]
    with pytest.raises(DataError, match=match):
        convert(change)
    assert not (convert.root / "out").exists()


WARNED = {
    "crowds": (lambda m: each(m, annotations=lambda e: e.update(iscrowd=1)), 0, "all 3 boxes are crowd"),
    "relative": (
        lambda m: each(
            m, annotations=put("bbox", lambda b: [b[0] / 100, b[1] / 80, b[2] / 100, b[3] / 80])
        ), 3, "no box has a value above 1"
    ),
    "nothing": (lambda m: m["annotations"].clear(), 0, "no annotations"),
}  # fmt: skip


@pytest.mark.parametrize("what", WARNED)
def test_what_cannot_train_is_a_warning(what, convert, capfd):
    change, boxes, match = WARNED[what]
    result = convert(change)
    assert result.boxes == boxes
    assert match in "".join(result.warnings)
    file = convert.root / "instances.json"
    assert main(["data", "from-coco", str(file), str(convert.root / "images"), str(convert.root / "again")]) == 0
    out = " ".join(capfd.readouterr().out.split())
    assert f"warning: {result.warnings[0]}" in out
    assert "Train with" not in out


def test_a_second_split_is_matched_by_name(convert):
    convert(lambda m: None)

    def fewer(made):
        made["categories"] = [{"id": 1, "name": "cat"}]
        each(made, annotations=lambda e: e.update(category_id=1))

    result = convert(fewer, "val", "val.json")
    assert result.names == ["dog", "cat"]
    assert {line[0] for line in (convert.root / "out/labels/val/a.txt").read_text().splitlines()} == {"1"}
    assert yaml.safe_load((convert.root / "out/data.yaml").read_text())["names"] == {0: "dog", 1: "cat"}

    def more(made):
        made["categories"].append({"id": 9, "name": "bird"})

    with pytest.raises(DataError, match=r"'bird'.*'dog', 'cat'"):
        convert(more, "test", "test.json")


def test_one_split_offers_to_divide_it(convert, tmp_path):
    assert any("--split 0.8/0.1/0.1" in note for note in convert(lambda m: None).notes)


@pytest.fixture
def forty(tmp_path):
    """Forty images, of which 0 to 4 are copies of one."""
    (tmp_path / "images").mkdir()
    made = content() | {"images": [], "annotations": []}
    for k in range(40):
        cv2.imwrite(str(tmp_path / "images" / f"{k}.png"), np.full((20, 20, 3), 0 if k < 5 else k, np.uint8))
        made["images"].append({"id": k, "file_name": f"{k}.png"})
        made["annotations"].append({"id": k + 1, "image_id": k, "category_id": 3, "bbox": [1, 1, 5, 5]})
    (tmp_path / "i.json").write_text(json.dumps(made))
    return tmp_path


def test_images_are_divided_and_copies_stay_together(forty, capfd):
    out = forty / "out"
    given = ["data", "from-coco", str(forty / "i.json"), str(forty / "images"), str(out), "--split", "0.7/0.2/0.1"]
    assert main(given) == 0
    assert capfd.readouterr().out.count("Train with") == 1
    found = {split: {f.name for f in (out / "images" / split).iterdir()} for split in ("train", "val", "test")}
    assert sum(map(len, found.values())) == len(set.union(*found.values())) == 40
    assert all(abs(len(found[split]) - 40 * part) <= 5 for split, part in (("train", 0.7), ("val", 0.2), ("test", 0.1)))
    copies = {f"{k}.png" for k in range(5)}
    assert sum(bool(names & copies) for names in found.values()) == 1
    data = yaml.safe_load((out / "data.yaml").read_text())
    assert {k: v for k, v in data.items() if k in found} == {split: f"images/{split}" for split in found}
    again = divide_coco(forty / "i.json", forty / "images", forty / "b", split="0.7/0.2/0.1", progress=False)
    assert [r.images for r in again] == [len(names) for names in found.values()]
    assert {f.name for f in (forty / "b/images/val").iterdir()} == found["val"]
    divide_coco(forty / "i.json", forty / "images", forty / "c", split="0.7/0.2/0.1", seed=1, progress=False)
    assert {f.name for f in (forty / "c/images/val").iterdir()} != found["val"]
    assert main(given) == 2
    assert "exists" in capfd.readouterr().err


@pytest.mark.parametrize("split", ["0.8", "0.8/0.3", "0.8/0.2/0.1/0.1", "0.8/-0.2/0.4", "0.8/x", "0.99/0.005/0.005"])
def test_what_is_no_division_is_refused(split, forty):
    with pytest.raises(DataError, match=split):
        divide_coco(forty / "i.json", forty / "images", forty / "out", split=split, progress=False)
    assert not (forty / "out").exists()


def test_a_truncated_jpeg_is_left_out_with_the_reason(convert):
    noise = np.random.default_rng(0).integers(0, 255, (80, 100, 3), np.uint8)
    whole = cv2.imencode(".jpg", noise)[1].tobytes()
    (convert.root / "images" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (convert.root / "images" / "more.jpg").write_bytes(whole + b"more")

    def add(made):
        made["images"] += [{"id": 5, "file_name": "cut.jpg"}, {"id": 6, "file_name": "more.jpg"}]

    result = convert(add)
    assert [(bad.image, "truncated" in bad.reason) for bad in result.bad] == [("cut.jpg", True)]
    assert sorted(f.name for f in (convert.root / "out/images/train").iterdir()) == ["a.png", "more.jpg"]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(1, 1), (1.0, 1), ("1", 1), ("01", "01"), ("a", "a"), (1.5, 1.5), ("1.0", "1.0"), (None, None), (True, True),
     ("nan", "nan"), ("\u0661", "\u0661"), (float("inf"), float("inf"))],
)  # fmt: skip
def test_ids(value, wanted):
    assert as_id(value) == wanted
    assert type(as_id(value)) is type(wanted)


@pytest.mark.parametrize("box", ["1,2", "a,b,c,d", {"x": 1, "y": 2}, {"x1": "a", "y1": 1, "x2": 2, "y2": 3}, 5, None])
def test_what_is_no_box_stays(box):
    assert not isinstance(made := as_box({"bbox": box}), list) or len(made) != 4
