"""The plain ``yolo`` command with our layers: train, resume, validate, predict, export, in two processes."""

import csv
import textwrap

import pytest
import torch
from support import run, tiny_data
from ultralytics import YOLO

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:`torch.jit.*deprecated")]
COMMAND = """
    import sys
    from ultralytics.cfg import entrypoint

    def yolo(*arguments):
        sys.argv[:] = ["yolo", *map(str, arguments)]
        entrypoint()
"""
RECIPE = ["data=DATA", "imgsz=64", "batch=6", "workers=0", "plots=False", "seed=0", "optimizer=AdamW"]
TRAIN = f"""
    yolo("train", "model=yolo11n-ema.yaml", "epochs=2", *{RECIPE}, "project=OUT", "name=whole")

    from ultralytics import YOLO

    def stop(trainer):
        if trainer.epoch == 0:
            raise KeyboardInterrupt

    model = YOLO("yolo11n-gsop.yaml")
    model.add_callback("on_model_save", stop)
    try:
        model.train(data="DATA", imgsz=64, batch=6, workers=0, plots=False, epochs=3, project="OUT", name="cut")
    except KeyboardInterrupt:
        print("stopped")
"""
USE = f"""
    assert "yolo_attn.blocks" not in sys.modules
    yolo("val", "model=OUT/whole/weights/best.pt", *{RECIPE[:4]})
    yolo("predict", "model=OUT/whole/weights/best.pt", "source=IMAGE", "imgsz=64", "project=OUT", "name=seen")
    yolo("export", "model=OUT/whole/weights/best.pt", "imgsz=64", "format=torchscript")
    yolo("train", "resume", "model=OUT/cut/weights/last.pt")
"""


def session(place, code):
    for name, path in {"OUT": "out", "IMAGE": "data/images/3.png", "DATA": "data/data.yaml"}.items():
        code = code.replace(name, str(place / path))
    return run(textwrap.dedent(COMMAND) + textwrap.dedent(code), place, YOLO_VERBOSE="1")


def epochs(folder):
    return [int(row["epoch"]) for row in csv.DictReader((folder / "results.csv").read_text().splitlines())]


def test_train_resume_validate_predict_export(tmp_path):
    tiny_data(tmp_path / "data", images=6)
    out = session(tmp_path, TRAIN)
    assert "yolo_attn.blocks.ema.EMA" in out
    assert "stopped" in out
    assert epochs(tmp_path / "out" / "whole") == [1, 2]
    assert epochs(tmp_path / "out" / "cut") == [1]
    out = session(tmp_path, USE)
    assert "all          6" in out
    assert (tmp_path / "out" / "seen" / "3.jpg").is_file()
    assert "Resuming training" in out
    assert epochs(tmp_path / "out" / "cut") == [1, 2, 3]
    weights = tmp_path / "out" / "whole" / "weights"
    model = YOLO(weights / "best.pt").model.eval()
    assert [type(m).__name__ for m in model.model].count("EMA") == 3
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = model.fuse()(x)[0]
    found = torch.jit.load(weights / "best.torchscript")(x)
    found = found[0] if isinstance(found, (tuple, list)) else found
    assert float((found - expected).abs().max()) < 1e-3
