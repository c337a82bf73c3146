"""Pretrained weights in trainings of every supported version of Ultralytics: in one process, resumed, and multi-GPU."""

from pathlib import Path

import pytest
from support import TRAIN, gate_module, model_yaml, run_file, tiny_data
from test_ultralytics_versions import last_lines, version  # noqa: F401  a fixture

ARGUMENTS = {
    "data": "data/data.yaml", "epochs": 3, "imgsz": 64, "batch": 2, "nbs": 2, "workers": 0, "device": "cpu",
    "plots": False, "optimizer": "SGD", "lr0": 0.01, "warmup_epochs": 1, "warmup_bias_lr": 0.0, "lrf": 0.1,
    "name": "cut", "new_lr_mult": 10, "freeze": 3, "val": False,
}  # fmt: skip
SAVE = """
import pathlib, torch
from ultralytics.nn.tasks import DetectionModel
if not pathlib.Path("yolo11n.pt").exists():
    torch.save({"model": DetectionModel("yolo11n.yaml", verbose=False), "train_args": {}, "date": None}, "yolo11n.pt")
"""
SCRIPT = """
import sys
import yolo_attn
yolo_attn.install()
from ultralytics import YOLO
from yolo_attn.integration.weights import weight_sources

rates = []

def start(trainer):
    new = set(weight_sources.of(trainer.model)["new"])
    ids = {id(p) for n, p in trainer.model.named_parameters() if n in new}
    groups = [g["params"] for g in trainer.optimizer.param_groups]
    trainer.marked = [bool(g) and all(id(p) in ids for p in g) for g in groups]
    print("= groups", len(groups), sum(trainer.marked), len(new), trainer.args.new_lr_mult, trainer.args.freeze)

def batch(trainer):
    groups = zip(trainer.optimizer.param_groups, trainer.marked)
    rates.append([(g["lr"], marked) for g, marked in groups if g["params"]])

def epoch(trainer):
    for found in rates:
        old, new = ({float(f"{r:.8f}") for r, marked in found if marked is which} for which in (False, True))
        print("= rates", *old, *new)
    rates.clear()

def save(trainer):
    if STOP and trainer.epoch == 0:
        sys.exit(7)

model = YOLO(MODEL)
for event, function in {
    "on_train_start": start, "on_train_batch_end": batch, "on_train_epoch_end": epoch, "on_model_save": save
}.items():
    model.add_callback(event, function)
model.train(**ARGUMENTS)
"""
DDP = f"""
import my_layers, yolo_attn
yolo_attn.install()
from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import dist

if __name__ == "__main__":
    arguments = dict(model="yolo11n-own.yaml", pretrained="yolo11n.pt", freeze="transferred", new_lr_mult=3, {TRAIN})
    trainer = DetectionTrainer(overrides=dict(arguments, project=PROJECT, name="ddp"))
    model = YOLO(arguments["model"]).load("yolo11n.pt").model
    trainer.model = trainer.get_model(weights=model, cfg=model.yaml)  # as YOLO.train
    trainer.hub_session = None  # earlier versions: set by YOLO.train
    print("=", dist.generate_ddp_file(trainer))
"""


@pytest.fixture
def place(version, tmp_path):  # noqa: F811
    """A folder with data and a stock checkpoint, and a way to run code in it with that version."""
    tiny_data(tmp_path / "data", images=6)

    def run(code, status=0):
        (tmp_path / "script.py").write_text(SAVE + code)
        done = run_file(["script.py"], tmp_path, **{**version[1], "YOLO_VERBOSE": "true"})
        assert done.returncode == status, done.stderr[-4000:]
        return done.stdout + done.stderr, last_lines(done.stdout)

    return tmp_path, run


def script(stop, model, arguments):
    return SCRIPT.replace("STOP", str(stop)).replace("MODEL", repr(model)).replace("ARGUMENTS", repr(arguments))


@pytest.mark.slow
def test_warm_up_schedule_and_resume(place):
    folder, run = place
    arguments = {**ARGUMENTS, "pretrained": "yolo11n.pt", "project": str(folder / "runs")}
    out, first = run(script(True, "yolo11n-ema.yaml", arguments), status=7)
    assert "transferred " in out
    assert "in the class branch of layer " in out
    assert "(80 classes there, 2 here)" in out
    assert "new parameters learn at 10 times the learning rate of the others" in out
    last = next(folder.rglob("cut/weights/last.pt"))
    out, second = run(script(False, str(last), {"resume": True, "device": "cpu"}))
    assert "Resuming training" in out
    assert second[0] == first[0]  # the same groups, the same new parameters
    assert first[0].endswith(" 10 ['0', '1', '2']")
    assert (len(first), len(second)) == (1 + 3, 1 + 6)
    rates = [tuple(map(float, line.split()[1:])) for line in first[1:] + second[1:]]
    assert len({old for old, _ in rates}) > 3
    for old, new in rates:
        assert new == pytest.approx(10 * old, abs=1e-6)


@pytest.mark.slow
def test_the_file_of_multi_gpu_training(place, version):  # noqa: F811
    """It imports the user's layers; arguments and weights arrive."""
    (folder, run), (_, env) = place, version
    gate_module(folder)
    model_yaml(folder, "EMA, []", "Gate, [{reduction: 8}]")
    _, (file,) = run(DDP.replace("PROJECT", repr(str(folder / "runs"))))
    assert Path(file).is_relative_to(env["YOLO_CONFIG_DIR"])
    done = run_file([file], folder, **{**env, "YOLO_VERBOSE": "true"})
    out = done.stdout + done.stderr
    assert not done.returncode, out
    assert "freeze=transferred: layers 0 to 10, 13, 16, 18, 20, 22, 24 and parts of layer 26 frozen" in out
    assert "new parameters learn at 3 times the learning rate" in out
    (checkpoint,) = folder.rglob("ddp/weights/last.pt")
    load = f"import my_layers; from ultralytics import YOLO; print('=', YOLO({str(checkpoint)!r}).model.model[17])"
    assert last_lines(run_file(["-c", load], folder, **env).stdout) == ["Gate("]
