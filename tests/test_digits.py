"""The embedded digits and the data YAMLs: nothing here trains or needs the network."""

import contextlib
import hashlib
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import ultralytics
import yaml
from comparison import make
from support import ROOT, logged, read_json, run
from ultralytics import utils
from ultralytics.data import utils as data_utils

import yolo_attn
from yolo_attn.comparison import worker
from yolo_attn.data import SPLITS, digits_image
from yolo_attn.data.digits import (
    MANIFEST,
    SCANS,
    DigitsParameters,
    generate,
    generate_from_yaml,
    load_scans,
    split_scans,
)
from yolo_attn.errors import DataError
from yolo_attn.integration.strict_mode import strict

pytestmark = pytest.mark.fast
DATASETS = ROOT / "datasets"
FETCHED = ("coco.yaml", "coco128.yaml", "coco8.yaml", "VOC.yaml", "VisDrone.yaml")
EMBEDDED = {"digits.yaml": 128, "digits-hard.yaml": 320}
SMALL = {"size": 96, "images": {"train": 12, "val": 5, "test": 4}, "object_size": [12, 40]}
# Of the data set SMALL as it was generated from scikit-learn's load_digits(), with these versions.
VERSIONS = {"numpy": "2.4.6", "opencv": "5.0.0"}
DIGEST = "2ab534eec60e08094e9cd1e70a8592435dc2a74cd82e4bb500e8724e70ba07e5"
SCANS_DIGEST = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"
IMAGES, DIGITS = load_scans()


def load(name):
    return yaml.safe_load((DATASETS / name).read_text(encoding="utf-8"))


def files(folder):
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def small(out, **values):
    return generate(out, DigitsParameters.from_mapping(SMALL | values), progress=False)


def annotations(folder, split):
    return read_json(folder / "annotations" / f"instances_{split}.json")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return small(tmp_path_factory.mktemp("data") / "digits")


def test_scans_and_data_set_are_those_of_scikit_learn(made):
    with np.load(SCANS) as arrays:
        content = arrays["images"].tobytes() + arrays["labels"].tobytes()
    assert hashlib.sha256(content).hexdigest() == SCANS_DIGEST
    assert SCANS_DIGEST in SCANS.with_suffix(".txt").read_text()
    if read_json(made / MANIFEST)["versions"] != VERSIONS:
        pytest.skip(f"the digest of the images is of {VERSIONS}")
    digest = hashlib.sha256()
    for name, content in files(made).items():
        digest.update(name.encode() + content)
    assert digest.hexdigest() == DIGEST


def test_same_parameters_same_bytes_other_seed_other_bytes(made, tmp_path):
    assert files(small(tmp_path / "again")) == files(made)
    other = files(small(tmp_path / "other", seed=1))
    images = [name for name in other if name.endswith(".jpg")]
    assert len(images) == 21
    assert all(other[name] != content for name, content in files(made).items() if name in images)
    more = files(small(tmp_path / "more", images={"train": 15, "val": 5, "test": 4}))
    assert all(more[name] == content for name, content in files(made).items() if "train/" in name)


def test_splits_share_no_scan_and_have_every_digit_by_its_share(made):
    scans = read_json(made / MANIFEST)["scans"]
    assert sorted(scan for split in SPLITS for scan in scans[split]) == list(range(1797))  # a partition: no index twice
    assert len(np.unique(IMAGES, axis=0)) == 1797  # and no scan has two indices
    for split, share in zip(SPLITS, (0.7, 0.15, 0.15), strict=True):
        used = {a["scan"] for a in annotations(made, split)["annotations"]}
        assert used
        assert used <= set(scans[split])
        for seed in (0, 7):
            counts = np.bincount(DIGITS[split_scans(DIGITS, seed)[split]], minlength=10)
            assert np.abs(counts - share * np.bincount(DIGITS)).max() <= 1


def test_labels_agree_with_the_json_and_lie_in_the_image(made):
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
                assert label == box["category_id"] - 1 == DIGITS[box["scan"]]
                np.testing.assert_allclose([(x - w / 2) * 96, (y - h / 2) * 96, w * 96, h * 96], box["bbox"], atol=1e-5)
                left, top, width, height = box["bbox"]
                assert min(left, top) >= 0
                assert max(left + width, top + height) <= 96
                assert 12 <= max(width, height) <= 40
                assert box["area"] == width * height


@pytest.mark.parametrize("name", EMBEDDED)
def test_scenes_of_the_shipped_yamls_keep_their_ranges_and_the_overlap_rules(name):
    data = load(name)
    values = DigitsParameters.from_mapping(data["digits"])
    assert (data["path"], values.size) == (name.removesuffix(".yaml"), EMBEDDED[name])
    assert list(data["names"]) == list(range(10))
    assert (values == DigitsParameters()) == (name == "digits.yaml")
    lengths, counts = [], []
    for index in range(40):
        scene = digits_image.draw_scene(np.random.default_rng(index), IMAGES, DIGITS, values)
        counts.append(len(scene.boxes))
        lengths += scene.boxes[:, 2:].max(1).tolist()
        for row, box in enumerate(scene.boxes.tolist()):
            assert digits_image._iou(box, scene.boxes[:row].tolist()) <= digits_image.MAX_IOU
    low, high = values.object_size
    assert low <= min(lengths) < 1.5 * low  # the whole range is used
    assert high / 1.5 < max(lengths) <= high
    assert (min(counts), max(counts)) == values.objects


@pytest.mark.parametrize("length", [8, 9, 31, 72, 200])
def test_a_glyph_fills_its_box_tightly(length):
    for index in range(60):
        glyph = digits_image.draw_glyph(np.random.default_rng(index), IMAGES[index], length)
        width, height = glyph.size
        assert max(width, height) == length
        m = glyph.margin
        ys, xs = np.nonzero(glyph.alpha >= 0.4)
        edges = (xs.min() - m, ys.min() - m, xs.max() + 1 - m - width, ys.max() + 1 - m - height)
        assert np.abs(edges).max() <= 1 + length // 30, (index, edges)


def test_no_digit_is_mostly_hidden():
    tested = 0
    for index in range(30):
        rng = np.random.default_rng(index)
        placed = digits_image._place(rng, 96, IMAGES[rng.integers(1797, size=8)], [40, 36, 30, 24, 20, 18, 16, 12])
        if placed is None:
            continue
        tested += 1
        owner = np.full((96, 96), -1)
        ink = []
        for number, (glyph, (x, y, w, h)) in enumerate(zip(*placed, strict=True)):
            mask = glyph.alpha[glyph.margin : glyph.margin + h, glyph.margin : glyph.margin + w] >= 0.5
            owner[y : y + h, x : x + w][mask] = number
            ink.append(mask.sum())
        for number, whole in enumerate(ink):
            assert (owner == number).sum() >= digits_image.MIN_VISIBLE * whole
    assert tested > 3


def test_the_default_size_is_generated_in_time(tmp_path):
    """An eighth of digits.yaml; all of it has a minute of processor time, and takes about 5 s on two slow cores."""
    start = time.process_time()
    generate(tmp_path / "d", DigitsParameters(images={"train": 100, "val": 25, "test": 25}), progress=False)
    assert time.process_time() - start < 60 / 8


def test_an_interrupted_generation_leaves_nothing_and_the_next_one_works(tmp_path, monkeypatch, made):
    calls = []

    def broken(*args, **options):
        calls.append(1)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return draw(*args, **options)

    draw = digits_image.draw_scene
    monkeypatch.setattr(digits_image, "draw_scene", broken)
    with pytest.raises(KeyboardInterrupt):
        small(tmp_path / "digits")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert files(small(tmp_path / "digits")) == files(made)
    assert [f.name for f in tmp_path.iterdir()] == ["digits"]


def test_the_slower_of_two_processes_uses_the_result_of_the_faster(tmp_path, monkeypatch, made):
    draw = digits_image.draw_scene

    def slow(*args, **options):
        monkeypatch.undo()
        small(tmp_path / "digits")  # the other process, from start to end
        return draw(*args, **options)

    monkeypatch.setattr(digits_image, "draw_scene", slow)
    assert files(small(tmp_path / "digits")) == files(made)
    assert [f.name for f in tmp_path.iterdir()] == ["digits"]


def test_a_complete_folder_stays_and_other_contents_are_refused(tmp_path):
    out = small(tmp_path / "digits")
    before = {f: f.stat().st_mtime_ns for f in out.rglob("*")}
    small(out)
    assert {f: f.stat().st_mtime_ns for f in out.rglob("*")} == before
    with pytest.raises(DataError, match="seed, objects"):
        small(out, seed=3, objects=[2, 3])
    next((out / "images" / "val").iterdir()).unlink()
    with pytest.raises(DataError, match=r"images/val .*4 of 5"):
        small(out)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "precious.txt").write_text("mine")
    with pytest.raises(DataError, match=f"foreign .*{MANIFEST}"):
        small(foreign)
    assert (foreign / "precious.txt").read_text() == "mine"
    empty = tmp_path / "empty"
    empty.mkdir()
    assert (small(empty, distractors=[0, 0]) / MANIFEST).is_file()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"objcts": [1, 4]}, "'objcts'.*'objects'.*seed, size"),
        ({3: 4}, "3.*seed"),
        ({"seed": -1}, "seed=-1 .* 0 "),
        ({"seed": True}, "seed=True"),
        ({"size": 128.0}, r"size=128\.0 .* 32 to 4096"),
        ({"objects": 4}, "objects=4 .* 0"),
        ({"objects": [0, 0]}, r"objects=\[0, 0\]"),
        ({"objects": [4, 1]}, r"objects=\[4, 1\]"),
        ({"object_size": [4, 20]}, r"object_size=\[4, 20\] .* 8, .*\[8, 32\]"),
        ({"object_size": [16, 200]}, r"object_size=\[16, 200\] .*size=128.* 128"),
        ({"distractors": [1, 2.5]}, r"distractors=\[1, 2\.5\]"),
        ({"images": 800}, "images=800 .*train, val"),
        ({"images": {"train": 1, "val": 1}}, "train, val"),
        ({"images": {"train": 1, "val": 0, "test": 1}}, "images: val=0 .* 1 "),
        ([1], r"\[1\].*digits: \{seed: 0, size: 128\}"),
    ],
)
def test_impossible_parameters_are_named(values, message):
    with pytest.raises(DataError, match=message):
        DigitsParameters.from_mapping(values)


def test_digits_that_cannot_fit_are_an_error_and_leave_nothing(tmp_path):
    with pytest.raises(DataError, match=r"objects=\[30, 30\] .*object_size=\[60, 60\] .*size=96"):
        small(tmp_path / "d", objects=[30, 30], object_size=[60, 60])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"digits": {}}, "'path:'"),
        ({"path": "x"}, "'digits:'"),
        ({"path": "x", "digits": {"seed": 0}, "names": ["a", "b"]}, "10 names.* 2"),
    ],
)
def test_a_yaml_without_required_keys_is_refused(data, message):
    with pytest.raises(DataError, match=message):
        generate_from_yaml(data)


def test_ultralytics_generates_on_first_use_and_refuses_a_changed_yaml(tmp_path, monkeypatch):
    yolo_attn.install()
    monkeypatch.setattr(data_utils, "check_font", lambda *_: None)  # would ask the network
    data = load("digits.yaml") | {"path": str(tmp_path / "digits")}
    data["digits"] |= {"images": {"train": 6, "val": 3, "test": 3}}
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(data))
    for _ in range(2):
        checked = data_utils.check_det_dataset(str(file))
        assert len(list(Path(checked["train"]).iterdir())) == 6
    for image in Path(checked["train"]).iterdir():
        label = data_utils.img2label_paths([str(image)])[0]
        found = data_utils.verify_image_label((str(image), label, "", False, 10, 0, 0, False))
        assert found[0] == str(image)
        assert found[2] == (128, 128)
        assert (found[6], found[8], found[9]) == (1, 0, "")  # a label found, not corrupt, no message
    data["digits"]["size"] = 96  # Ultralytics itself only looks whether there are images
    file.write_text(yaml.safe_dump(data))
    with pytest.raises(DataError, match="size"):
        data_utils.check_det_dataset(str(file))


class ReachedError(Exception):
    """Instead of what follows the search for the data set."""


def reach(*_, **__):
    raise ReachedError


def first_compare(file, tmp_path, monkeypatch):
    monkeypatch.setattr(worker.model_checks, "check_models", reach)
    plan = make(tmp_path / "experiment", data=str(file))
    plan.claim()
    worker.check(plan)


def first_train(file, tmp_path, monkeypatch):
    monkeypatch.setattr(ultralytics.models.yolo.detect.DetectionTrainer, "get_model", reach)
    ultralytics.YOLO("yolo11n-ema.yaml").train(data=str(file), epochs=1, project=str(tmp_path / "runs"))


def first_val(file, tmp_path, monkeypatch):
    monkeypatch.setattr(ultralytics.models.yolo.detect.DetectionValidator, "get_dataloader", reach)
    ultralytics.YOLO("yolo11n-ema.yaml").val(data=str(file), project=str(tmp_path / "runs"))


@pytest.mark.parametrize("use", [first_compare, first_train, first_val])
@pytest.mark.parametrize("where", ["absolute", "in Ultralytics' folder"])
@pytest.mark.parametrize("is_strict", [True, False], ids=["yolo-attn", "yolo"])
def test_the_first_use_does_not_begin_with_a_warning(use, where, is_strict, tmp_path, monkeypatch):
    """Ultralytics would warn 'Dataset images not found' before it runs our code, as if something had failed."""
    yolo_attn.install()
    monkeypatch.setattr(data_utils, "check_font", lambda *_: None)  # would ask the network
    for module in (utils, data_utils):
        monkeypatch.setattr(module, "DATASETS_DIR", tmp_path / "of Ultralytics")
    path = tmp_path / "digits" if where == "absolute" else Path("digits")
    data = load("digits.yaml") | {"path": str(path)}
    data["digits"] = SMALL
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(data))
    made = utils.DATASETS_DIR / path
    with logged() as lines, strict() if is_strict else contextlib.nullcontext(), pytest.raises(ReachedError):
        use(file, tmp_path, monkeypatch)
    assert (made / MANIFEST).is_file()
    assert [line for line in lines if "WARNING" in line or "not found" in line] == []


@pytest.mark.parametrize("name", FETCHED)
def test_a_fetched_data_set_has_ultralytics_names_and_folders(name, tmp_path, monkeypatch):
    monkeypatch.setattr(data_utils, "check_font", lambda *_: None)
    own = yaml.safe_load(Path(utils.ROOT, "cfg/datasets", name).read_text(encoding="utf-8"))
    ours = load(name)
    assert [ours.get(key) for key in ("names", "path", *SPLITS)] == [own.get(key) for key in ("names", "path", *SPLITS)]
    assert ours["download"].startswith("from") or ours["download"] == own["download"]
    for split in SPLITS:  # as if the data were there
        for place in np.atleast_1d(ours.get(split) or []):
            target = tmp_path / "tree" / str(place)
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.suffix:
                target.write_text("")
            else:
                target.mkdir(exist_ok=True)
    (tmp_path / name).write_text(yaml.safe_dump(ours | {"path": str(tmp_path / "tree")}), encoding="utf-8")
    checked = data_utils.check_det_dataset(str(tmp_path / name), autodownload=False)
    assert (checked["path"], checked["nc"]) == (tmp_path / "tree", len(ours["names"]))


@pytest.mark.parametrize(
    ("name", "address"),
    {
        "coco.yaml": "coco2017labels",
        "VOC.yaml": "VOCtrainval_06-Nov-2007",
        "VisDrone.yaml": "VisDrone2019-DET",
    }.items(),
)
def test_fetching_uses_ultralytics_addresses(name, address, tmp_path, monkeypatch):
    from ultralytics.utils import downloads

    class FetchedError(Exception):
        pass

    def fetch(urls, dir, **_):
        raise FetchedError(f"{dir}: {urls}")

    monkeypatch.setattr(downloads, "download", fetch)
    with pytest.raises(FetchedError, match=f"{tmp_path}.*https://.*{address}"):
        exec(load(name)["download"], {"yaml": load(name) | {"path": tmp_path / "data"}})


def test_visdrone_folders_of_older_ultralytics_are_moved(tmp_path, monkeypatch):
    old = tmp_path / "ultralytics"
    (old / "cfg/datasets").mkdir(parents=True)
    script = (
        "for s in 'train', 'val', 'test-dev':\n  for k in 'images', 'labels':\n"
        "    (yaml['path'] / f'VisDrone2019-DET-{s}' / k).mkdir(parents=True)\n"
    )
    (old / "cfg/datasets/VisDrone.yaml").write_text(yaml.safe_dump({"download": script}))
    monkeypatch.setattr(utils, "ROOT", old)
    data = load("VisDrone.yaml") | {"path": tmp_path / "data"}
    exec(data["download"], {"yaml": data})
    assert all((tmp_path / "data" / data[split]).is_dir() for split in SPLITS)
    assert (tmp_path / "data/labels/val").is_dir()


def test_the_data_package_imports_neither_torch_nor_ultralytics(tmp_path):
    code = """
        import sys, yolo_attn.data.digits, yolo_attn.data.digits_image, yolo_attn.data.coco_to_yolo
        print({'torch', 'ultralytics'} & set(sys.modules))
    """
    assert run(code, tmp_path) == "set()\n"


def test_the_readme_agrees_with_yamls_and_code():
    text = " ".join((DATASETS / "README.md").read_text(encoding="utf-8").split())
    scans = split_scans(DIGITS, load("digits.yaml")["digits"]["seed"])
    assert "{}, {} and {} scans".format(*(len(scans[split]) for split in SPLITS)) in text
    assert f"at least {digits_image.MIN_VISIBLE:.0%} of its ink".replace("%", " %") in text
    assert f"IoU above {digits_image.MAX_IOU}" in text
    assert f"at least {digits_image.MIN_CONTRAST:g} grey levels" in text
    shown = [load(name)["digits"] for name in EMBEDDED]
    for row, cell in (
        ("images, train/val/test", lambda d: "/".join(str(d["images"][split]) for split in SPLITS)),
        ("side of an image", lambda d: f"{d['size']} px"),
        ("digits per image", lambda d: "{} to {}".format(*d["objects"])),
        ("longer side of a box", lambda d: "{} to {} px".format(*d["object_size"])),
        ("distractors per image", lambda d: "{} to {}".format(*d["distractors"])),
    ):
        assert f"| {row} | {cell(shown[0])} | {cell(shown[1])} |" in text
    assert all(f"`{file.name}`" in text for file in DATASETS.glob("*.yaml"))
