"""What ``check`` knows about a model YAML, every command says: as warnings, or as one line if it cannot be built."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import ultralytics
from support import ROOT, logged, run_file

from yolo_attn.cli.main import main
from yolo_attn.errors import LayerError

YOLOV8 = Path(ultralytics.__file__).parent / "cfg/models/v8/yolov8.yaml"
ROW = "  - [-1, 1, EMA, []]"
TRAIN = ["data=digits.yaml", "imgsz=64", "epochs=1", "workers=0", "device=cpu"]


def write(folder, after, name="yolov8-mine.yaml", edit=lambda text: text):
    """Write YOLOv8 with EMA attention after some layers and no number raised, as people do by hand."""
    lines = YOLOV8.read_text(encoding="utf-8").splitlines()
    rows = [k for k, line in enumerate(lines) if line.strip().startswith("- [")]
    for layer in sorted(after, reverse=True):
        lines.insert(rows[layer] + 1, ROW)
    (folder / name).write_text(edit("\n".join(lines) + "\n"))
    return name.replace("yolov8", "yolov8n")


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    from yolo_attn.integration.patches import model_init

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(model_init, "_said", set())


def commands(model):
    """Return every command that opens a model YAML, without those that train."""
    return {
        "check": ["check", model],
        "info": ["info", model],
        "diagram": ["diagram", model, "-o", "model.svg"],
        "place": ["place", model],
        "place into it": ["place", model, "GSoP", "--at", "backbone.end", "-o", "more.yaml"],
        "transfer": ["transfer", "any.pt", model, "-o", "out.pt"],
        "export": ["export", f"model={model}", "imgsz=64", "format=torchscript"],
        "train": ["train", f"model={model}", *TRAIN],
        "val": ["val", f"model={model}", "data=digits.yaml", "imgsz=64"],
        "predict": ["predict", f"model={model}", "source=image.png"],
    }


BAD = {  # what is wrong -> the layers with an inserted row, an edit of the text, and what the one line says
    "rows that do not fit": ((2, 4), str, r"yolov8-mine\.yaml, line 36: layer 13 \(Concat\).*stride 16: 7, 8"),
    "no number of classes": ((4,), lambda t: t.replace("nc: 80", "# none"), "'nc' is missing.*nc: 80"),
    "classes as text": ((4,), lambda t: t.replace("nc: 80", "nc: eighty"), r"'eighty'.*nc: 80"),
}


@pytest.mark.fast
@pytest.mark.parametrize("command", commands(""))
@pytest.mark.parametrize("what", BAD)
def test_a_model_that_cannot_be_built_is_one_line(command, what, tmp_path, capfd):
    after, edit, match = BAD[what]
    model = write(tmp_path, after, edit=edit)
    shutil.copy(next((ROOT / "tests/checkpoints").glob("*.pt")), "any.pt")
    (tmp_path / "image.png").write_bytes(b"")
    assert main(commands(model)[command]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("yolo-attn:")]
    assert len(lines) == 1
    assert re.search(match, lines[0]), lines
    assert not (tmp_path / "more.yaml").exists()
    assert not (tmp_path / "runs").exists()


@pytest.mark.fast
@pytest.mark.parametrize("command", ["info", "diagram", "place", "place into it"])
def test_a_model_with_probable_mistakes_is_built_with_warnings(command, tmp_path, capfd):
    model = write(tmp_path, (4,))
    with logged() as lines:
        assert main(commands(model)[command]) == 0
    said = " ".join(" ".join([*capfd.readouterr(), *lines]).split())
    assert len(re.findall(r"line 50, layer 23 \(Detect\): reads layer 15 \(Concat\) inside a stage", said)) == 1 or (
        command == "place into it" and "layer 24 (Detect): reads layer" in said
    )


@pytest.mark.fast
def test_python_users_are_warned_once(tmp_path):
    from ultralytics import YOLO

    with logged() as lines:
        YOLO(write(tmp_path, (4,)))
        YOLO("yolov8n-mine.yaml")
        YOLO("yolo11n-ema.yaml")  # has no findings
        YOLO("yolov8n.yaml")
    warnings = [line for line in lines if "yolov8-mine.yaml, line" in line]
    assert len(warnings) == len(set(warnings)) >= 2
    assert all(re.search(r"line \d+, layer \d+ \(\w+\): ", line) for line in warnings)
    write(tmp_path, (2, 4), "yolov8-two.yaml")
    with pytest.raises(LayerError, match=r"yolov8-two\.yaml, line 36: layer 13"):
        YOLO("yolov8n-two.yaml")


def test_rt_detr_is_built_by_its_own_class_or_named(tmp_path, capfd):
    """As by ``yolo``: the file's name decides. YOLO cannot build the head, and says so; it is not compared."""
    from ultralytics import YOLO

    text = (YOLOV8.parents[1] / "rt-detr/rtdetr-l.yaml").read_text(encoding="utf-8")
    for name in ("rtdetr-mine.yaml", "mine.yaml"):
        Path(name).write_text(re.sub(r"\n.*AIFI.*", lambda row: f"{row[0]}\n{ROW}", text, count=1))
    with logged() as lines:
        assert main(["info", "rtdetr-mine.yaml"]) == 0
    assert "EMA" in capfd.readouterr().out
    assert any("layer 29 (RTDETRDecoder): reads layer 21 (Concat) inside a stage" in line for line in lines)
    assert main(["info", "mine.yaml"]) == 2
    named = r"mine\.yaml, line 54: layer 29 \(RTDETRDecoder\) is the head of RT-DETR.*RTDETR\('mine\.yaml'\)"
    assert re.search(named, capfd.readouterr().err)
    with pytest.raises(LayerError, match=named):
        YOLO("mine.yaml")
    assert main(["compare", "--base=yolo11n.yaml", "--models=rtdetr-mine.yaml", "--data=digits.yaml"]) == 2
    assert "'rtdetr-mine.yaml' is RT-DETR; only YOLO models are compared" in capfd.readouterr().err


@pytest.mark.slow
def test_training_warns_and_the_record_and_the_report_keep_it(tmp_path):
    """``yolo train`` and ``compare``: the warnings come before the first epoch, once."""
    model = write(tmp_path, (4,))
    small = [*TRAIN, "fraction=0.02", "batch=8", "val=False", "plots=False"]
    yolo = ["-c", "from ultralytics.cfg import entrypoint; entrypoint()"]
    done = run_file([*yolo, "train", f"model={model}", *small], tmp_path, YOLO_VERBOSE="1")
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert said.count("layer 23 (Detect): reads layer 15") == 1
    compare = ["-m", "yolo_attn", "compare", "base=yolov8n.yaml", f"models={model}", "folder=c", "seeds=0"]
    done = run_file([*compare, *small], tmp_path, YOLO_VERBOSE="1")
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert (
        said.split("Comparison of 2 runs")[1].partition("training")[0].count("layer 23 (Detect): reads layer 15") == 1
    )
    record = (tmp_path / "c/yolov8n-mine-seed0/record.json").read_text()
    assert "layer 23 (Detect): reads layer 15 (Concat)" in record
    assert "layer 23 (Detect): reads layer 15 (Concat)" in (tmp_path / "c/results.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "match"),
    [
        ([], r"yolov8-mine\.yaml, line 36: layer 13 \(Concat\)"),
        (["pretrained=nowhere.pt"], r"2 problems.*'nowhere\.pt' does not exist.*layer 13 \(Concat\)"),
        (["pretrained=broken.pt"], r"broken\.pt"),
    ],
)
def test_compare_stops_before_the_first_run(tmp_path, more, match):
    model = write(tmp_path, (2, 4))
    (tmp_path / "broken.pt").write_bytes(b"no checkpoint")
    given = ["base=yolov8n.yaml", f"models={model}", "folder=c", "seeds=0-4", *TRAIN, *more]
    done = run_file(["-m", "yolo_attn", "compare", *given], tmp_path)
    assert done.returncode == 2
    line = done.stderr.strip().splitlines()[-1]
    assert re.search(match, line), done.stderr
    assert not list((tmp_path / "c").glob("*/log.txt"))


@pytest.mark.parametrize(
    ("model", "match"),
    [
        ("yolo11n-emma.yaml", r"model 'yolo11n-emma\.yaml' .*'yolo11n-ema\.yaml'\?"),
        ("yolov8n-mine.yaml", r"yolov8-mine\.yaml, line 36: layer 13 \(Concat\)"),
    ],
)
def test_the_command_yolo_prints_one_line(model, match, tmp_path):
    write(tmp_path, (2, 4))
    code = "from ultralytics.cfg import entrypoint; entrypoint()"
    done = run_file(["-c", code, "train", f"model={model}", "data=digits.yaml"], tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert re.search(rf"^yolo: {match}", done.stderr, re.MULTILINE), done.stderr
    python = run_file(["-c", f"from ultralytics import YOLO; YOLO({model!r})"], tmp_path)
    assert re.search(rf"^yolo_attn\.errors\.\w+: {match}", python.stderr, re.MULTILINE), python.stderr
