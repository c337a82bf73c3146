"""The names under which experiment trackers show a comparison, through Ultralytics' own callbacks."""

import json
import os

import pytest
import support

from yolo_attn.comparison import tracker_names
from yolo_attn.experiment.plan import Plan, Run

# Stand-ins for tracker packages: each writes down how it is called.
FAKES = {
    "wandb": """
        import json, os
        __version__ = "0"
        run = None

        class Run:
            id = "fake"
            class config:
                setdefaults = staticmethod(lambda *a, **k: None)
            log = staticmethod(lambda *a, **k: None)
            define_metric = staticmethod(lambda *a, **k: None)
            log_artifact = staticmethod(lambda *a, **k: None)

        def init(project=None, name=None, **words):
            global run
            run = Run
            said = {"project": project, "name": name, "group": os.environ.get("WANDB_RUN_GROUP")}
            print("= wandb", json.dumps({**said, "tags": os.environ.get("WANDB_TAGS")}))
            return run

        class Artifact:
            def __init__(self, **words): pass
            def add_file(self, file): pass

        finish = log = lambda *a, **k: None
        """,
    "mlflow": """
        import json, os
        __version__ = "0"

        class _Run:
            class info:
                run_id = "fake"

        set_experiment = lambda name: print("= mlflow experiment", name)
        def start_run(run_name=None):
            print("= mlflow run", run_name, json.loads(os.environ["MLFLOW_RUN_CONTEXT"]))
            return _Run
        autolog = log_params = log_metrics = log_artifact = end_run = log_artifacts = lambda *a, **k: None
        active_run = lambda: None
        get_tracking_uri = lambda: "nowhere"
        set_tracking_uri = lambda uri: None
        """,
    "clearml": """
        __version__ = "0"
        class Task:
            current_task = staticmethod(lambda: None)
            connect = staticmethod(lambda *a, **k: None)
            @classmethod
            def init(cls, project_name=None, task_name=None, **words):
                print("= clearml", project_name, task_name)
                return cls
        """,
}
TRAIN = """
import sys
from pathlib import Path
import yolo_attn
yolo_attn.install()
from ultralytics import YOLO, settings
from yolo_attn.integration.queries import tracker_project

settings.update({tracker: tracker in sys.argv[2:] for tracker in ("wandb", "mlflow", "clearml")})
model = YOLO("tiny.yaml")
model.add_callback("on_pretrain_routine_start", lambda trainer: tracker_project.name_project(trainer, "bccd yolo11n"))
model.train(data="data/data.yaml", epochs=1, imgsz=64, batch=4, workers=0, device="cpu", plots=False,
            project=sys.argv[1], name="yolo11n-ema-seed3", exist_ok=True)
print("= project", model.trainer.args.project == sys.argv[1])
print("= saved", f"project: {sys.argv[1]}" in Path(sys.argv[1], "yolo11n-ema-seed3", "args.yaml").read_text())
"""
TINY = """
backbone: [[-1, 1, Conv, [8, 3, 8]], [-1, 1, Conv, [8, 3, 2]], [-1, 1, Conv, [8, 3, 2]]]
head: [[[0, 1, 2], 1, Detect, [nc]]]
nc: 2
"""


def a_run(folder, **changes):
    words = {"model_file": "yolo11n-ema.yaml", "model": "yolo11n-ema", "name": "yolo11n-ema-seed3", "seed": 3}
    return Run(**{**words, "folder": folder / "yolo11n-ema-seed3", **changes})


@pytest.mark.fast
def test_names(tmp_path):
    found = tracker_names.variables("bccd-yolo11n", a_run(tmp_path), "0123456789ab", present={})
    assert found["WANDB_RUN_GROUP"] == found["MLFLOW_EXPERIMENT_NAME"] == found["COMET_PROJECT_NAME"] == "bccd-yolo11n"
    assert found["MLFLOW_RUN"] == found["COMET_START_EXPERIMENT_NAME"] == "yolo11n-ema-seed3"
    assert found["WANDB_TAGS"] == found["COMET_START_EXPERIMENT_TAGS"] == "yolo11n-ema,seed 3,variant,01234567"
    assert found["WANDB_JOB_TYPE"] == "variant"
    assert json.loads(found["MLFLOW_RUN_CONTEXT"]) == {
        "model": "yolo11n-ema", "seed": "3", "role": "variant", "experiment": "01234567"
    }  # fmt: skip
    control = a_run(tmp_path, role="control", control="identity")
    assert tracker_names.variables("x", control, "0", present={})["WANDB_JOB_TYPE"] == "identity"


def test_the_users_own_names_stay(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_TAGS", "mine")
    monkeypatch.setenv("MLFLOW_RUN", "")
    found = tracker_names.variables("x", a_run(tmp_path), "0")
    assert not {"WANDB_TAGS", "MLFLOW_RUN"} & found.keys()
    assert found["WANDB_RUN_GROUP"] == "x"
    assert os.environ["WANDB_TAGS"] == "mine"


def test_names_that_trackers_refuse(tmp_path):
    assert tracker_names.project_name("a/b\\c#d?e%f:g,h") == "a-b-c-d-e-f-g-h"
    assert tracker_names.project_name("x" * 200) == "x" * 128
    assert tracker_names.project_name("//") == "comparison"
    tags = tracker_names.variables("x", a_run(tmp_path, model="a,b" * 40), "0", present={})["WANDB_TAGS"].split(",")
    assert len(tags) == 4
    assert tags[0] == ("a b" * 40)[:64]


def test_the_process_of_a_run_gets_them(tmp_path, monkeypatch):
    from yolo_attn.comparison import child_processes, engines

    given = {}
    monkeypatch.setattr(child_processes, "start", lambda *a, extra, **k: given.update(extra))
    monkeypatch.setattr(child_processes, "wait", lambda *a: 1)
    monkeypatch.setattr(child_processes, "concerns_every_run", lambda error: False)
    plan = Plan.make("yolo11n.yaml", ["yolo11n-ema.yaml"], "d.yaml", folder=tmp_path / "my exp", seeds=[3])
    engines.perform(plan, plan.runs[1], None)
    assert (given["WANDB_RUN_GROUP"], given["MLFLOW_RUN"]) == ("my exp", "yolo11n-ema-seed3")


def trained(folder, on, **env):
    """What the fake trackers wrote, of a training with these settings."""
    for name, code in FAKES.items():
        (folder / f"{name}.py").write_text("\n".join(line[8:] for line in code.splitlines()))
    (folder / "tiny.yaml").write_text(TINY)
    (folder / "train.py").write_text(TRAIN)
    support.tiny_data(folder / "data")
    extra = tracker_names.variables("bccd yolo11n", a_run(folder), "0123456789ab", present=env)
    place = {"PYTHONPATH": f"{folder}{os.pathsep}{support.ROOT}", "YOLO_CONFIG_DIR": str(folder / "config")}
    done = support.run_file(
        ["train.py", str(folder / "out"), *on], folder, **place, YOLO_ATTN_AUTOLOAD="0", **extra, **env
    )
    assert not done.returncode, done.stderr
    return [line.removeprefix("= ") for line in done.stdout.splitlines() if line.startswith("= ")]


@pytest.mark.slow
def test_through_ultralytics_callbacks(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # Ultralytics logs to no tracker while it thinks it is tested
    lines = trained(tmp_path, ["wandb", "mlflow"], MLFLOW_EXPERIMENT_NAME="mine")
    tags = "yolo11n-ema,seed 3,variant,01234567"
    said = {"project": "bccd yolo11n", "name": "yolo11n-ema-seed3", "group": "bccd yolo11n", "tags": tags}
    facts = {"model": "yolo11n-ema", "seed": "3", "role": "variant", "experiment": "01234567"}
    assert sorted(lines) == [
        "mlflow experiment mine",  # the user's own name
        f"mlflow run yolo11n-ema-seed3 {facts}",
        "project True",
        "saved True",
        f"wandb {json.dumps(said)}",
    ]  # and none of ClearML, which the settings leave off
