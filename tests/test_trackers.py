"""The names under which experiment trackers show a comparison, through Ultralytics' own callbacks."""

import dataclasses
import json
import os

import pytest
import support
from comparison import make
from ray_grids import Notes

from yolo_attn.comparison import child_processes, tracker_names
from yolo_attn.comparison.engines import OneByOne

TRAIN = """
import json, os, sys
from pathlib import Path
from unittest.mock import MagicMock
fakes = {name: MagicMock(__version__="0") for name in ("wandb", "mlflow", "clearml")}
wandb, mlflow, clearml = fakes.values()
wandb.run = mlflow.active_run.return_value = None
wandb.init.side_effect = lambda **_: setattr(wandb, "run", MagicMock())
sys.modules.update(fakes)

import yolo_attn
yolo_attn.install()
from ultralytics import YOLO, settings
from yolo_attn.integration.queries import tracker_project

folder, *on = sys.argv[1:]
settings.update({tracker: tracker in on for tracker in fakes})
model = YOLO("tiny.yaml")
model.add_callback("on_pretrain_routine_start", lambda trainer: tracker_project.name_project(trainer, "bccd yolo11n"))
model.train(data="data/data.yaml", epochs=1, imgsz=64, batch=4, workers=0, device="cpu", plots=False,
            project=folder, name="yolo11n-ema-seed3", exist_ok=True)
given = wandb.init.call_args.kwargs
print("=", json.dumps({
    "project": model.trainer.args.project,
    "saved": f"project: {folder}" in Path(folder, "yolo11n-ema-seed3", "args.yaml").read_text(),
    "wandb": [given["project"], given["name"], os.environ["WANDB_RUN_GROUP"], os.environ["WANDB_TAGS"]],
    "mlflow": [mlflow.set_experiment.call_args.args[0], mlflow.start_run.call_args.kwargs["run_name"]],
    "context": json.loads(os.environ["MLFLOW_RUN_CONTEXT"]),
    "clearml": clearml.Task.init.called,
}))
"""
TINY = """
backbone: [[-1, 1, Conv, [8, 3, 8]], [-1, 1, Conv, [8, 3, 2]], [-1, 1, Conv, [8, 3, 2]]]
head: [[[0, 1, 2], 1, Detect, [nc]]]
nc: 2
"""


FACTS = {"model": "yolo11n-ema", "seed": "3", "role": "variant"}


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """An experiment without tracker variables in the environment."""
    for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_", "COMET_"))]:
        monkeypatch.delenv(name)
    return make(tmp_path / "bccd yolo11n", models=["yolo11n-ema.yaml"], seeds=[3])


@pytest.mark.fast
def test_names(plan):
    run = plan.run("yolo11n-ema-seed3")
    found = tracker_names.variables(plan, run)
    assert found["WANDB_RUN_GROUP"] == found["MLFLOW_EXPERIMENT_NAME"] == found["COMET_PROJECT_NAME"] == "bccd yolo11n"
    assert found["MLFLOW_RUN"] == found["COMET_START_EXPERIMENT_NAME"] == "yolo11n-ema-seed3"
    tags = f"yolo11n-ema,seed 3,variant,{plan.id[:8]}"
    assert found["WANDB_TAGS"] == found["COMET_START_EXPERIMENT_TAGS"] == tags
    assert found["WANDB_JOB_TYPE"] == "variant"
    assert json.loads(found["MLFLOW_RUN_CONTEXT"]) == {**FACTS, "experiment": plan.id[:8]}
    control = dataclasses.replace(run, role="control", control="identity")
    assert tracker_names.variables(plan, control)["WANDB_JOB_TYPE"] == "identity"


def test_the_users_own_names_stay(plan, monkeypatch):
    monkeypatch.setenv("WANDB_TAGS", "mine")
    monkeypatch.setenv("MLFLOW_RUN", "")
    found = tracker_names.variables(plan, plan.runs[0])
    assert not {"WANDB_TAGS", "MLFLOW_RUN"} & found.keys()
    assert found["WANDB_RUN_GROUP"] == "bccd yolo11n"


@pytest.mark.parametrize(
    ("folder", "name"), [("b\\c#d?e%f:g,h", "b-c-d-e-f-g-h"), (200 * "x", 128 * "x"), ("#", "comparison")]
)
def test_names_that_trackers_refuse(plan, folder, name):
    assert tracker_names.project_name(make(folder)) == name
    run = dataclasses.replace(plan.runs[0], model="a,b" * 40)
    tags = tracker_names.variables(plan, run)["WANDB_TAGS"].split(",")
    assert len(tags) == 4
    assert tags[0] == ("a b" * 40)[:64]


def test_the_process_of_a_run_gets_them(plan, monkeypatch):
    given = {}
    monkeypatch.setattr(child_processes, "start", lambda *a, extra, **k: given.update(extra))
    monkeypatch.setattr(child_processes, "wait", lambda *a: 1)
    OneByOne().perform(plan, plan.runs[1:], Notes())
    assert (given["WANDB_RUN_GROUP"], given["MLFLOW_RUN"]) == ("bccd yolo11n", "yolo11n-ema-seed3")


@pytest.mark.slow
def test_through_ultralytics_callbacks(plan, tmp_path, monkeypatch):
    """With stand-ins for the packages, in a process of its own: Ultralytics imports them only once."""
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # Ultralytics logs to no tracker while it thinks it is tested
    (tmp_path / "tiny.yaml").write_text(TINY)
    (tmp_path / "train.py").write_text(TRAIN)
    support.tiny_data(tmp_path / "data")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    place = {"PYTHONPATH": str(support.ROOT), "YOLO_CONFIG_DIR": str(tmp_path / "config"), "YOLO_ATTN_AUTOLOAD": "0"}
    names = tracker_names.variables(plan, plan.run("yolo11n-ema-seed3"))
    done = support.run_file(["train.py", str(tmp_path / "out"), "wandb", "mlflow"], tmp_path, **place, **names)
    assert not done.returncode, done.stderr
    assert (
        json.loads(done.stdout.rpartition("= ")[2])
        == {
            "project": str(tmp_path / "out"),
            "saved": True,
            "wandb": ["bccd yolo11n", "yolo11n-ema-seed3", "bccd yolo11n", f"yolo11n-ema,seed 3,variant,{plan.id[:8]}"],
            "mlflow": ["mine", "yolo11n-ema-seed3"],  # the user's own name of the experiment
            "context": {**FACTS, "experiment": plan.id[:8]},
            "clearml": False,  # the settings leave it off
        }
    )
