"""``freeze``: the values that we add and the source's layer numbers, resolved and in trainings."""

import copy
import re
import zipfile
from types import SimpleNamespace

import pytest
import torch
from hand_made import inserted, shipped, write
from support import tiny_data
from torch import nn
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel

import yolo_attn
from yolo_attn.cli.main import main
from yolo_attn.errors import ArgumentError
from yolo_attn.integration.queries import training_arguments
from yolo_attn.integration.weights import freezing, loading, weight_sources

yolo_attn.install()
OPTIONS = {
    "imgsz": 64, "batch": 2, "nbs": 2, "workers": 0, "device": "cpu", "plots": False, "verbose": False, "val": False,
    "warmup_epochs": 0, "lr0": 0.01, "optimizer": "AdamW", "seed": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def source():
    return DetectionModel("yolo11n.yaml", verbose=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory, source):
    """A folder with data of two classes and the source as a file."""
    folder = tmp_path_factory.mktemp("freeze")
    tiny_data(folder / "data", images=4)
    model = YOLO("yolo11n.yaml")
    model.model.load_state_dict(source.state_dict())
    model.save(folder / "yolo11n.pt")
    return folder


def trainer_of(model, freeze):
    return SimpleNamespace(model=model, args=SimpleNamespace(freeze=freeze))


def resolved(model, freeze):
    trainer = trainer_of(model, freeze)
    said = freezing.resolve(trainer)
    return trainer.args.freeze, said


def loaded(source, name="yolo11n-ema.yaml", **arguments):
    model = DetectionModel(name, verbose=False, **arguments)
    loading.load_quietly(model, source)
    return model


def own_file(tmp_path):
    """The stock model with EMA attention as layer 5."""
    return write(tmp_path, "yolo11n-own.yaml", inserted(shipped(), 4, [-1, 1, "EMA", [{"factor": 8}]]))


def test_transferred(source):
    names, said = resolved(loaded(source), "transferred")
    assert names == [str(k) for k in (*range(11), 13, 16, 18, 20, 22, 24, 26)]
    assert said == "freeze=transferred: layers 0 to 10, 13, 16, 18, 20, 22, 24, 26 frozen"


def test_transferred_with_other_classes(source):
    model = loaded(source, nc=3)
    names, said = resolved(model, "transferred")
    assert "26.cv2" in names
    assert "26" not in names
    frozen = tuple(f"model.{n}." for n in names)
    still = {n for n, _ in model.named_parameters() if not n.startswith(frozen)}
    assert still == set(weight_sources.of(model)["new"])
    assert said.endswith("24 and parts of layer 26 frozen")


def test_backbone(source, tmp_path):
    assert resolved(DetectionModel("yolo11n-ema.yaml", verbose=False), "backbone")[0] == [str(k) for k in range(11)]
    assert resolved(loaded(source, own_file(tmp_path)), "backbone")[0] == [str(k) for k in range(12) if k != 5]


def test_numbers_are_those_of_the_source(source, tmp_path):
    model = loaded(source, own_file(tmp_path))
    names, said = resolved(model, 10)
    assert names == ["0", "1", "2", "3", "4", "6", "7", "8", "9", "10"]
    assert said == "freeze=10 counts the layers of yolo11n.yaml: layers 0 to 4, 6 to 10 frozen here"
    assert resolved(model, [0, 5, "24.cv2"])[0] == ["0", "6", "24.cv2"]
    assert resolved(model, (4, 5))[0] == ["4", "6"]
    own = DetectionModel("yolo11n-ema.yaml", verbose=False)
    assert resolved(loaded(own, "yolo11n.yaml"), [16, 17, 18])[0] == ["16", "17"]  # its 17 is attention, removed here


def test_numbers_that_are_left_to_ultralytics(source, tmp_path):
    model = loaded(source, own_file(tmp_path))
    same = loaded(source, "yolo11n.yaml")
    new = DetectionModel("yolo11n-ema.yaml", verbose=False)
    back = loaded(model, "yolo11n.yaml")  # the first source's numbers
    for target, *values in (model, ["0", "26.cv2"], None, [], 0), (same, 10, [1, 2], 99), (new, 10, [1, 2]), (back, 7):
        for given in values:
            assert resolved(target, given) == (given, None)


def test_errors(source):
    model = loaded(source)
    own = DetectionModel("yolo11n-ema.yaml", verbose=False)
    rootless = copy.deepcopy(own)
    rootless.yaml = {}
    foreign = loaded(source)
    everything = [n for n, _ in foreign.named_parameters()]
    setattr(foreign, weight_sources.ATTRIBUTE, {**weight_sources.of(foreign), "new": everything})
    for target, given, match in (
        (model, "transfered", "freeze=transfered .*'transferred'"),
        (model, 25, "freeze=25: yolo11n.yaml .* 24; .* 0 to 23"),
        (model, [3, 99], r"freeze=\[3, 99\]: yolo11n.yaml .* 99; .* 0 to 23"),
        (own, "transferred", "freeze=transferred: .*pretrained="),
        (loaded(source, "yolo11n.yaml"), "transferred", "freeze=transferred: every layer"),
        (rootless, "backbone", "freeze=backbone: .*model YAML"),
        (foreign, "transferred", "freeze=transferred: .*this model .*yolo11n.yaml"),
        (foreign, "backbone", "freeze=backbone: .*the backbone .*yolo11n.yaml"),
    ):
        with pytest.raises(ArgumentError, match=match):
            resolved(target, given)
    with pytest.raises(ArgumentError, match="freeze=neck"):
        training_arguments.check_freeze("neck")


def test_single_parameters_beside_new_children():
    """A layer whose own parameter came over while a part of it is new: no prefix names the parameter alone."""

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.gamma = nn.Parameter(torch.ones(4))
            self.old, self.new = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
            self.norm = nn.BatchNorm2d(4)

    model = nn.Module()
    model.model = nn.Sequential(Own(), nn.Conv2d(4, 4, 1))
    new = ["model.0.new.weight", "model.0.new.bias", "model.1.bias"]
    setattr(model, weight_sources.ATTRIBUTE, {"new": new, "source": "x.pt", "source_layers": 2, "layers": {0: 0, 1: 1}})
    trainer = trainer_of(model, "transferred")
    freezing.resolve(trainer)
    assert trainer.args.freeze == ["0.old"]  # the norm stays with what it normalizes
    freezing.freeze_single_parameters(trainer, model)
    still = {n for n, p in model.named_parameters() if not p.requires_grad}
    assert still == {"model.0.gamma", "model.1.weight"}


# In a real training


def train(model, place, **arguments):
    """Train an epoch; return the trainer, the state after it, and the names of the tensors that changed."""
    states = []
    for event in "on_train_start", "on_train_epoch_end":
        model.add_callback(event, lambda t: states.append(copy.deepcopy(t.model.state_dict())))
    model.train(data=str(place / "data" / "data.yaml"), epochs=1, project=str(place / "runs"), **OPTIONS, **arguments)
    before, after = states
    return model.trainer, after, {k for k in after if not torch.equal(before[k], after[k])}


@pytest.mark.slow
@pytest.mark.parametrize("way", ["pretrained", "load"])
def test_only_what_is_new_is_trained(way, place):
    model = YOLO("yolo11n-ema.yaml")
    arguments = {"pretrained": str(place / "yolo11n.pt")} if way == "pretrained" else {}
    if way == "load":
        model.load(place / "yolo11n.pt")
    trainer, after, changed = train(model, place, freeze="transferred", **arguments)
    new = set(weight_sources.of(trainer.model)["new"])
    assert changed <= {n for n in after if n in new or n.startswith(tuple(norms_of(new)))}
    attention = {n for n in new if n.split(".")[1] in ("17", "21", "25")}
    assert len(attention) == 18
    assert len(changed & attention) > 9
    statistics = [k for k in after if "running" in k and not k.startswith(tuple(norms_of(new)))]
    assert len(statistics) > 150
    assert changed.isdisjoint(statistics)
    source = YOLO(place / "yolo11n.pt").model.state_dict()
    assert torch.equal(after["model.24.cv1.conv.weight"], source["model.22.cv1.conv.weight"].float())
    known = model.ckpt[weight_sources.ATTRIBUTE]
    assert known["source"] == "yolo11n.pt"
    assert known["trained"]
    assert not hasattr(model.model, weight_sources.ATTRIBUTE)


def norms_of(new):
    """Statistics move with the new parameters of their norm, or of the norm after a new convolution."""
    return {n.rpartition(".")[0] for n in new} | {n.rpartition(".conv.")[0] + ".bn" for n in new if ".conv." in n}


@pytest.mark.slow
def test_numbers_in_a_training(place, tmp_path):
    trainer, _, changed = train(YOLO(own_file(tmp_path)), place, freeze=6, pretrained=str(place / "yolo11n.pt"))
    layers = {int(k.split(".")[1]) for k in changed}
    assert not layers & {0, 1, 2, 3, 4, 6}
    assert {5, 7, 8} <= layers
    assert trainer.args.freeze == ["0", "1", "2", "3", "4", "6"]
    assert "freeze: 6\n" in (trainer.save_dir / "args.yaml").read_text()


def test_a_mistake_leaves_no_folder(place, capsys):
    data = str(place / "data" / "data.yaml")
    runs = place / "refused"
    for arguments, match in (
        ({"freeze": "transferred"}, "freeze=transferred: .*pretrained="),
        ({"freeze": "tranferred"}, "'transferred'"),
        ({"new_lr_mult": 3}, "new_lr_mult=3: .*pretrained="),
        ({"new_lr_mult": 0}, "new_lr_mult=0 .* 0,"),
    ):
        with pytest.raises(ArgumentError, match=match):
            YOLO("yolo11n-ema.yaml").train(data=data, epochs=1, project=str(runs), **OPTIONS, **arguments)
        assert not list(runs.glob("*"))
    YOLO("yolov8n.yaml").save(place / "yolov8n.pt")
    given = [f"pretrained={place / 'yolov8n.pt'}", f"data={data}", f"project={runs}", "epochs=1", "device=cpu"]
    assert main(["train", "model=yolo11n-ema.yaml", *given, "plots=False"]) == 2
    assert re.search(r"yolov8n.pt: .* 3\d\d .* yolo11n-ema.yaml", capsys.readouterr().err)
    assert not list(runs.glob("*"))


@pytest.mark.slow
def test_a_stock_model_freezes_by_word_and_its_checkpoint_holds_nothing_of_ours(place):
    weights = str(place / "yolo11n.pt")
    trainer, _, changed = train(YOLO("yolo11n.yaml"), place, freeze="transferred", pretrained=weights)
    assert changed
    assert all(k.startswith("model.23.cv3.") for k in changed)
    with zipfile.ZipFile(trainer.best) as archive:
        assert b"yolo_attn" not in archive.read(next(n for n in archive.namelist() if n.endswith("data.pkl")))
