"""What a user can get wrong: one line that names the thing and what would work.

From the command line: status 2, the line on stderr, no traceback. From Python: an exception with the same words.
"""

import re

import cv2
import numpy as np
import pytest
from ultralytics import YOLO

import yolo_attn
from yolo_attn.cli import main
from yolo_attn.errors import UserError

ROW = "[-1, 1, EMA, []]"
HEAD = f"""
nc: 2
scales: {{n: [0.5, 0.25, 1024]}}
backbone:
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, Conv, [128, 3, 2]]
  - [-1, 1, Conv, [256, 3, 2]]
head:
  - {ROW}
  - [-1, 1, Conv, [256, 3, 2]]
  - [[3, 4], 1, Detect, [nc]]
"""

BAD_ROWS = {
    "unknown layer": ("[-1, 1, EMAA, []]", r"layer 3 \(EMAA\): unknown layer 'EMAA'. Did you mean 'EMA'\?"),
    "typed channels": ("[-1, 1, EMA, [256]]", r"layer 3 \(EMA\): arguments \[256\]: a channel count is not typed"),
    "typed channels by name": ("[-1, 1, EMA, [{channels: 64}]]", r"layer 3 \(EMA\): option 'channels' is filled in"),
    "no such source": ("[7, 1, EMA, []]", r"layer 3 \(EMA\): 'from' is 7, a layer that does not exist here; layers 0"),
    "list for one map": ("[[1, 2], 1, EMA, []]", r"layer 3 \(EMA\): 'from' is \[1, 2\], but EMA reads one map"),
    "one map for a list": ("[-1, 1, PMFS, []]", r"layer 3 \(PMFS\): 'from' is -1, but PMFS reads a list of maps"),
    "unknown option": ("[-1, 1, EMA, [{facter: 8}]]", r"EMA has no option 'facter'. Did you mean 'factor'\?"),
    "factor that does not fit": ("[-1, 1, EMA, [{factor: 7}]]", r"layer 3 \(EMA\): .*divisors of 64: \[1, 2, 4, 8, 16"),
}


@pytest.fixture
def model(tmp_path):
    def write(row=ROW):
        (tmp_path / "yolo11-mine.yaml").write_text(HEAD.replace(ROW, row))
        return str(tmp_path / "yolo11n-mine.yaml")

    return write


@pytest.fixture
def data(tmp_path):
    """A data set of six images in train and val, one box each."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        (tmp_path / "images" / split).mkdir(parents=True)
        (tmp_path / "labels" / split).mkdir(parents=True)
        for k in range(6):
            cv2.imwrite(str(tmp_path / "images" / split / f"{k}.png"), rng.integers(0, 255, (64, 64, 3), np.uint8))
            (tmp_path / "labels" / split / f"{k}.txt").write_text("1 0.5 0.5 0.4 0.4\n")
    file = tmp_path / "mine.yaml"
    file.write_text(f"path: {tmp_path}\ntrain: images/train\nval: images/val\nnames: [a, b]\n")
    return file


def refused(capsys, *words):
    """Run the command line; return the one line it says."""
    status = main(list(words))
    said = capsys.readouterr().err
    lines = [line for line in said.splitlines() if line.startswith("yolo-attn: ")]
    assert status == 2, said
    assert len(lines) == 1, said
    assert "Traceback" not in said
    return lines[0]


def train(model, data, **words):
    yolo_attn.install()
    return YOLO(model).train(data=str(data), epochs=1, imgsz=64, batch=2, workers=0, plots=False, **words)


@pytest.mark.parametrize(("row", "message"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_row_that_cannot_be_built(row, message, model, data, capsys, tmp_path):
    name = model(row)
    yolo_attn.install()
    with pytest.raises(UserError, match=r"^yolo11n-mine.yaml: layer 3 ") as error:
        YOLO(name)
    error.match(message)
    line = refused(capsys, "train", f"model={name}", f"data={data}", f"project={tmp_path / 'out'}")
    assert line == f"yolo-attn: {error.value}"
    assert not (tmp_path / "out").exists()


def test_a_data_set_that_does_not_exist(model, capsys, tmp_path):
    line = refused(capsys, "train", f"model={model()}", "data=digit.yaml")
    assert "data set 'digit.yaml' does not exist. Did you mean 'digits.yaml'?" in line
    with pytest.raises(RuntimeError, match=r"data set 'digit\.yaml' does not exist\. Did you mean 'digits\.yaml'"):
        train(model(), "digit.yaml", project=str(tmp_path / "out"))


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_folder_of_the_data_set_that_does_not_exist(split, model, data, capsys, tmp_path):
    data.write_text(data.read_text().replace(f"images/{split}", f"images/{split}ing"))
    line = refused(capsys, "train", f"model={model()}", f"data={data}", "epochs=1", f"project={tmp_path / 'out'}")
    assert f"{tmp_path / 'images' / split}ing" in line
    assert "does not exist" in line
    assert "holds train, val" in line


def test_an_image_that_does_not_decode(model, data, capsys, tmp_path):
    image = tmp_path / "images" / "train" / "3.png"
    image.write_bytes(b"not an image")
    words = [f"project={tmp_path / 'out'}", "epochs=1", "imgsz=64", "workers=0"]
    line = refused(capsys, "train", f"model={model()}", f"data={data}", *words)
    assert line.endswith(
        f"mine.yaml: 1 of 6 images cannot be used: {image} does not decode (damaged, or not an image); "
        "mend or remove them"
    )
    with pytest.raises(UserError, match=r"1 of 6 images cannot be used: .*3\.png does not decode"):
        train(model(), data, project=str(tmp_path / "out"))


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ("1 0.5 0.5 0.4 0.4\n0 1.4 0.5 0.2 0.2\n", r"3.txt line 2: box 1.4 0.5 0.2 0.2 lies outside the image"),
        ("0 -0.4 0.5 0.2 0.2\n", r"3.txt line 1: box -0.4 0.5 0.2 0.2 lies outside the image"),
        ("2 0.5 0.5 0.2 0.2\n", r"3.txt line 1: class 2 does not exist \(the data set has 0 to 1\)"),
        ("0 0.5 0.5 0.2\n", r"3.txt line 1: 4 numbers \(a box has 5"),
        ("zero 0.5 0.5 0.2 0.2\n", r"3.txt line 1: 'zero 0.5 0.5 0.2 0.2'"),
    ],
)
@pytest.mark.parametrize("split", ["train", "val"])
def test_labels_that_cannot_be_used(label, reason, split, model, data, tmp_path):
    (tmp_path / "labels" / split / "3.txt").write_text(label)
    with pytest.raises(UserError, match=rf"1 of 6 images cannot be used: .*labels/{split}/{reason}"):
        train(model(), data, project=str(tmp_path / "out"))


def test_plain_models_keep_ultralytics_behaviour(data, tmp_path, model):
    """Installing the package must not make a stock training stricter."""
    (tmp_path / "images" / "train" / "3.png").write_bytes(b"not an image")
    plain = HEAD.replace(f"  - {ROW}\n", "").replace("[3, 4]", "[2, 3]")
    (tmp_path / "yolo11-plain.yaml").write_text(plain)
    train(str(tmp_path / "yolo11n-plain.yaml"), data, project=str(tmp_path / "out"))
    assert (tmp_path / "out" / "train" / "weights" / "best.pt").is_file()


def test_nothing_good_is_overwritten(model, data, capsys, tmp_path):
    out = tmp_path / "out"
    train(model(), data, project=str(out), name="run")
    good = (out / "run" / "weights" / "best.pt").read_bytes()
    (tmp_path / "labels" / "train" / "3.txt").write_text("9 0.5 0.5 0.2 0.2\n")
    refused(
        capsys, "train", f"model={model()}", f"data={data}", f"project={out}", "name=run", "exist_ok=True", "imgsz=64"
    )
    assert (out / "run" / "weights" / "best.pt").read_bytes() == good


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "unknown command 'trian'. Did you mean 'train'?"),
        (["train", "modle=yolo11n-ema.yaml"], "unknown word 'modle'. Did you mean 'model'?"),
        (
            ["train", "model=yolo11n-ena.yaml"],
            "model 'yolo11n-ena.yaml' does not exist. Did you mean 'yolo11n-ema.yaml'",
        ),
        (["val", "model=nowhere/best.pt"], "checkpoint 'nowhere/best.pt' does not exist"),
        (["predict", "model=yolo11n-ema.yaml", "source=none.png"], "source 'none.png' does not exist"),
        (["train", "model=yolo11n-ema.yaml", "epochs"], "'epochs' is not of the form word=value"),
        (["compare", "base=yolo11n.yaml"], "compare needs models= and data="),
        (
            ["compare", "base=yolo11n.yaml", "models=yolo11n-ema.yaml", "data=digits.yaml", "sed=1"],
            "Did you mean 'seed'",
        ),
        (["info"], "which model?"),
        (["data", "from-cocoa"], "unknown data command 'from-cocoa'. Did you mean 'from-coco'?"),
        (["data", "from-coco", "a.json"], "takes three paths, then the split; got 1 paths"),
        (["data", "from-coco", "nowhere.json", "images", "out"], "nowhere.json"),
    ],
)
def test_words(words, message, capsys):
    assert message in refused(capsys, *words)


def test_a_value_that_ultralytics_refuses(model, data, capsys):
    line = refused(capsys, "train", f"model={model()}", f"data={data}", "epochs=many")
    assert "epochs" in line
    assert "many" in line


def test_a_file_that_is_no_checkpoint(tmp_path, capsys):
    file = tmp_path / "best.pt"
    file.write_bytes(b"no checkpoint")
    assert "best.pt" in refused(capsys, "val", f"model={file}")


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for command in ("blocks", "info", "compare", "data", "train", "val", "predict", "export"):
        assert f"  {command}" in text or f" {command} " in text


def test_blocks_lists_every_layer(capsys):
    assert main(["blocks"]) == 0
    text = capsys.readouterr().out
    for name in ("EMA", "GSoP", "PMFS", "arXiv:2305.13563", "factor: 32"):
        assert name in text


def test_info_says_what_reads_what(capsys):
    assert main(["info", "model=yolo11n-pmfs.yaml"]) == 0
    assert "4, 6, 10" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nc: 3\nbackbone: [[-1, 1, Conv, [64, 3, 2]]\nhead: x\n", "not valid YAML"),
        ("", "a model YAML needs the lists 'backbone' and 'head'"),
        ("nc: 3\n", "a model YAML needs the lists 'backbone' and 'head'"),
        ("- 1\n- 2\n", "(a model YAML needs the lists 'backbone' and 'head'|not valid YAML)"),  # by version
    ],
)
def test_a_file_that_is_no_model(text, message, tmp_path, capsys):
    (tmp_path / "yolo11-odd.yaml").write_text(text)
    yolo_attn.install()
    with pytest.raises(UserError, match=rf"yolo11n-odd\.yaml: {message}"):
        YOLO(str(tmp_path / "yolo11n-odd.yaml"))
    line = refused(capsys, "info", f"model={tmp_path / 'yolo11n-odd.yaml'}")
    assert re.search(rf"yolo11n-odd\.yaml: {message}", line)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: images/train\nval: images/val\n", "'names' or 'nc' are required"),
        ("train: [images/train\nval: images/val\n", "mine.yaml"),
    ],
)
def test_a_data_yaml_that_cannot_be_used(text, message, model, data, capsys):
    data.write_text(text)
    assert message in refused(capsys, "train", f"model={model()}", f"data={data}", "epochs=1")
