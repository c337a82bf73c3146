"""``yolo-attn transfer``: an ordinary checkpoint that knows what in it is new; mistakes: one line, nothing written."""

import re

import pytest
import torch
from hand_made import inserted, shipped, write
from support import tiny_data
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel

import yolo_attn
from yolo_attn.cli.main import main
from yolo_attn.errors import CheckpointError, LayerError
from yolo_attn.integration.weights import weight_sources

yolo_attn.install()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with yolo11n.pt of three classes, half precision, and yolov8n.pt."""
    folder = tmp_path_factory.mktemp("transfer")
    model = YOLO("yolo11n.yaml")
    model.model = DetectionModel("yolo11n.yaml", nc=3, verbose=False)
    model.model.names = {0: "cat", 1: "dog", 2: "cow"}
    model.save(folder / "yolo11n.pt")
    YOLO("yolov8n.yaml").save(folder / "yolov8n.pt")
    tiny_data(folder / "data", images=4)
    (folder / "text.pt").write_text("no checkpoint")
    torch.save({"model": torch.nn.Linear(2, 2)}, folder / "linear.pt")
    torch.save({"weights": 3}, folder / "dict.pt")
    write(folder, "yolo11n-double.yaml", inserted(shipped(), 6, [-1, 2, "C3k2", [512, True]], {13: [-1, 7]}))
    (folder / "broken.yaml").write_text("backbone: 3\n")
    return folder


@pytest.fixture
def inside(place, monkeypatch):
    monkeypatch.chdir(place)
    before = set(place.rglob("*"))
    yield place
    for file in set(place.rglob("*")) - before:
        if file.is_file():
            file.unlink()


def test_the_checkpoint(inside, capsys):
    assert main(["transfer", "yolo11n.pt", "yolo11n-ema.yaml", "--output", "out.pt"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "transferred 499/499 tensors of the source (100 %); new: 18 tensors in layers 17, 21, 25 (EMA)",
        "Written: out.pt",
    ]
    model = YOLO("out.pt")
    assert model.names == {0: "cat", 1: "dog", 2: "cow"}
    assert (model.task, type(model.model.model[17]).__name__, model.model.model[-1].nc) == ("detect", "EMA", 3)
    assert len(model.predict(torch.rand(1, 3, 64, 64), verbose=False)) == 1
    saved = torch.load("out.pt", weights_only=False)
    assert next(saved["model"].parameters()).dtype == torch.float16
    known = weight_sources.of(model.model)
    assert known["source"] == "yolo11n.pt"
    assert len(known["new"]) == 18
    found = YOLO("out.pt").model.state_dict()
    for name, tensor in YOLO("yolo11n.pt").model.state_dict().items():
        assert torch.equal(found[weight_sources.renamed(name, known["layers"])], tensor)
    assert not list(inside.glob(".*"))


@pytest.mark.slow
def test_training_from_it_knows_what_is_new(inside):
    assert main(["transfer", "yolo11n.pt", "yolo11n-ema.yaml", "-o", "start.pt"]) == 0
    model = YOLO("start.pt")
    options = {"imgsz": 64, "batch": 2, "workers": 0, "device": "cpu", "plots": False, "verbose": False, "val": False}
    model.train(data="data/data.yaml", epochs=1, freeze="transferred", project=str(inside / "runs"), **options)
    frozen = model.trainer.args.freeze
    assert {"0", "10", "16", "24", "26.cv2"} <= set(frozen)
    assert not {"17", "21", "25", "26"} & set(frozen)
    assert weight_sources.of(model.trainer.model)["source"] == "yolo11n.pt"


def test_full_precision_stays(inside):
    model = DetectionModel("yolo11n.yaml", verbose=False)
    torch.save({"model": model, "train_args": {"imgsz": 96}}, "full.pt")
    assert main(["transfer", "full.pt", "yolo11n-ema.yaml", "-o", "full-ema.pt"]) == 0
    saved = torch.load("full-ema.pt", weights_only=False)["model"]
    assert torch.equal(saved.state_dict()["model.24.cv1.conv.weight"], model.state_dict()["model.22.cv1.conv.weight"])
    assert YOLO("full-ema.pt").overrides["imgsz"] == 96


def test_given_pairs_partial_and_force(inside, capsys):
    assert main(["transfer", "yolo11n.pt", "yolo11n-double.yaml", "-o", "double.pt", "--map", "6=7"]) == 0
    assert "new: 54 tensors in layer 6 (C3k2)" in capsys.readouterr().out
    assert main(["transfer", "yolov8n.pt", "yolo11n-ema.yaml", "-o", "partial.pt", "--partial"]) == 0
    assert "transferred 221/355" in capsys.readouterr().out
    assert main(["transfer", "yolo11n.pt", "yolo11s-ema.yaml", "-o", "partial.pt", "--force", "--partial"]) == 0
    assert YOLO("partial.pt").names == {0: "cat", 1: "dog", 2: "cow"}


def test_from_python(inside):
    line = yolo_attn.transfer("yolo11n.pt", "yolo11n-double.yaml", "python.pt", layers={6: 6})
    assert line.endswith("new: 54 tensors in layer 7 (C3k2)")
    assert (inside / "python.pt").is_file()


def test_load_from_python(inside):
    found = yolo_attn.load("yolo11n-ema.yaml", "yolo11n.pt", partial=True)
    assert weight_sources.of(found.model)["source"] == "yolo11n.pt"
    assert yolo_attn.load(found, "yolo11n.pt") is found
    pinned = yolo_attn.load("yolo11n-double.yaml", YOLO("yolo11n.pt"), layers={6: 7})
    assert weight_sources.of(pinned.model)["layers"][6] == 7
    with pytest.raises(CheckpointError, match=r"'nowhere\.pt'"):
        yolo_attn.load(found, "nowhere.pt")
    with pytest.raises(CheckpointError, match=r"source layer 6 .* 6 or 7"):
        yolo_attn.load("yolo11n-double.yaml", "yolo11n.pt")
    with pytest.raises(LayerError, match=r"'nowhere\.yaml'"):
        yolo_attn.load("nowhere.yaml", "yolo11n.pt")


ORDER = ["yolo11n.pt", "yolo11n-ema.yaml", "-o", "new.pt"]


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (["nowhere.pt", *ORDER[1:]], "'nowhere.pt'"),
        (["text.pt", *ORDER[1:]], "text.pt "),
        (["dict.pt", *ORDER[1:]], "dict.pt "),
        (["linear.pt", *ORDER[1:]], "linear.pt "),
        (["broken.yaml", *ORDER[1:]], "broken.yaml: .*.pt"),
        (["yolo11n.pt", "yolo11n-emma.yaml", "-o", "new.pt"], "'yolo11n-ema.yaml'"),
        (["yolo11n.pt", "broken.yaml", "-o", "new.pt"], "broken.yaml: "),
        (["yolo11n.pt", "yolov8n.pt", "-o", "new.pt"], "'yolov8n.pt'"),
        (["yolov8n.pt", *ORDER[1:]], r"101 of 355 tensors \(28 %\).* yolo11n-ema.yaml.*--partial"),
        (["yolov8n.pt", "yolo11n.yaml", "-o", "new.pt"], " of 355 tensors"),
        (["yolo11n.pt", "yolo11n-double.yaml", "-o", "new.pt"], r"source layer 6 \(C3k2\) could be layer 6 or 7;"),
        ([*ORDER, "--map", "6"], "map=6 .*6=7,8=10"),
        ([*ORDER, "--map", "6=99"], "yolo11n.pt: 6=99: .*0 to 26"),
        ([*ORDER[:3], "yolov8n.pt"], "'yolov8n.pt'.*--force"),
        ([*ORDER[:3], "new.onnx"], "'new.onnx'.*.pt"),
        ([*ORDER[:3], "nowhere/new.pt"], "'nowhere'"),
    ],
)
def test_mistakes(given, match, inside, capsys):
    before = sorted(inside.rglob("*"))
    assert main(["transfer", *given]) == 2
    err = capsys.readouterr().err
    assert sorted(inside.rglob("*")) == before
    (line,) = (line for line in err.splitlines() if line.startswith("yolo-attn:"))
    assert re.search(match, line)
    assert "Traceback" not in err
