"""Trainings in two processes, as users start them on two GPUs: here on the CPU, with gloo."""

import re
from pathlib import Path

import pytest
import torch
from support import ROOT, run_file, tiny_data
from ultralytics import YOLO

import yolo_attn

pytestmark = pytest.mark.slow
COMMAND = "yolo train device=0,1 data=data/data.yaml imgsz=64 batch=4 workers=0 plots=False exist_ok=True name=a"


@pytest.fixture
def train(tmp_path):
    """Return a function that trains with further arguments and returns the exit status, and what was printed."""
    tiny_data(tmp_path / "data", images=8)

    def call(arguments, command=f"{COMMAND} project={tmp_path / 'runs'}", **env):
        code = f"import two_cpu_processes\nfrom ultralytics.cfg import entrypoint\nentrypoint('{command} {arguments}')"
        paths = f"{ROOT}:{ROOT / 'tests'}"
        done = run_file(["-c", code], tmp_path, PYTHONPATH=paths, YOLO_VERBOSE="1", **env)
        return done.returncode, done.stdout + done.stderr

    return call


def ranks(folder):
    return [(folder / f"rank{rank}.txt").read_text() for rank in (0, 1)]


def layers(file):
    return torch.load(file, weights_only=False)["ema"].float().model


def test_parameters_that_only_some_images_use(train, tmp_path):
    """Both processes end with the same parameters; the pyramid has layers that no loss reaches with some seeds."""
    status, out = train("model=yolo11n-afpn.yaml epochs=1")
    assert status == 0, out
    first, second = ranks(tmp_path)
    assert first == second


def test_transferred_weights_stay_and_new_ones_learn_faster(train, tmp_path):
    yolo_attn.install()
    source = YOLO("yolo11n.yaml")
    source.save(tmp_path / "base.pt")
    status, out = train("model=yolo11n-ema.yaml pretrained=base.pt epochs=1 freeze=transferred lr0=0.1 optimizer=SGD")
    assert status == 0, out
    first, second = ranks(tmp_path)
    assert first == second
    assert len(re.findall("freeze=transferred: ", out)) == 1
    trained = layers(tmp_path / "runs/a/weights/last.pt")
    torch.testing.assert_close(trained[0].conv.weight, source.model.model[0].conv.weight.half().float())
    status, out = train("model=yolo11n-ema.yaml pretrained=base.pt epochs=1 new_lr_mult=5")
    assert status == 0, out
    first, second = ranks(tmp_path)
    assert first == second
    assert len(re.findall("new_lr_mult=5: ", out)) == 1


def test_resume(train, tmp_path):
    status, out = train("model=yolo11n-harm.yaml epochs=2", STOP_AFTER_EPOCH="1")
    assert status != 0, out
    last = tmp_path / "runs/a/weights/last.pt"
    assert not (tmp_path / "rank0.txt").exists()
    status, out = train("resume=True", command=f"yolo train model={last} device=0,1")
    assert status == 0, out
    first, second = ranks(tmp_path)
    assert first == second
    epochs = (tmp_path / "runs/a/results.csv").read_text().splitlines()[1:]
    assert [int(line.split(",")[0]) for line in epochs] == [1, 2]


def test_a_mistake_in_a_process_is_one_line(train, tmp_path):
    status, out = train("model=yolo11n-ema.yaml epochs=1 freeze=transferred")
    assert status == 2
    lines = [line for line in out.splitlines() if "no weights were loaded into this model" in line]
    assert len(lines) == 1
    assert lines[0].startswith("yolo: freeze=transferred: ")
    assert not re.search(r"^\[rank\d\]: Traceback", out, re.M)
    assert not list(Path(tmp_path).rglob("*.mistake"))
