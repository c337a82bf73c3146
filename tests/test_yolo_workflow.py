"""The plain ``yolo`` command with our layers: train, resume, validate, predict, export, in two processes."""

import csv
import textwrap

import pytest
import torch
import yaml
from support import run
from ultralytics import YOLO

from yolo_attn.data.digits import NAMES, DigitsParameters, generate

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:`torch.jit.*deprecated")]
COMMAND = """
    import sys
    from ultralytics.cfg import entrypoint

    def yolo(*arguments):
        sys.argv[:] = ["yolo", *map(str, arguments)]
        entrypoint()
"""
RECIPE = ["data=small.yaml", "imgsz=64", "batch=6", "workers=0", "plots=False", "seed=0", "optimizer=AdamW"]
TRAIN = f"""
    yolo("train", "model=yolo11n-ema.yaml", "epochs=2", *{RECIPE}, "project=OUT", "name=whole")

    from ultralytics import YOLO

    def stop(trainer):
        if trainer.epoch == 0:
            raise KeyboardInterrupt

    model = YOLO("yolo11n-gsop.yaml")
    model.add_callback("on_model_save", stop)
    try:
        model.train(data="small.yaml", imgsz=64, batch=6, workers=0, plots=False, epochs=3, project="OUT", name="cut")
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


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working folder with a small data set of digits, a training and one that was stopped after its first epoch."""
    folder = tmp_path_factory.mktemp("workflow")
    small = DigitsParameters(size=64, images={"train": 12, "val": 6, "test": 6}, objects=(1, 2), object_size=(16, 40))
    data = generate(folder / "digits-small", small, progress=False)
    names = dict(enumerate(NAMES))
    content = {"path": str(data), "train": "images/train", "val": "images/val", "test": "images/test", "names": names}
    (folder / "small.yaml").write_text(yaml.safe_dump(content))
    return folder


def session(place, code):
    image = next((place / "digits-small" / "images" / "test").iterdir())
    code = textwrap.dedent(COMMAND) + textwrap.dedent(code).replace("OUT", str(place / "out")).replace(
        "IMAGE", str(image)
    )
    return run(code, place, YOLO_VERBOSE="1"), image.stem


def epochs(folder):
    return [int(row["epoch"]) for row in csv.DictReader((folder / "results.csv").read_text().splitlines())]


def test_train_resume_validate_predict_export(place):
    out, _ = session(place, TRAIN)
    assert "yolo_attn.blocks.ema.EMA" in out
    assert "stopped" in out
    assert epochs(place / "out" / "whole") == [1, 2]
    assert epochs(place / "out" / "cut") == [1]
    out, image = session(place, USE)
    assert "all          6" in out
    assert (place / "out" / "seen" / f"{image}.jpg").is_file()
    assert "Resuming training" in out
    assert epochs(place / "out" / "cut") == [1, 2, 3]
    weights = place / "out" / "whole" / "weights"
    model = YOLO(weights / "best.pt").model.eval()
    assert [type(m).__name__ for m in model.model].count("EMA") == 3
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = model.fuse()(x)[0]
    found = torch.jit.load(weights / "best.torchscript")(x)
    found = found[0] if isinstance(found, (tuple, list)) else found
    assert float((found - expected).abs().max()) < 1e-3
