"""``new_lr_mult``: the groups of every optimizer; its values. Warm-up and resume: ``test_pretrained_versions.py``."""

import re
import sys

import pytest
import torch
from support import tiny_data
from torch import nn
from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import DEFAULT_CFG_DICT, SETTINGS

import yolo_attn
from yolo_attn.cli.main import main
from yolo_attn.errors import ArgumentError
from yolo_attn.integration.queries import training_arguments, yolo_command
from yolo_attn.integration.weights import learning_rates, weight_sources

yolo_attn.install()
MUON = hasattr(sys.modules["ultralytics.engine.trainer"], "MuSGD")
OPTIMIZERS = ["SGD", "AdamW", "RMSProp", "auto", *(["MuSGD"] if MUON else [])]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rates")
    tiny_data(folder / "data", images=6)
    YOLO("yolo11n.yaml").save(folder / "yolo11n.pt")
    return folder


@pytest.fixture(scope="module")
def model():
    source = DetectionModel("yolo11n.yaml", verbose=False)
    target = DetectionModel("yolo11n-ema.yaml", nc=3, verbose=False)
    target.load(source, verbose=False)
    return target


def trainer(place, **arguments):
    arguments = {"model": "yolo11n-ema.yaml", "data": str(place / "data" / "data.yaml"), "device": "cpu", **arguments}
    made = DetectionTrainer(overrides={**arguments, "project": str(place / "made"), "plots": False})
    made.data["nc"] = 3
    return made


def groups(optimizer):
    """Each parameter's group: learning rate and everything else of it."""
    return {
        id(p): (g["lr"], {k: v for k, v in g.items() if k not in ("params", "lr")})
        for g in optimizer.param_groups
        for p in g["params"]
    }


@pytest.mark.parametrize("iterations", [100, 20000])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_groups(name, iterations, place, model):
    plain = groups(trainer(place).build_optimizer(model, name=name, iterations=iterations))
    made = trainer(place, new_lr_mult=10).build_optimizer(model, name=name, iterations=iterations)
    ours = groups(made)
    new = set(weight_sources.of(model)["new"])
    assert len(new) > 18
    for key, p in model.named_parameters():
        assert ours[id(p)][0] == pytest.approx(plain[id(p)][0] * (10 if key in new else 1))
        assert ours[id(p)][1] == plain[id(p)][1]
    assert len(ours) == len(plain) == len(list(model.parameters()))
    assert sum(len(g["params"]) for g in made.param_groups) == len(ours)


def test_the_first_groups_stay_where_they_are(place, model):
    """Early versions know the biases by the group's place."""
    plain = trainer(place).build_optimizer(model, name="SGD").param_groups
    ours = trainer(place, new_lr_mult=10).build_optimizer(model, name="SGD").param_groups
    assert len(ours) == 2 * len(plain)
    for old, rest, new in zip(plain, ours, ours[len(plain) :], strict=False):
        assert {id(p) for p in old["params"]} == {id(p) for p in (*rest["params"], *new["params"])}


def test_off_by_default(place, model):
    assert not hasattr(trainer(place).args, "new_lr_mult")
    assert "new_lr_mult" not in (trainer(place).save_dir / "args.yaml").read_text()
    assert "new_lr_mult: 10" in (trainer(place, new_lr_mult=10).save_dir / "args.yaml").read_text()


@pytest.mark.parametrize("value", [0, -1, "many", True, float("inf"), float("nan"), [3]])
def test_values(value, place):
    with pytest.raises(ArgumentError, match=r"new_lr_mult=.* 0,"):
        trainer(place, new_lr_mult=value)
    with pytest.raises(ArgumentError, match=r"new_lr_mult=.* 0,"):
        yolo_command.check_arguments({"new_lr_mult": value})


def test_needs_a_source(place):
    made = trainer(place, new_lr_mult=10)
    with pytest.raises(ArgumentError, match=r"new_lr_mult=10: .*pretrained="):
        made.setup_model()
    assert not made.save_dir.exists()


def test_only_a_training_takes_it(place, capsys):
    yolo_command.check_arguments({"new_lr_mult": 10, "partial": True, "freeze": "backbone"})
    assert not {"new_lr_mult", "partial"} & {*DEFAULT_CFG_DICT}
    with pytest.raises(ArgumentError, match="partial=maybe"):
        training_arguments.check_values({"partial": "maybe"})
    assert main(["val", "model=yolo11n-ema.yaml", "new_lr_mult=10"]) == 2
    assert re.search(r"'(\x1b\[\d+m)*new_lr_mult(\x1b\[\d+m)*'", capsys.readouterr().err)
    assert main(["train", "model=yolo11n-ema.yaml", "new_lr_mul=10"]) == 2
    assert "'--new_lr_mult'" in capsys.readouterr().err
    with pytest.raises((KeyError, SyntaxError)):
        SETTINGS.update({"new_lr_mult": 10})


def test_wrapped_models(model, place):
    """Multi-GPU training and compilation wrap the model before the optimizer is made."""

    class Wrapper(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    made = trainer(place, new_lr_mult=5)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    said = learning_rates.split(made, Wrapper(model), optimizer)
    new = weight_sources.of(model)["new"]
    assert said.startswith(f"new_lr_mult=5: {len(new)} ")
    assert [(g["lr"], len(g["params"])) for g in optimizer.param_groups][1] == (5.0, len(new))
    names = new[:3], ["model.0.conv.weight"]
    optimizer = torch.optim.SGD([{"params": [model.get_parameter(n) for n in group]} for group in names], lr=0.5)
    learning_rates.split(made, model, optimizer)  # a group of new ones only
    assert [(g["lr"], len(g["params"])) for g in optimizer.param_groups] == [(2.5, 3), (0.5, 1)]


INFINITE = float("inf")
WRONG_NUMBERS = [
    ("batch", 0),
    ("batch", -2),
    ("batch", 2.5),
    ("workers", -1),
    ("imgsz", 0),
    ("imgsz", -32),
    ("imgsz", "large"),
]
WRONG_NUMBERS += [("imgsz", [64, 0]), ("box", INFINITE), ("batch", INFINITE), ("warmup_epochs", float("nan"))]


@pytest.mark.fast
@pytest.mark.parametrize(("name", "value"), WRONG_NUMBERS)
def test_values_that_no_training_can_use(name, value):
    with pytest.raises(ValueError, match=f"{name}={re.escape(str(value))} "):
        yolo_command.check_arguments({name: value})


@pytest.mark.fast
@pytest.mark.parametrize("batch", [-1, 0.7, 1, 16])
def test_batches_of_every_kind(batch):
    yolo_command.check_arguments({"batch": batch, "workers": 0})
