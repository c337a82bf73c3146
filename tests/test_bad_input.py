"""What a user can get wrong with a model or a data set: one line that names the thing and what would work.

From the command line: status 2, the line on stderr, no traceback. From Python: an exception with the same text.
"""

import pytest
from support import noise_data
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
yolo_attn.install()


@pytest.fixture
def model(tmp_path):
    def write(row=ROW):
        (tmp_path / "yolo11-mine.yaml").write_text(HEAD.replace(ROW, row))
        return str(tmp_path / "yolo11n-mine.yaml")

    return write


@pytest.fixture
def data(tmp_path):
    return noise_data(tmp_path, ("train", "val"), images=6)


@pytest.fixture
def refused(capsys):
    """Run the command line and return the one line that it prints."""

    def run(*arguments):
        status = main([str(argument) for argument in arguments])
        err = capsys.readouterr().err
        lines = [line for line in err.splitlines() if line.startswith("yolo-attn: ")]
        assert (status, len(lines), "Traceback" in err) == (2, 1, False), err
        return lines[0]

    return run


def train(model, data, **arguments):
    return YOLO(model).train(data=str(data), epochs=1, imgsz=64, batch=2, workers=0, plots=False, **arguments)


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ("[-1, 1, EMAA, []]", r"layer 3 \(EMAA\): .*'EMA'"),
        ("[-1, 1, EMA, [256]]", r"layer 3 \(EMA\): .*\[256\].*write \[\]"),
        ("[-1, 1, EMA, [{channels: 64}]]", r"layer 3 \(EMA\): .*'channels'"),
        ("[7, 1, EMA, []]", r"layer 3 \(EMA\): 'from' is 7.*0 to 2"),
        ("[[1, 2], 1, EMA, []]", r"layer 3 \(EMA\): 'from' is \[1, 2\]"),
        ("[-1, 1, PMFS, []]", r"layer 3 \(PMFS\): 'from' is -1"),
        ("[-1, 1, EMA, [{facter: 8}]]", "'facter'.*'factor'"),
        ("[-1, 1, EMA, [{factor: 7}]]", r"layer 3 \(EMA\): .*factor=7.*64.*\[1, 2, 4, 8, 16"),
    ],
)
def test_a_row_that_cannot_be_built(row, match, model, data, refused, tmp_path):
    name = model(row)
    with pytest.raises(UserError, match=f"^yolo11-mine.yaml, line 9: .*{match}") as error:
        YOLO(name)
    line = refused("train", f"model={name}", f"data={data}", f"project={tmp_path / 'out'}")
    assert line == f"yolo-attn: {error.value}"
    assert not (tmp_path / "out").exists()


def test_a_data_set_that_does_not_exist(model, data, refused, tmp_path):
    line = refused("train", f"model={model()}", "data=digit.yaml")
    assert "'digit.yaml'" in line
    assert "'digits.yaml'" in line
    with pytest.raises(RuntimeError, match=r"'digit\.yaml'.*'digits\.yaml'"):
        train(model(), "digit.yaml", project=str(tmp_path / "out"))
    text = data.read_text()
    for split in ("train", "val"):
        data.write_text(text.replace(f"images/{split}", f"images/{split}ing"))
        line = refused("train", f"model={model()}", f"data={data}", "epochs=1", f"project={tmp_path / 'out'}")
        assert f"{tmp_path / 'images' / split}ing" in line
        assert "train, val" in line  # what the folder holds


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        (None, r"3\.png does not decode"),
        ("1 0.5 0.5 0.4 0.4\n0 1.4 0.5 0.2 0.2\n", "3.txt line 2: .*1.4 0.5 0.2 0.2"),
        ("0 -0.4 0.5 0.2 0.2\n", "3.txt line 1: .*-0.4 0.5 0.2 0.2"),
        ("2 0.5 0.5 0.2 0.2\n", "3.txt line 1: .*2.*0 to 1"),
        ("0 0.5 0.5 0.2\n", "3.txt line 1: 4 .*5"),
        ("zero 0.5 0.5 0.2 0.2\n", "3.txt line 1: 'zero 0.5 0.5 0.2 0.2'"),
        ("nan 0.5 0.5 0.2 0.2\n", "3.txt line 1: 'nan 0.5 0.5 0.2 0.2'"),
        ("1 0.5 0.5 0.2 0.2\n".encode("utf-16"), "3.txt is UTF-16"),
        (b"1 0.5 0.5 0.2 0.2\n\xff", "3.txt, line 2: not UTF-8"),
        ("1 0.5 0.5 0.4 0.4\n0 0.95 0.5 0.2 0.2\n", r"3.txt line 2: .*0.95 0.5 0.2 0.2 extends 5.0% beyond"),
        ("0 1.005 0.5 0.0 0.2\n", r"3.txt line 1: .*1.005 0.5 0.0 0.2 .* beyond"),
    ],
)
@pytest.mark.parametrize("split", ["train", "val"])
def test_images_and_labels_that_cannot_be_used(label, reason, split, model, data, tmp_path):
    if label is None:
        (tmp_path / "images" / split / "3.png").write_bytes(b"not an image")
    else:
        (tmp_path / "labels" / split / "3.txt").write_bytes(label if isinstance(label, bytes) else label.encode())
    with pytest.raises(UserError, match=rf"mine\.yaml: 1 of 6 images .*{split}/{reason}"):
        train(model(), data, project=str(tmp_path / "out"))


def test_nothing_good_is_overwritten(model, data, refused, tmp_path):
    out = tmp_path / "out"
    train(model(), data, project=str(out), name="run")
    good = (out / "run" / "weights" / "best.pt").read_bytes()
    (tmp_path / "labels" / "train" / "3.txt").write_text("9 0.5 0.5 0.2 0.2\n")
    refused("train", f"model={model()}", f"data={data}", f"project={out}", "name=run", "exist_ok=True", "imgsz=64")
    assert (out / "run" / "weights" / "best.pt").read_bytes() == good


def test_an_optimizer_that_does_not_exist_leaves_nothing(model, data, refused, tmp_path):
    rest = [f"data={data}", "epochs=1", "imgsz=64", "batch=2", "workers=0", f"project={tmp_path / 'out'}"]
    assert "adamm" in refused("train", f"model={model()}", "optimizer=adamm", *rest)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.fast
@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        (["train", "model=yolo11n-ena.yaml"], ["'yolo11n-ena.yaml'", "'yolo11n-ema.yaml'"]),
        (["val", "model=nowhere/best.pt"], ["'nowhere/best.pt'"]),
        (["predict", "model=yolo11n-ema.yaml", "source=none.png"], ["'none.png'"]),
        (["data", "from-coco", "nowhere.json", "images", "out"], ["nowhere.json"]),
    ],
)
def test_files_that_do_not_exist(arguments, values, refused):
    line = refused(*arguments)
    assert all(value in line for value in values)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("nc: 3\nbackbone: [[-1, 1, Conv, [64, 3, 2]]\nhead: x\n", "not valid YAML"),
        ("", "'backbone' and 'head'"),
        ("nc: 3\n", "'backbone' and 'head'"),
        ("- 1\n- 2\n", "'backbone' and 'head'"),
    ],
)
def test_a_file_that_is_no_model(text, match, tmp_path, refused):
    (tmp_path / "yolo11-odd.yaml").write_text(text)
    line = refused("info", f"model={tmp_path / 'yolo11n-odd.yaml'}")
    assert "yolo11-odd.yaml" in line
    assert match in line
