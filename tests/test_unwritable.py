"""Folders that cannot be written, and full disks: one line, status 2, and what was there is still there."""

from __future__ import annotations

import builtins
import errno
import io
import json
import os
import subprocess
from pathlib import Path

import made_up_experiment
import pytest
from comparison import make, quiet
from support import ROOT
from ultralytics import YOLO

import yolo_attn
from yolo_attn.cli import main
from yolo_attn.comparison import worker
from yolo_attn.comparison.running import run_experiment
from yolo_attn.errors import UserError
from yolo_attn.experiment.records import read_record
from yolo_attn.integration.queries import yolo_command

yolo_attn.install()


@pytest.fixture
def disk(tmp_path):
    """An empty file system of 400 kB, and functions that make it read-only and fill it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    while folder.is_mount():
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder):
    with (folder / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(512))
        except OSError:
            pass


def protect(folder):
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)


@pytest.fixture
def refuse(monkeypatch):
    """Return a function that makes the system refuse every change below a folder, as for a user without the right."""

    def start(folder, number):
        def refusing(function, changes=lambda *_: True):
            def call(path, *args, **kwargs):
                is_inside = not isinstance(path, int) and Path(os.fspath(path)).is_relative_to(folder)
                if is_inside and changes(*args, kwargs.get("mode", "")):
                    raise OSError(number, os.strerror(number), str(path))
                return function(path, *args, **kwargs)

            return call

        for name in ("mkdir", "unlink", "remove", "replace", "rename", "rmdir"):
            monkeypatch.setattr(os, name, refusing(getattr(os, name)))
        writes = refusing(io.open, lambda *given: any(set(str(mode)) & set("wax+") for mode in given[:1] + given[-1:]))
        monkeypatch.setattr(io, "open", writes)
        monkeypatch.setattr(builtins, "open", writes)

    return start


def commands(folder):
    return {
        "place": ["place", "yolo11.yaml", "EMA", "--at", "neck.P3", "-o", f"{folder}/yolo11-x.yaml"],
        "convert": ["convert", "theirs.yaml", "-o", f"{folder}/yolo11-x.yaml"],
        "diagram": ["diagram", "yolo11n.yaml", "-o", f"{folder}/x.mmd"],
        "diagram png": ["diagram", "yolo11n.yaml", "-o", f"{folder}/x.png"],
        "transfer": ["transfer", "weights.pt", "yolo11n-ema.yaml", "-o", f"{folder}/x.pt"],
        "from-coco": ["data", "from-coco", "coco.json", "images", f"{folder}/out"],
        "report": ["report", f"{folder}/c"],
        "compare": [
            "compare",
            "base=yolo11n.yaml",
            "models=yolo11n-ema.yaml",
            "data=digits.yaml",
            f"folder={folder}/d",
        ],
        "train": ["train", "model=yolo11n.yaml", "data=digits.yaml", "epochs=1", "imgsz=32", f"project={folder}/runs"],
    }


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """Return a function that writes what the commands read, and an experiment and old outputs into a folder."""
    import cv2
    import numpy as np

    def prepare(folder):
        monkeypatch.chdir(tmp_path)
        Path("theirs.yaml").write_text((ROOT / "model_yamls" / "yolo11-ema.yaml").read_text())
        YOLO("yolo11n.yaml").save("weights.pt")
        Path("images").mkdir()
        cv2.imwrite("images/1.png", np.zeros((64, 64, 3), np.uint8))
        box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [8, 8, 20, 20], "area": 400, "iscrowd": 0}
        image = {"id": 1, "file_name": "1.png", "width": 64, "height": 64}
        coco = {"images": [image], "annotations": [box], "categories": [{"id": 1, "name": "a"}]}
        Path("coco.json").write_text(json.dumps(coco))
        made_up_experiment.write(folder / "c", models=("yolo11n-ema.yaml",), seeds=(0, 1), controls=())

    return prepare


STATES = {
    "read-only": (protect, "Read-only file system"),
    "full": (fill, "is full"),
    "no permission": (errno.EACCES, "Permission denied"),
    "failing": (errno.EIO, "Input/output error"),
}


CASES = [(c, s) for c in commands("") for s in STATES if s != "failing" or c in ("place", "report", "compare")]


@pytest.mark.parametrize(("command", "state"), CASES)
def test_one_line_and_nothing_is_lost(command, state, prepared, refuse, request, tmp_path, capfd):
    make_so, reason = STATES[state]
    folder = tmp_path / "plain"
    folder.mkdir() if isinstance(make_so, int) else (folder := request.getfixturevalue("disk"))
    prepared(folder)
    make_so(folder) if callable(make_so) else refuse(folder, make_so)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    capfd.readouterr()
    status = main(commands(folder)[command])
    progress = ("Checking", "WARNING")
    err = [line for line in capfd.readouterr().err.splitlines() if not line.startswith(progress)]
    assert (status, len(err)) == (2, 1), err
    assert reason in err[0]
    assert str(folder) in err[0] or (command, state) == ("train", "full")  # the system does not say which disk
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(("what", "reason"), [("read-only", "Read-only file system"), ("full", "is full")])
def test_a_disk_that_fails_during_a_run(what, reason, disk, pretend, monkeypatch):
    """The finished runs stay, the others wait: the command can be rerun once there is space."""
    monkeypatch.setenv("DISK", str(disk))
    plan = make(disk / "c", models=["a.yaml", "b.yaml"])
    pretend(a_seed0=what)
    with pytest.raises(UserError, match=reason):
        run_experiment(plan, quiet())
    assert read_record(plan.run("yolo11n-seed0").record, plan.id)
    assert not plan.run("b-seed0").folder.exists()
    if what == "read-only":
        subprocess.run(["umount", disk], check=True)
    (plan.run("a-seed0").folder / "filler").unlink(missing_ok=True)
    pretend()
    assert run_experiment(plan, quiet()) == {}


def test_a_worker_whose_folder_becomes_read_only(tmp_path, refuse, monkeypatch, capsys):
    plan = make(tmp_path / "c")
    plan.claim()
    monkeypatch.setattr(yolo_command, "check_arguments", lambda *_: refuse(plan.folder, errno.EROFS))
    monkeypatch.setattr(worker, "_data_of", lambda plan: (plan.folder / "x").mkdir())
    assert worker.main([str(plan.folder)]) == 2
    assert "Read-only" in capsys.readouterr().err
