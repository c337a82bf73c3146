"""Very long names work or are one line; a name that is not UTF-8 is refused, but the working folder may have one."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import made_up_experiment
import pytest
from support import ROOT, noise_data
from ultralytics import YOLO

import yolo_attn
from yolo_attn.cli import main
from yolo_attn.report import compare_models

yolo_attn.install()
LONGEST = 255  # bytes of a name
NAMES = {
    "not UTF-8": lambda start, end: os.fsdecode(f"{start}-".encode() + b"\xff\xe9" + end.encode()),
    "longest": lambda start, end: f"{start}-".ljust(LONGEST - len(end), "x") + end,
    "longest in Greek": lambda start, end: f"{start}-" + "λ" * ((LONGEST - len(start) - len(end) - 1) // 2) + end,
    "too long": lambda start, end: f"{start}-".ljust(LONGEST + 1 - len(end), "x") + end,
    "far too long": lambda start, end: "x" * 5000 + end,
    "quotes": lambda start, end: f"{start}-a 'b\" $c;&<d>{end}",
}
DRAWINGS = (".svg", ".png", ".pdf", ".dot", ".mmd")
WORK = [name for name in NAMES if "too long" not in name and name != "not UTF-8"]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Return a function that runs a command and returns its status and what it printed; checks the error's form."""
    monkeypatch.chdir(tmp_path)

    def call(*words):
        status = main(list(words))
        out, err = capsys.readouterr()
        errors = [line for line in err.splitlines() if not line.startswith(("warning:", "WARNING", "Checking"))]
        assert "Traceback" not in err
        assert (status, len(errors)) in ((0, 0), (2, 1)), (status, err[-1500:])
        (out + err).encode("utf-8")  # everything printed can be encoded
        return status, out + err

    return call


def existing(kind, start, end):
    """Return the name of a file or folder that is about to be made; skip where the system has no such names."""
    name = NAMES[kind](start, end)
    try:
        Path(name).write_bytes(b"")
    except OSError:
        if kind in WORK:
            pytest.skip("the file system has no such names")
    else:
        Path(name).unlink()
    return name


def copy(source, name):
    try:
        shutil.copy(source, name)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("command", ["info", "check", "place", "diagram", "convert", "transfer"])
def test_a_model(command, kind, run):
    name = existing(kind, "yolo11", ".yaml")
    there = copy(ROOT / "model_yamls" / "yolo11-ema.yaml", name)
    outputs = {"diagram": "x.svg", "convert": "yolo11-x.yaml", "transfer": "x.pt"}
    before = []
    if command == "transfer":
        YOLO("yolo11n.yaml").save("weights.pt")
        before = ["weights.pt"]
    rest = ["-o", outputs[command]] if command in outputs else []
    status, said = run(command, *before, name, *rest)
    assert there == (kind in WORK or kind == "not UTF-8")
    assert status == (0 if kind in WORK else 2), said
    if status == 0 and command in outputs:
        assert Path(outputs[command]).stat().st_size
        assert command == "transfer" or Path(outputs[command]).read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize(
    ("command", "suffix"),
    [("place", ".yaml"), ("convert", ".yaml"), ("transfer", ".pt"), *(("diagram", suffix) for suffix in DRAWINGS)],
)
def test_an_output(command, suffix, kind, run):
    name = existing(kind, "yolo11", suffix)
    shutil.copy(ROOT / "model_yamls" / "yolo11-ema.yaml", "theirs.yaml")
    words = {
        "place": ["yolo11.yaml", "EMA", "--at", "neck.P3"],
        "convert": ["theirs.yaml"],
        "diagram": ["yolo11n-ema.yaml"],
        "transfer": ["weights.pt", "yolo11n-ema.yaml"],
    }
    if command == "transfer":
        YOLO("yolo11n.yaml").save("weights.pt")
    status, said = run(command, *words[command], "-o", name)
    assert status == (0 if kind in WORK else 2), said
    if status == 0:
        assert Path(name).stat().st_size
        if suffix in (".yaml", ".svg", ".dot", ".mmd"):
            Path(name).read_text(encoding="utf-8")
    assert not list(Path().glob(".*"))


@pytest.mark.parametrize("kind", NAMES)
def test_a_drawing_of_a_model(kind, run):
    name = existing(kind, "yolo11", ".yaml")
    if kind in WORK and copy(ROOT / "model_yamls" / "yolo11-ema.yaml", name):
        for suffix in (".png", ".pdf", ".dot", ".mmd"):
            assert run("diagram", name, "-o", f"x{suffix}")[0] == 0
            assert suffix in (".png", ".pdf") or Path(f"x{suffix}").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", NAMES)
def test_the_folder_of_an_experiment(kind, run):
    name = existing(kind, "c", "")
    made = made_up_experiment.write(Path("made"), models=("yolo11n-ema.yaml",), seeds=(0, 1), controls=())
    if kind in WORK:
        made.folder.rename(name)
    status, said = run("report", name)
    assert status == (0 if kind in WORK else 2), said
    for file in Path(name).iterdir() if status == 0 else ():
        if file.suffix in (".json", ".csv", ".md", ".html", ".svg"):
            text = file.read_text(encoding="utf-8")
            assert file.suffix != ".json" or json.loads(text)


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("role", ["base", "models", "data", "folder", "experiment", "pretrained"])
def test_what_compare_is_given(role, kind, run, monkeypatch, tmp_path):
    """It starts, or is refused before anything is written."""
    seen = []
    monkeypatch.setattr(compare_models, "run_experiment", lambda plan, *_: seen.append(plan) or {})
    monkeypatch.setattr(compare_models, "make_report", lambda *_, **__: type("Results", (), {"failed": []}))
    end = {"folder": "", "pretrained": ".pt"}.get(role, ".yaml")
    name = existing(kind, "yolo11", end)
    data = noise_data(tmp_path / "set", ("train", "val"), images=2)
    sources = {"data": data, "base": "theirs.yaml", "models": "theirs.yaml"}
    shutil.copy(ROOT / "model_yamls" / "yolo11-ema.yaml", "theirs.yaml")
    given = {"base": "yolo11n.yaml", "models": "yolo11n-gsop.yaml", "data": str(data)}
    if role == "experiment":
        Path("e.yaml").write_text("".join(f"{key}: {value}\n" for key, value in given.items()))
        there = copy("e.yaml", name)
        status, said = run("compare", name)
    else:
        there = role in ("folder", "pretrained") or copy(sources[role], name)
        status, said = run("compare", *(f"{key}={value}" for key, value in {**given, role: name}.items()))
    if kind == "not UTF-8":
        assert (status, "not UTF-8" in said) == (2, True), said
    elif role not in ("pretrained", "folder"):
        assert status == (0 if there else 2), said
    assert bool(seen) == (status == 0)
    for plan in seen if kind in WORK else ():
        plan.claim()
        assert all(len(os.fsencode(run.folder.name)) <= LONGEST for run in plan.runs)


def test_a_training(run, tmp_path):
    model, data = (existing("longest", start, ".yaml") for start in ("yolo11", "data"))
    shutil.copy(ROOT / "model_yamls" / "yolo11-ema.yaml", model)
    shutil.copy(noise_data(tmp_path / "set", ("train", "val"), images=2), data)
    rest = ["epochs=1", "imgsz=32", "batch=2", "workers=0", "device=cpu", "plots=False", "project=out"]
    assert run("train", f"model={model}", f"data={data}", *rest)[0] == 0


@pytest.mark.parametrize("kind", NAMES)
def test_the_working_folder(kind, run, monkeypatch):
    monkeypatch.setattr(compare_models, "run_experiment", lambda plan, *_: plan.claim() or {})
    name = existing(kind, "work", "")
    if kind not in (*WORK, "not UTF-8"):
        pytest.skip("it cannot be made")
    made = made_up_experiment.write(Path("c"), models=("yolo11n-ema.yaml",), seeds=(0, 1), controls=())
    Path(name).mkdir()
    made.folder.rename(Path(name) / "c")
    monkeypatch.chdir(name)
    shutil.copy(ROOT / "model_yamls" / "yolo11-ema.yaml", "yolo11-x.yaml")
    YOLO("yolo11n.yaml").save("x.pt")
    assert run("check", "yolo11-x.yaml")[0] == 0
    assert run("place", "yolo11-x.yaml", "GSoP", "--at", "neck.P4", "-o", "yolo11-y.yaml")[0] == 0
    assert run("convert", "yolo11-x.yaml", "-o", "yolo11-z.yaml")[0] == 0
    assert run("transfer", "x.pt", "yolo11n-x.yaml", "-o", "y.pt")[0] == 0
    for suffix in DRAWINGS:
        assert run("diagram", "yolo11n-x.yaml", "-o", f"x{suffix}")[0] == 0
    for file in Path().glob("*.*"):
        assert file.suffix in (".pt", ".png", ".pdf") or file.read_text(encoding="utf-8")
    assert run("report", "c")[0] == 0
    status, said = run("compare", "base=yolo11n.yaml", "models=yolo11n-x.yaml", "data=digits.yaml")
    assert (status, "not UTF-8" in said) == ((2, True) if kind == "not UTF-8" else (0, False)), said
