"""COCO JSON to YOLO: self-made JSON for each kind of fault, real data where the shared folder has them."""

import csv
import io
import json
import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import rich.console
import yaml
from PIL import Image

from yolo_attn.data.coco_to_yolo import from_coco, summary
from yolo_attn.errors import DataError

pytestmark = pytest.mark.fast
SHARED = Path(__file__).parents[2] / "shared" / "data"


def picture(file, width=100, height=80):
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), np.full((height, width, 3), 90, np.uint8))


def box(number, image=1, category=7, bbox=(10, 20, 30, 40), **more):
    return {"id": number, "image_id": image, "category_id": category, "bbox": list(bbox), **more}


@pytest.fixture
def tree(tmp_path):
    """Two images (the second in a sub-folder), categories 7 and 3."""
    picture(tmp_path / "images" / "a.jpg")
    picture(tmp_path / "images" / "sub" / "b.png", 64, 64)

    class Tree:
        root = tmp_path
        images = tmp_path / "images"
        out = tmp_path / "out"
        content = {  # noqa: RUF012
            "images": [
                {"id": 1, "file_name": "a.jpg", "width": 100, "height": 80},
                {"id": 2, "file_name": "sub/b.png", "width": 64, "height": 64},
            ],
            "annotations": [box(1), box(2, 2, 3, (0, 0, 64, 64))],
            "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
        }

        def run(self, split="train", **lists):
            file = tmp_path / "instances.json"
            file.write_text(json.dumps(self.content | lists))
            return from_coco(file, self.images, self.out, split=split, progress=False)

        def everything(self):
            return {str(f.relative_to(tmp_path)) for f in tmp_path.rglob("*")}

        def labels(self, name="a"):
            return (self.out / "labels" / "train" / f"{name}.txt").read_text()

        def written(self):
            return json.loads((self.out / "annotations" / "instances_train.json").read_text())

        def data(self):
            return yaml.safe_load((self.out / "data.yaml").read_text())

    return Tree()


def test_what_is_written(tree):
    before = {f: f.read_bytes() for f in tree.images.rglob("*") if f.is_file()}
    result = tree.run()
    assert (result.images, result.boxes, result.empty, result.crowd, result.clipped) == (2, 2, 0, 0, 0)
    assert result.names == ["dog", "cat"]  # by category id: 3, 7
    assert result.bad == []
    assert result.bad_file is None
    assert {str(f.relative_to(tree.out)) for f in tree.out.rglob("*") if f.is_file()} == {
        "data.yaml",
        "annotations/instances_train.json",
        "images/train/a.jpg",
        "images/train/sub/b.png",
        "labels/train/a.txt",
        "labels/train/sub/b.txt",
    }
    assert tree.labels() == "1 0.25 0.5 0.3 0.5\n"
    assert tree.labels("sub/b") == "0 0.5 0.5 1 1\n"
    text = (tree.out / "data.yaml").read_text()
    assert "# No val split yet: val: names the images of train" in text
    assert yaml.safe_load(text) == {
        "train": "images/train",
        "val": "images/train",
        "annotations": {"train": "annotations/instances_train.json", "val": "annotations/instances_train.json"},
        "names": {0: "dog", 1: "cat"},
    }
    written = tree.written()
    assert [(c["id"], c["name"], c["source_id"]) for c in written["categories"]] == [(1, "dog", 3), (2, "cat", 7)]
    assert written["annotations"][0] == {
        "id": 1, "image_id": 1, "category_id": 2, "bbox": [10, 20, 30, 40], "area": 1200, "iscrowd": 0,
    }  # fmt: skip
    assert {f: f.read_bytes() for f in tree.images.rglob("*") if f.is_file()} == before
    assert [f for f in tree.out.iterdir() if f.name.startswith(".")] == []


NAN, INF = float("nan"), float("inf")
BAD = {
    "nan": (box(5, bbox=(NAN, 1, 5, 5)), "finite"),
    "infinite": (box(5, bbox=(1, 1, INF, 5)), "finite"),
    "no width": (box(5, bbox=(1, 1, 0, 5)), "width 0 .*height 5 .* 0"),
    "negative height": (box(5, bbox=(1, 1, 5, -2)), "width 5 .*height -2 .* 0"),
    "right": (box(5, bbox=(90, 10, 12.5, 5)), r"100x80 by 2\.5 px"),
    "left": (box(5, bbox=(-1.5, 10, 12, 5)), r"100x80 by 1\.5 px"),
    "top": (box(5, bbox=(10, -4, 12, 5)), "100x80 by 4 px"),
    "bottom": (box(5, bbox=(10, 70, 12, 12)), "100x80 by 2 px"),
    "outside": (box(5, bbox=(100, 10, 0.5, 5)), "completely .*100x80"),
    "three numbers": (box(5, bbox=(1, 2, 3)), "four"),
    "text": (box(5, bbox=(1, 2, 3, "four")), "four numbers"),
    "no bbox": ({"id": 5, "image_id": 1, "category_id": 7}, "no bbox"),
    "category": (box(5, category=99), "99"),
    "no category": (box(5, category=None), "None"),
    "image": (box(5, image=77), "image_id"),
    "duplicate": (box(5), "annotation 1"),
}


@pytest.mark.parametrize(("entry", "reason"), BAD.values(), ids=BAD)
def test_a_bad_box_is_left_out_and_listed(tree, entry, reason):
    result = tree.run(annotations=[box(1), entry, box(6, bbox=(1, 1, 5, 5))])
    assert [b.annotation for b in result.bad] == [5]
    assert result.boxes == 2
    with result.bad_file.open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert row["annotation"] == "5"
    assert row["image"] == ("77" if entry["image_id"] == 77 else "a.jpg")
    assert re.search(reason, row["reason"])
    assert len(tree.labels().splitlines()) == 2
    assert 5 not in [a["id"] for a in tree.written()["annotations"]]


def test_a_box_that_sticks_out_by_a_pixel_is_clipped(tree):
    result = tree.run(annotations=[box(1, bbox=(-1, -0.5, 11, 10.5)), box(2, bbox=(90, 70, 11, 11)), box(3)])
    assert result.clipped == 2
    assert result.bad == []
    written = tree.written()["annotations"]
    assert [a["bbox"] for a in written[:2]] == [[0, 0, 10, 10], [90, 70, 10, 10]]
    rows = np.loadtxt(tree.out / "labels/train/a.txt")
    np.testing.assert_allclose(rows[:2, 1:], [[0.05, 0.0625, 0.1, 0.125], [0.95, 0.9375, 0.1, 0.125]])


def test_labels_keep_the_boxes_to_a_millionth(tree):
    rng = np.random.default_rng(0)
    boxes = np.column_stack([rng.uniform(0, 40, (50, 2)), rng.uniform(0.01, 39, (50, 2))])
    tree.run(annotations=[box(n + 1, bbox=b) for n, b in enumerate(boxes.tolist())])
    _, x, y, w, h = np.loadtxt(tree.out / "labels/train/a.txt").T
    back = np.column_stack([(x - w / 2) * 100, (y - h / 2) * 80, w * 100, h * 80])
    np.testing.assert_allclose(back[:, 2:], boxes[:, 2:], rtol=1e-6)
    np.testing.assert_allclose(back[:, :2], boxes[:, :2], atol=1e-6)


def test_crowd_boxes_stay_in_the_json_only(tree):
    result = tree.run(
        annotations=[box(1), box(2, bbox=(0, 0, 90, 70), iscrowd=1), box(3, 2, iscrowd=1, bbox=(0, 0, 9, 9))]
    )
    assert (result.boxes, result.crowd, result.empty) == (1, 2, 1)
    assert len(tree.labels().splitlines()) == 1
    assert tree.labels("sub/b") == ""
    written = tree.written()["annotations"]
    assert [a["iscrowd"] for a in written] == [0, 1, 1]


@pytest.mark.parametrize(
    ("numbers", "kept"),
    [([1, 1], [1, 2]), ([0, 1], [1, 2]), ([None, 4], [1, 2]), (["a", "b"], [1, 2]), ([9, 4], [9, 4])],
)
def test_annotation_ids_the_metrics_cannot_use_are_numbered_anew(tree, numbers, kept):
    tree.run(annotations=[box(n, bbox=(5, 5, 5 + i, 5)) for i, n in enumerate(numbers)])
    written = tree.written()["annotations"]
    assert [a["id"] for a in written] == kept


def entry(number, name, width=100, height=80):
    return {"id": number, "file_name": name, "width": width, "height": height}


def test_bad_images_are_left_out_and_listed_with_their_boxes(tree):
    picture(tree.images / "a.png")
    picture(tree.images / "tiny.png", 9, 30)
    picture(tree.root / "outside.png")
    (tree.images / "text.jpg").write_text("no image")
    (tree.images / "film.gif").write_bytes(b"GIF89a")
    turned = Image.new("RGB", (50, 30))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tree.images / "turned.jpg", exif=exif)
    turned.save(tree.images / "turned_right.jpg", exif=exif)
    faults = [
        (entry(1, "b.jpg"), "id 1 "),
        (entry(3, "a.jpg"), r"a\.jpg"),
        (entry(4, "a.png"), r"a\.jpg"),
        (entry(5, "gone.jpg"), r"gone\.jpg .*2 boxes"),
        (entry(6, "text.jpg"), "cannot be read"),
        (entry(7, "film.gif"), r"\.gif"),
        (entry(8, "../outside.png"), "outside"),
        (entry(9, str(tree.root / "outside.png")), "outside"),
        (entry(10, "sub/b.png", 63, 64), "64x64.* 63x64"),
        (entry(11, "tiny.png", 9, 30), "9x30.* 10x10"),
        (entry(12, "turned.jpg", 50, 30), "30x50 .*EXIF.* 50x30"),
    ]
    good = [entry(1, "a.jpg"), entry(13, "turned_right.jpg", 30, 50)]
    result = tree.run(
        images=good + [f for f, _ in faults], annotations=[box(1), box(2, 5), box(3, 5, bbox=(1, 1, 2, 2))]
    )
    assert (result.images, result.boxes, result.empty) == (2, 1, 1)
    assert len(result.bad) == len(faults)
    for bad, (_, reason) in zip(result.bad, faults, strict=True):
        assert bad.annotation is None
        assert re.search(reason, bad.reason)


def test_images_without_a_size_and_windows_paths_are_understood(tree):
    tree.run(images=[{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "sub\\b.png"}])
    assert tree.labels("sub/b") == "0 0.5 0.5 1 1\n"


def test_a_sub_folder_named_images_does_not_lead_the_labels_astray(tree):
    from ultralytics.data.utils import img2label_paths

    picture(tree.images / "images" / "c.png")
    tree.run(images=[entry(1, "images/c.png")], annotations=[box(1)])
    (image,) = (tree.out / "images").rglob("*.png")
    assert Path(img2label_paths([str(image)])[0]).read_text() == "1 0.25 0.5 0.3 0.5\n"


def jsons(*names, **more):
    """The COCO JSON of each split: its own, or that of another."""
    return {name: f"annotations/instances_{more.get(name, name)}.json" for name in (*names, *more)}


def test_splits_are_added_one_by_one(tree):
    tree.run("test")
    tree.run("train")
    assert "val: names the images of train" in (tree.out / "data.yaml").read_text()
    data = {"train": "images/train", "val": "images/train", "test": "images/test", "names": {0: "dog", 1: "cat"}}
    assert tree.data() == data | {"annotations": jsons("train", "test", val="train")}
    tree.run("val")
    assert "split yet" not in (tree.out / "data.yaml").read_text()
    assert tree.data() == data | {"val": "images/val", "annotations": jsons("train", "val", "test")}


def test_what_the_user_changed_stays(tree):
    tree.run("val")
    assert (tree.data()["train"], tree.data()["annotations"]) == ("images/val", jsons("val", train="val"))
    file = tree.out / "data.yaml"
    file.write_text(file.read_text().replace("val: annotations/instances_val.json", "val: mine.json") + "channels: 3\n")
    tree.run("train")
    assert tree.data()["annotations"] == {**jsons("train"), "val": "mine.json"}
    assert tree.data()["channels"] == 3
    (tree.out / "annotations/instances_train.json").unlink()
    file.write_text("names: {0: dog, 1: cat}\n")
    tree.run("test")
    assert tree.data()["annotations"] == jsons("val", "test")  # those that exist


def test_refusals_leave_everything_as_it_was(tree):
    tree.run("train")
    before = tree.everything()
    with pytest.raises(DataError, match="images/train"):
        tree.run("train")
    with pytest.raises(DataError, match=r"'bird'.*'dog', 'cat'"):
        tree.run("val", categories=[{"id": 7, "name": "bird"}, {"id": 3, "name": "dog"}])
    with pytest.raises(DataError, match=r"'valid' .*train, val, test"):
        tree.run("valid")
    assert tree.everything() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"instances\.json .*column 2"),
        ("[1]", "images, annotations, categories"),
        ('{"images": [], "annotations": {}}', "lists annotations, categories"),
        ('{"images": [], "annotations": [], "categories": []}', "images .*empty"),
        ({"categories": []}, "categories .*empty"),
        ({"categories": [{"id": 1}]}, r"categories\[0\]=\{'id': 1\}"),
        ({"categories": [{"id": 1, "name": "a"}] * 2}, "id 1"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}, r"'a' \(id 2\)"),
        ({"categories": [{"id": "x1", "name": "a"}]}, "'a' .*'x1'"),
        ({"images": [{"id": 1}]}, r"images\[0\] .*file_name"),
        ({"annotations": [{"id": 1}]}, r"annotations\[0\]: image_id is missing"),
        ({"annotations": [{"id": 1, "image_id": 1.5}]}, r"annotations\[0\]: image_id is 1\.5"),
        ({"annotations": [7]}, r"annotations\[0\] is 7"),
        ({"images": [entry(1, "x.jpg"), entry(2, "y.jpg")]}, r"2 images .*x\.jpg"),
    ],
)
def test_what_is_no_coco_json_is_refused_in_one_line(tree, content, message):
    file = tree.root / "instances.json"
    file.write_text(content if isinstance(content, str) else json.dumps(tree.content | content))
    with pytest.raises(DataError, match=message) as caught:
        from_coco(file, tree.images, tree.out, progress=False)
    assert "\n" not in str(caught.value)
    assert not tree.out.exists()


def test_missing_files_and_folders_are_named(tree):
    with pytest.raises(DataError, match=r"nothing\.json"):
        from_coco(tree.root / "nothing.json", tree.images, tree.out)
    tree.images = tree.root / "nowhere"
    with pytest.raises(DataError, match=r"nowhere .*instances\.json"):
        tree.run()
    assert not tree.out.exists()
    tree.out.mkdir()
    (tree.out / "data.yaml").write_text("train: x\n")
    with pytest.raises(DataError, match=r"data\.yaml .*names:"):
        tree.run()


def test_hard_link_else_symlink_else_copy(tree, monkeypatch):
    def refuse(*_):
        raise OSError("not here")

    assert tree.run("train").links == {"hard link": 2}
    assert (tree.images / "a.jpg").samefile(tree.out / "images/train/a.jpg")
    monkeypatch.setattr(os, "link", refuse)
    assert tree.run("val").links == {"symlink": 2}
    assert (tree.out / "images/val/a.jpg").resolve() == (tree.images / "a.jpg").resolve()
    monkeypatch.setattr(os, "symlink", refuse)
    assert tree.run("test").links == {"copy": 2}
    assert (tree.out / "images/test/a.jpg").read_bytes() == (tree.images / "a.jpg").read_bytes()


def test_a_jpeg_that_ultralytics_would_repair_in_place_is_copied(tree):
    with (tree.images / "a.jpg").open("ab") as file:
        file.write(b"\0\0")
    assert tree.run().links == {"copy": 1, "hard link": 1}


def test_the_summary_shows_the_counts_and_the_first_twenty(tree):
    result = tree.run(annotations=[box(1), *(box(100 + n, bbox=(0, 0, 0, n)) for n in range(30))])
    stream = io.StringIO()
    rich.console.Console(file=stream, width=160).print(summary(result))
    text = stream.getvalue()
    assert "the first 20 of 30" in text
    text = text.replace(str(tree.root), "")  # pytest counts its folders
    assert "119" in text
    assert "120" not in text
    assert "box: dog" in text
    assert len(result.bad_file.read_text().splitlines()) == 31


def rows(folder):
    """Label file -> its rows, sorted."""
    return {
        f.relative_to(folder): np.array(sorted([float(v) for v in line.split()] for line in f.read_text().splitlines()))
        for f in folder.rglob("*.txt")
    }


REAL = [
    ("coco_val128", "instances_val.json", "val", 1),
    ("coco_val128", "instances_val_coco91.json", "val", 1),
    ("bccd", "instances_train.json", "train", 0),
    ("bccd", "instances_val.json", "val", 0),
]


@pytest.mark.parametrize(("name", "file", "split", "crowd"), REAL)
def test_real_data_gives_the_labels_published_with_it(name, file, split, crowd, tmp_path):
    source = SHARED / name
    if not source.is_dir():
        pytest.skip(f"shared/data/{name} is not beside this repository")
    images = source / "images" / split
    result = from_coco(source / "annotations" / file, images, tmp_path / "out", split=split, progress=False)
    assert (result.crowd, result.bad, result.clipped) == (crowd, [], 0)
    ours, theirs = rows(tmp_path / "out" / "labels" / split), rows(source / "labels" / split)
    assert ours.keys() == theirs.keys()
    assert sum(map(len, ours.values())) == result.boxes > 800
    for key, expected in theirs.items():
        assert len(ours[key]) == len(expected)
        distance = np.abs(ours[key][:, None] - expected[None]).max(2)  # the published ones have six digits
        assert distance.min(0).max() <= 1.1e-6
        assert distance.min(1).max() <= 1.1e-6
