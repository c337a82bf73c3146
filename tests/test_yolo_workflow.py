"""The plain ``yolo`` command with our layers: train, resume, validate, predict, export, and load in a fresh process."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from yolo_attn.data.digits import NAMES, DigitsParameters, generate

pytestmark = pytest.mark.slow
ENV = {**os.environ, "YOLO_VERBOSE": "1"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working folder with a small data set of digits."""
    folder = tmp_path_factory.mktemp("workflow")
    small = DigitsParameters(size=64, images={"train": 12, "val": 6, "test": 6}, objects=(1, 2), object_size=(16, 40))
    data = generate(folder / "digits-small", small, progress=False)
    names = dict(enumerate(NAMES))
    content = {"path": str(data), "train": "images/train", "val": "images/val", "test": "images/test", "names": names}
    (folder / "small.yaml").write_text(yaml.safe_dump(content))
    return folder


def yolo(place, *words):
    command = shutil.which("yolo", path=str(Path(sys.executable).parent)) or "yolo"
    done = subprocess.run([command, *words], cwd=place, env=ENV, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def trained(place):
    words = ["data=small.yaml", "imgsz=64", "batch=6", "workers=0", "plots=False", "seed=0", "optimizer=AdamW"]
    said = yolo(place, "train", "model=yolo11n-ema.yaml", "epochs=2", *words, f"project={place / 'out'}", "name=whole")
    assert "yolo_attn.blocks.ema.EMA" in said
    return next(place.rglob("whole/weights"))


def test_train_leaves_checkpoints_and_figures(trained):
    assert (trained / "best.pt").is_file()
    rows = list(csv.DictReader((trained.parent / "results.csv").read_text().splitlines()))
    assert len(rows) == 2


def test_validate_and_predict(place, trained):
    said = yolo(place, "val", f"model={trained / 'best.pt'}", "data=small.yaml", "imgsz=64", "batch=6", "workers=0")
    assert "all          6" in said
    image = next((place / "digits-small" / "images" / "test").iterdir())
    yolo(
        place,
        "predict",
        f"model={trained / 'best.pt'}",
        f"source={image}",
        "imgsz=64",
        f"project={place / 'out'}",
        "name=seen",
    )
    assert list(place.rglob(f"seen/{image.stem}.jpg"))


def test_resume_goes_on_from_the_last_epoch(place, trained):
    """Stopped after the first of three epochs by a callback, then resumed by the plain command."""
    stop = f"""
import sys
from ultralytics import YOLO

def stop(trainer):
    if trainer.epoch == 0:
        sys.exit(7)

model = YOLO("yolo11n-gsop.yaml")
model.add_callback("on_model_save", stop)
words = dict(imgsz=64, batch=6, workers=0, plots=False, epochs=3, project=r"{place / "out"}", name="cut")
model.train(data="small.yaml", **words)
"""
    done = subprocess.run([sys.executable, "-c", stop], cwd=place, env=ENV, capture_output=True, text=True)
    assert done.returncode == 7, done.stderr[-3000:]
    last = next(place.rglob("cut/weights/last.pt"))
    said = yolo(place, "train", "resume", f"model={last}")
    assert "Resuming training" in said
    rows = list(csv.DictReader((last.parents[1] / "results.csv").read_text().splitlines()))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]


def test_a_fresh_interpreter_loads_the_checkpoint(place, trained):
    code = f"""
import sys
assert "torch" not in sys.modules and "ultralytics" not in sys.modules
from ultralytics import YOLO
model = YOLO(r"{trained / "best.pt"}")
print([type(m).__name__ for m in model.model.model].count("EMA"))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "3"


def test_export_gives_the_same_boxes(place, trained):
    """TorchScript, which needs no further package, against PyTorch."""
    yolo(place, "export", f"model={trained / 'best.pt'}", "imgsz=64", "format=torchscript")
    code = f"""
import torch
from ultralytics import YOLO
model = YOLO(r"{trained / "best.pt"}").model.eval()
script = torch.jit.load(r"{trained / "best.torchscript"}")
x = torch.rand(1, 3, 64, 64)
with torch.no_grad():
    want = model.fuse()(x)[0]
got = script(x)
got = got[0] if isinstance(got, (tuple, list)) else got
print(float((got - want).abs().max()))
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert float(done.stdout.strip().splitlines()[-1]) < 1e-3
