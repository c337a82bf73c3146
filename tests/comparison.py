"""Helpers for the tests of experiments."""

from __future__ import annotations

import io

from rich.console import Console

from yolo_attn.experiment.plan import Plan

# A child of an experiment that only pretends to train; the variable INSTRUCTIONS says what happens.
PRETENDER = """
import json, os, signal, subprocess, sys, time
from pathlib import Path
module, folder, *name = sys.argv[1:]
folder, module = Path(folder), module.rsplit(".", 1)[1]
with (folder / "log.txt").open("a") as log:
    log.write(" ".join([module, *name]) + "\\n")
instructions = json.loads(os.environ["INSTRUCTIONS"])
what = instructions.get(name[0] if name else module, "good")
target = folder / name[0] if name else folder
target.mkdir(exist_ok=True)
print("printed by", *name)
templates = json.loads(Path(__file__).with_suffix(".json").read_text())
plan = json.loads((folder / "plan.json").read_text())
if what == "good" and name:
    (target / "record.json").write_text(json.dumps({**templates["record"], "experiment": plan["id"], "run": name[0]}))
elif what == "good" and module == "cost_measurement":
    (folder / "cost.json").write_text(json.dumps(templates["cost"]))
elif what == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
elif what == "interrupted":
    sys.exit(130)
elif what == "silent":
    sys.exit(3)
elif what == "read-only":
    subprocess.run(["mount", "--bind", os.environ["DISK"], os.environ["DISK"]], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", os.environ["DISK"]], check=True)
    sys.exit(2)
elif what == "full":
    with (target / "filler").open("wb") as file:
        while True:
            file.write(b"x" * 512)
            file.flush()
elif what == "slow":
    (target / "progress.json").write_text(json.dumps({"format": 1, "phase": "training", "epoch": 1, "epochs": 3}))
    (target / "pid").write_text(str(os.getpid()))
    from yolo_attn.comparison import worker
    worker.end_with_parent()
    time.sleep(600)  # until it is killed
elif what != "good":
    error, message = what
    (target / "error.json").write_text(json.dumps({"format": 1, "error": error, "message": message}))
    sys.exit(2 if error else 1)
"""


def make(folder, **changes):
    given = {"base": "yolo11n.yaml", "models": ["yolov8n.yaml"], "data": "d.yaml", "arguments": {"epochs": 3}}
    given |= changes
    return Plan.make(folder=folder, **given)


def quiet():
    return Console(file=io.StringIO(), width=100)
