"""The embedded digits and the data YAMLs: nothing here trains or needs the network."""

import json
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml


from yolo_attn.data import digits_scene
from yolo_attn.data.digits import MANIFEST, SPLITS, DigitsParameters, generate, generate_from_yaml, split_scans
from yolo_attn.errors import DataError

DATASETS = Path(__file__).parents[1] / "datasets"
FETCHED = ("coco.yaml", "coco128.yaml", "coco8.yaml", "VOC.yaml", "VisDrone.yaml")
EMBEDDED = {"digits.yaml": 128, "digits-hard.yaml": 320}
SMALL = {"size": 96, "images": {"train": 12, "val": 5, "test": 4}, "object_size": [12, 40]}


def load(name):
    return yaml.safe_load((DATASETS / name).read_text(encoding="utf-8"))


def files(folder):
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def small(out, **values):
    return generate(out, DigitsParameters.from_mapping(SMALL | values), progress=False)


def annotations(folder, split):
    return json.loads((folder / "annotations" / f"instances_{split}.json").read_text())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return small(tmp_path_factory.mktemp("data") / "digits")


def test_same_seed_same_bytes_other_seed_other_bytes(made, tmp_path):
    assert files(small(tmp_path / "again")) == files(made)
    other = files(small(tmp_path / "other", seed=1))
    images = [name for name in other if name.endswith(".jpg")]
    assert len(images) == 21
    assert all(other[name] != content for name, content in files(made).items() if name in images)


def test_more_images_leave_the_earlier_ones_of_train_as_they_are(made, tmp_path):
    more = small(tmp_path / "more", images={"train": 15, "val": 5, "test": 4})
    assert {n: (more / n).read_bytes() for n in files(made) if "train/" in n} == {
        n: c for n, c in files(made).items() if "train/" in n
    }


def test_no_digit_image_is_shared_between_splits(made):
    scans = json.loads((made / MANIFEST).read_text())["scans"]
    pictures = load_digits().data
    assert sorted(scan for split in SPLITS for scan in scans[split]) == list(range(1797))  # a partition: no index twice
    assert len(np.unique(pictures, axis=0)) == 1797  # and no two scans are the same picture under two indices
    for split in SPLITS:
        used = {a["scan"] for a in annotations(made, split)["annotations"]}
        assert used
        assert used <= set(scans[split])


@pytest.mark.parametrize("seed", [0, 7])
def test_every_split_has_scans_of_every_digit_by_its_share(seed):
    target = load_digits().target
    for split, share in zip(SPLITS, (0.7, 0.15, 0.15), strict=True):
        counts = np.bincount(target[split_scans(target, seed)[split]], minlength=10)
        assert np.abs(counts - share * np.bincount(target)).max() <= 1


def test_labels_say_what_the_json_says_and_lie_in_the_image(made):
    target = load_digits().target
    seen = set()
    for split in SPLITS:
        content = annotations(made, split)
        assert len(content["images"]) == SMALL["images"][split]
        assert [c["id"] for c in content["categories"]] == list(range(1, 11))
        for image in content["images"]:
            assert image["id"] not in seen
            seen.add(image["id"])
            name = Path(image["file_name"])
            assert int(name.stem) == image["id"]
            assert cv2.imread(str(made / "images" / split / name)).shape == (96, 96, 3)
            rows = np.loadtxt(made / "labels" / split / name.with_suffix(".txt"), ndmin=2)
            boxes = [a for a in content["annotations"] if a["image_id"] == image["id"]]
            assert 1 <= len(rows) == len(boxes) <= 4
            for (label, x, y, w, h), box in zip(rows, boxes, strict=True):
                assert label == box["category_id"] - 1 == target[box["scan"]]
                np.testing.assert_allclose([(x - w / 2) * 96, (y - h / 2) * 96, w * 96, h * 96], box["bbox"], atol=1e-5)
                left, top, width, height = box["bbox"]
                assert min(left, top) >= 0
                assert max(left + width, top + height) <= 96
                assert 12 <= max(width, height) <= 40
                assert box["area"] == width * height


@pytest.mark.parametrize("name", EMBEDDED)
def test_scenes_of_the_shipped_yamls_keep_their_ranges_and_the_overlap_rules(name):
    values = DigitsParameters.from_mapping(load(name)["digits"])
    digits = load_digits()
    scans = (digits.images / 16).astype(np.float32)
    lengths, counts = [], []
    for index in range(40):
        scene = digits_scene.draw_scene(
            np.random.default_rng(index),
            scans,
            digits.target,
            size=values.size,
            objects=values.objects,
            object_size=values.object_size,
            distractors=values.distractors,
        )
        counts.append(len(scene.boxes))
        lengths += scene.boxes[:, 2:].max(1).tolist()
        for row, box in enumerate(scene.boxes.tolist()):
            assert digits_scene._iou(box, scene.boxes[:row].tolist()) <= digits_scene.MAX_IOU
    low, high = values.object_size
    assert low <= min(lengths) < 1.5 * low  # the whole range is used
    assert high / 1.5 < max(lengths) <= high
    assert (min(counts), max(counts)) == values.objects


@pytest.mark.parametrize("length", [8, 9, 31, 72, 200])
def test_a_glyph_fills_its_box_tightly(length):
    scans = (load_digits().images / 16).astype(np.float32)
    for index in range(60):
        glyph = digits_scene.draw_glyph(np.random.default_rng(index), scans[index], length)
        width, height = glyph.size
        assert max(width, height) == length
        m = glyph.margin
        ys, xs = np.nonzero(glyph.alpha >= 0.4)
        slack = 1 + length // 30
        edges = (xs.min() - m, ys.min() - m, xs.max() + 1 - m - width, ys.max() + 1 - m - height)
        assert np.abs(edges).max() <= slack, (index, edges)


def test_no_digit_is_mostly_hidden():
    scans = (load_digits().images / 16).astype(np.float32)
    for index in range(30):
        rng = np.random.default_rng(index)
        placed = digits_scene._place(rng, 96, scans[rng.integers(1797, size=8)], [40, 36, 30, 24, 20, 18, 16, 12])
        if placed is None:
            continue
        owner = np.full((96, 96), -1)
        ink = []
        for number, (glyph, (x, y, w, h)) in enumerate(zip(*placed, strict=True)):
            mask = glyph.alpha[glyph.margin : glyph.margin + h, glyph.margin : glyph.margin + w] >= 0.5
            owner[y : y + h, x : x + w][mask] = number
            ink.append(mask.sum())
        for number, whole in enumerate(ink):
            assert (owner == number).sum() >= digits_scene.MIN_VISIBLE * whole


def test_the_default_size_is_generated_in_time(tmp_path):
    """An eighth of digits.yaml; the whole of it has a minute, and takes about 5 s on two slow cores."""
    start = time.perf_counter()
    generate(tmp_path / "d", DigitsParameters(images={"train": 100, "val": 25, "test": 25}), progress=False)
    assert time.perf_counter() - start < 60 / 8


def test_an_interrupted_generation_leaves_nothing_and_the_next_one_works(tmp_path, monkeypatch, made):
    calls = []

    def broken(*args, **options):
        calls.append(1)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return draw(*args, **options)

    draw = digits_scene.draw_scene
    monkeypatch.setattr(digits_scene, "draw_scene", broken)
    with pytest.raises(KeyboardInterrupt):
        small(tmp_path / "digits")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert files(small(tmp_path / "digits")) == files(made)
    assert [f.name for f in tmp_path.iterdir()] == ["digits"]


def test_a_second_process_that_was_faster_is_taken_over(tmp_path, monkeypatch, made):
    draw = digits_scene.draw_scene

    def slow(*args, **options):
        monkeypatch.undo()
        small(tmp_path / "digits")  # the other process, from start to end
        return draw(*args, **options)

    monkeypatch.setattr(digits_scene, "draw_scene", slow)
    assert files(small(tmp_path / "digits")) == files(made)
    assert [f.name for f in tmp_path.iterdir()] == ["digits"]


def test_what_is_there_is_kept_and_what_differs_is_refused(tmp_path):
    out = small(tmp_path / "digits")
    before = {f: f.stat().st_mtime_ns for f in out.rglob("*")}
    small(out)
    assert {f: f.stat().st_mtime_ns for f in out.rglob("*")} == before
    with pytest.raises(DataError, match=r"other values of seed, objects; delete it"):
        small(out, seed=3, objects=[2, 3])
    next((out / "images" / "val").iterdir()).unlink()
    with pytest.raises(DataError, match=r"images/val holds 4 of 5 files"):
        small(out)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "precious.txt").write_text("mine")
    with pytest.raises(DataError, match=r"foreign exists and is no digits data set"):
        small(foreign)
    assert (foreign / "precious.txt").read_text() == "mine"
    empty = tmp_path / "empty"
    empty.mkdir()
    assert (small(empty) / MANIFEST).is_file()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"objcts": [1, 4]}, r"no key 'objcts'\. Did you mean 'objects'\? Keys: seed, size"),
        ({3: 4}, r"no key 3\. Keys: seed"),
        ({"seed": -1}, r"seed=-1 must be a whole number from 0"),
        ({"seed": True}, r"seed=True must be a whole number"),
        ({"size": 128.0}, r"size=128\.0 must be a whole number from 32 to 4096"),
        ({"objects": 4}, r"objects=4 must be least and most, whole numbers from 0 up"),
        ({"objects": [0, 0]}, r"objects=\[0, 0\] must be least and most"),
        ({"objects": [4, 1]}, r"objects=\[4, 1\] must be least and most"),
        (
            {"object_size": [4, 20]},
            r"object_size=\[4, 20\] must be least and most, whole numbers from 8 up, such as \[8, 32\]",
        ),
        ({"object_size": [16, 200]}, r"object_size=\[16, 200\] does not fit pictures of size=128; .* at most 128"),
        ({"distractors": [1, 2.5]}, r"distractors=\[1, 2\.5\] must be least and most"),
        ({"images": 800}, r"images=800 must give train, val and test"),
        ({"images": {"train": 1, "val": 1}}, r"must give train, val and test"),
        ({"images": {"train": 1, "val": 0, "test": 1}}, r"images: val=0 must be a whole number from 1"),
        ([1], r"must be a mapping such as 'digits: \{seed: 0, size: 128\}', got \[1\]"),
    ],
)
def test_impossible_parameters_are_named(values, message):
    with pytest.raises(DataError, match=message):
        DigitsParameters.from_mapping(values)


def test_no_distractors_at_all_is_possible(tmp_path):
    small(tmp_path / "d", distractors=[0, 0])


def test_digits_that_cannot_fit_are_an_error_and_leave_nothing(tmp_path):
    with pytest.raises(DataError, match=r"objects=\[30, 30\] of object_size=\[60, 60\] do not fit into size=96"):
        small(tmp_path / "d", objects=[30, 30], object_size=[60, 60])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"digits": {}}, r"no 'path:'"),
        ({"path": "x"}, r"no 'digits:'"),
        ({"path": "x", "digits": {"seed": 0}, "names": ["a", "b"]}, r"ten digits 0 to 9 in order, got 2 names"),
    ],
)
def test_a_yaml_without_what_is_needed_is_refused(data, message):
    with pytest.raises(DataError, match=message):
        generate_from_yaml(data)


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_shipped_yamls_say_what_the_issue_asks(name):
    data = load(name)
    values = DigitsParameters.from_mapping(data["digits"])
    assert data["path"] == name.removesuffix(".yaml")
    assert values.size == EMBEDDED[name]
    assert list(data["names"]) == list(range(10))
    if name == "digits.yaml":
        assert values == DigitsParameters()


def test_ultralytics_generates_on_first_use(tmp_path, monkeypatch):
    ultralytics = pytest.importorskip("ultralytics.data.utils")
    monkeypatch.setattr(ultralytics, "check_font", lambda *_: None)  # would ask the network
    data = load("digits.yaml") | {"path": str(tmp_path / "digits")}
    data["digits"] |= {"images": {"train": 6, "val": 3, "test": 3}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(data))
    for _ in range(2):
        checked = ultralytics.check_det_dataset(str(tmp_path / "mine.yaml"))
        assert len(list(Path(checked["train"]).iterdir())) == 6
    for image in Path(checked["train"]).iterdir():
        label = ultralytics.img2label_paths([str(image)])[0]
        found = ultralytics.verify_image_label((str(image), label, "", False, 10, 0, 0, False))
        assert found[0] == str(image)
        assert found[2] == (128, 128)
        assert (found[6], found[8], found[9]) == (1, 0, "")  # a label found, not corrupt, nothing to say


@pytest.fixture
def fake_tree(tmp_path, monkeypatch):
    """A data YAML of ours whose data seem to be there, as a copy with an absolute path."""
    ultralytics = pytest.importorskip("ultralytics.data.utils")
    monkeypatch.setattr(ultralytics, "check_font", lambda *_: None)

    def make(name):
        data = load(name) | {"path": str(tmp_path / "tree")}
        for split in SPLITS:
            for place in np.atleast_1d(data.get(split) or []):
                target = tmp_path / "tree" / str(place)
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.suffix:
                    target.mkdir(exist_ok=True)
                else:
                    target.write_text("")
        (tmp_path / name).write_text(yaml.safe_dump(data), encoding="utf-8")
        return ultralytics.check_det_dataset(str(tmp_path / name), autodownload=False)

    return make


@pytest.mark.parametrize("name", FETCHED)
def test_a_fetched_data_set_is_found_where_it_is(name, fake_tree, tmp_path):
    checked = fake_tree(name)
    assert checked["path"] == tmp_path / "tree"
    assert checked["nc"] == len(load(name)["names"])


@pytest.mark.parametrize("name", FETCHED)
def test_names_splits_and_folder_are_those_of_ultralytics(name):
    utils = pytest.importorskip("ultralytics.utils")
    own = yaml.safe_load(Path(utils.ROOT, "cfg/datasets", name).read_text(encoding="utf-8"))
    ours = load(name)
    assert ours["names"] == own["names"]
    for key in ("path", *SPLITS):
        assert ours.get(key) == own.get(key)
    if not ours["download"].startswith("from"):
        assert ours["download"] == own["download"]


@pytest.mark.parametrize("name", ["coco.yaml", "VOC.yaml", "VisDrone.yaml"])
def test_fetching_asks_for_the_addresses_of_ultralytics(name, tmp_path, monkeypatch):
    downloads = pytest.importorskip("ultralytics.utils.downloads")

    class FetchedError(Exception):
        pass

    def fetch(urls, dir, **_):
        raise FetchedError(f"{dir}: {urls}")

    monkeypatch.setattr(downloads, "download", fetch)
    word = {"coco.yaml": "coco2017labels", "VOC.yaml": "VOCtrainval_06-Nov-2007", "VisDrone.yaml": "VisDrone2019-DET"}
    with pytest.raises(FetchedError, match=f"{tmp_path}.*https://.*{word[name]}"):
        exec(load(name)["download"], {"yaml": load(name) | {"path": tmp_path / "data"}})


def test_visdrone_folders_of_older_ultralytics_are_moved(tmp_path, monkeypatch):
    utils = pytest.importorskip("ultralytics.utils")
    old = tmp_path / "ultralytics"
    (old / "cfg/datasets").mkdir(parents=True)
    (old / "cfg/datasets/VisDrone.yaml").write_text(
        yaml.safe_dump(
            {
                "download": "for s in 'train', 'val', 'test-dev':\n  for k in 'images', 'labels':\n"
                "    (yaml['path'] / f'VisDrone2019-DET-{s}' / k).mkdir(parents=True)\n"
            }
        )
    )
    monkeypatch.setattr(utils, "ROOT", old)
    data = load("VisDrone.yaml") | {"path": tmp_path / "data"}
    exec(data["download"], {"yaml": data})
    assert all((tmp_path / "data" / data[split]).is_dir() for split in SPLITS)
    assert (tmp_path / "data/labels/val").is_dir()


def test_the_data_package_imports_neither_torch_nor_ultralytics():
    code = (
        "import sys, yolo_attn.data.digits, yolo_attn.data.digits_scene, yolo_attn.data.coco_conversion;"
        "sys.exit(bool({'torch', 'ultralytics'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, check=False, cwd=DATASETS.parent).returncode == 0


def test_the_readme_says_what_the_yamls_and_the_code_say():
    text = " ".join((DATASETS / "README.md").read_text(encoding="utf-8").split())
    scans = split_scans(load_digits().target, load("digits.yaml")["digits"]["seed"])
    assert "{}, {} and {} scans".format(*(len(scans[split]) for split in SPLITS)) in text
    assert f"at least {digits_scene.MIN_VISIBLE:.0%} of its ink".replace("%", " %") in text
    assert f"IoU above {digits_scene.MAX_IOU}" in text
    assert f"at least {digits_scene.MIN_CONTRAST:g} grey levels" in text
    shown = [load(name)["digits"] for name in EMBEDDED]
    for words, cell in (
        ("images, train/val/test", lambda d: "/".join(str(d["images"][split]) for split in SPLITS)),
        ("side of an image", lambda d: f"{d['size']} px"),
        ("digits per image", lambda d: "{} to {}".format(*d["objects"])),
        ("longer side of a box", lambda d: "{} to {} px".format(*d["object_size"])),
        ("distractors per image", lambda d: "{} to {}".format(*d["distractors"])),
    ):
        assert f"| {words} | {cell(shown[0])} | {cell(shown[1])} |" in text
    assert all(f"`{file.name}`" in text for file in DATASETS.glob("*.yaml"))


def test_a_data_yaml_that_has_changed_is_noticed(tmp_path):
    """Through Ultralytics, which only looks whether there are images."""
    from ultralytics.data import utils

    import yolo_attn

    yolo_attn.register()
    content = yaml.safe_load((Path(__file__).parents[1] / "datasets" / "digits.yaml").read_text())
    content |= {"path": str(tmp_path / "few")}
    content["digits"] = {"size": 64, "images": {"train": 2, "val": 2, "test": 2}, "object_size": [16, 32]}
    file = tmp_path / "few.yaml"
    file.write_text(yaml.safe_dump(content))
    assert utils.check_det_dataset(str(file))["nc"] == 10
    content["digits"]["size"] = 96
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(DataError, match=r"few holds other values of size|other values of size"):
        utils.check_det_dataset(str(file))
