"""What happens on a node of a Ray cluster, here in this process: check of the node, scratch folder, way back."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from msgspec.structs import replace
from ray_grids import starts
from support import read_json

from yolo_attn.comparison import child_processes
from yolo_attn.comparison.ray import cluster_engine, node_run
from yolo_attn.comparison.ray.node_run import Input, Outcome, Parcel
from yolo_attn.errors import ArgumentError, DataError
from yolo_attn.experiment import storage
from yolo_attn.experiment.ground_truth_file import GroundTruth, TruthInfo
from yolo_attn.experiment.plan import Plan
from yolo_attn.experiment.records import RunError

HOST = socket.gethostname()


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """A plan whose model, data and weights are files in the working directory, as the head sees it."""
    head = tmp_path / "head"
    head.mkdir()
    monkeypatch.chdir(head)
    script = Path(__file__).with_name("ray_grids.py")
    monkeypatch.setattr(
        child_processes, "command", lambda _, *arguments: [sys.executable, str(script), *map(str, arguments)]
    )
    monkeypatch.setattr(node_run, "POLL", 0.05)
    for name in ("mine.yaml", "d.yaml", "w.pt"):
        Path(name).write_text(f"the file {name}")
    arguments = {"epochs": 2, "pretrained": "w.pt", "pretend": {"seconds": 0.3}}
    made = Plan.make("yolo11n.yaml", ["mine.yaml"], "d.yaml", arguments=arguments, folder="runs/c")
    made.claim()
    return made


def parcel(plan, token="seen"):
    (plan.folder / token).write_text(token)
    return Parcel.pack(plan, "a.module", token)


def elsewhere(plan, tmp_path):
    """The parcel as it reaches a node that has neither the folder nor the working directory of the head."""
    packed = parcel(plan)
    return dataclasses.replace(packed, folder=str(tmp_path / "gone" / "c"), directory=str(tmp_path / "gone"))


def test_a_shared_folder_is_proved_by_its_token(plan, tmp_path):
    packed = parcel(plan)
    assert node_run.survey(packed)
    (plan.folder / "seen").write_text("of another run")
    assert not node_run.survey(packed)
    (plan.folder / "seen").unlink()
    assert not node_run.survey(packed)


def test_in_a_shared_folder_the_run_works_in_place(plan):
    notes = []
    outcome = node_run.perform(parcel(plan), "mine-seed0", {"YOLO_ATTN_THREADS": "3"}, notes.append)
    assert outcome == Outcome(0, HOST)
    run = plan.run("mine-seed0")
    assert starts(run)[0]["cwd"] == str(Path.cwd())
    assert starts(run)[0]["environment"]["YOLO_ATTN_THREADS"] == "3"
    assert notes[0] == {"host": HOST, "gpus": "", "shared": True}
    assert read_json(run.record)["run"] == "mine-seed0"


def test_elsewhere_it_works_in_a_scratch_folder_and_sends_all_but_the_spare_checkpoints(plan, tmp_path):
    notes, before = [], Path.cwd()
    outcome = node_run.perform(elsewhere(plan, tmp_path), "mine-seed0", {}, notes.append, gpus="3")
    assert (outcome.status, outcome.host, Path.cwd()) == (0, HOST, before)
    assert sorted(outcome.files) == ["log.txt", "record.json", "results.csv", "starts.txt", "weights/best.pt"]
    begun = json.loads(outcome.files["starts.txt"])
    assert begun["files"] == ["mine.yaml", "d.yaml"]
    assert not Path(begun["folder"]).exists()
    assert notes[0] == {"host": HOST, "gpus": "3", "shared": False}
    assert json.loads([note for note in notes if "progress.json" in note][-1]["progress.json"])["epoch"] == 1
    assert not plan.run("mine-seed0").folder.exists()  # nothing of the head is touched from there


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"versions": {"torch": "0.1"}}, rf"node {HOST} has .* install "),
        (
            {"versions": node_run.versions_to_match() | {"torch": "0.1"}},
            rf"{HOST} has torch \S+, not 0\.1; .*torch==0\.1",
        ),
        ({"inputs": {"/nowhere/m.yaml": Input("0", b"x")}}, rf"/nowhere/m\.yaml is missing on node {HOST}"),
        ({"inputs": {"../m.yaml": Input("0", b"x")}}, rf"\.\./m\.yaml is missing on node {HOST}"),
        ({"inputs": {"large.pt": Input("0", None)}}, rf"large\.pt is missing on node {HOST}"),
    ],
)
def test_what_a_node_lacks_is_said_before_a_run_begins(plan, tmp_path, change, line):
    with pytest.raises(ArgumentError, match=line):
        node_run.survey(dataclasses.replace(elsewhere(plan, tmp_path), **change))


def test_in_a_shared_folder_the_files_must_be_there(plan):
    packed = parcel(plan)
    Path("mine.yaml").write_text("another model")
    with pytest.raises(ArgumentError, match=rf"mine\.yaml is missing on node {HOST}"):
        node_run.survey(packed)


def test_weights_too_large_to_send_stay(plan, monkeypatch):
    monkeypatch.setattr(node_run, "LARGEST", 13)
    inputs = parcel(plan).inputs
    assert {name: file.content is None for name, file in inputs.items()} == {
        "d.yaml": True, "mine.yaml": True, "w.pt": False,
    }  # fmt: skip


def test_the_environment_of_the_head_fills_in_what_a_node_has_not(plan, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_RUN_GROUP", "of the head")
    monkeypatch.setenv("YOLO_CONFIG_DIR", "/head")
    packed = parcel(plan)
    assert packed.variables["WANDB_MODE"] == "offline"
    assert "YOLO_CONFIG_DIR" not in packed.variables
    monkeypatch.setenv("WANDB_RUN_GROUP", "of the node")
    node_run.perform(packed, "mine-seed0", {}, lambda note: None)
    assert starts(plan.run("mine-seed0"))[0]["environment"]["WANDB_RUN_GROUP"] == "of the node"


def test_an_interruption_ends_the_child(plan):
    packed = parcel(plan)

    def interrupt(note):
        if (plan.run("mine-seed0").folder / "weights" / "last.pt").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        node_run.perform(packed, "mine-seed0", {}, interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(starts(plan.run("mine-seed0"))[0]["pid"], 0)


def receive(plan, run, outcome):
    """Take a run's files as the head does, without a cluster."""
    cluster_engine._Grid.receive(SimpleNamespace(plan=plan), run, outcome)


def test_the_record_is_put_down_last(plan, monkeypatch):
    run, order = plan.run("mine-seed0"), []
    (run.folder / "weights").mkdir(parents=True)
    (run.folder / "weights" / "last.pt").write_text("of a training begun here")
    original = storage.write_bytes

    def write_bytes(path, content):
        order.append(path.name)
        original(path, content)

    monkeypatch.setattr(storage, "write_bytes", write_bytes)
    monkeypatch.setattr(cluster_engine, "write_bytes", write_bytes)
    files = {"record.json": b"{}", "weights/best.pt": b"w", "log.txt": b"l"}
    truth = GroundTruth(TruthInfo("test", "/there"), [], [], [])
    receive(plan, run, Outcome(0, "n", files, storage.encode(truth)))
    assert order == ["best.pt", "log.txt", "ground_truth.json", "record.json"]
    kept = storage.read(plan.folder / "ground_truth.json", GroundTruth)
    assert (plan.folder / kept.info.image_folder).resolve() == Path("/there")
    assert kept.coco == truth.coco
    assert not (run.folder / "weights" / "last.pt").exists()
    other = Outcome(0, "n", files, storage.encode(replace(truth, categories=[{"id": 0, "name": "a"}])))
    with pytest.raises(DataError, match=r"mine-seed0 was validated on n on other images .* d\.yaml differs there"):
        receive(plan, run, other)


def test_a_failed_run_leaves_its_reason_and_what_was_there(plan):
    run = plan.run("mine-seed0")
    (run.folder / "weights").mkdir(parents=True)
    (run.folder / "weights" / "last.pt").write_text("of a training begun here")
    error = storage.encode(RunError("no"))
    receive(plan, run, Outcome(2, "n", {"error.json": error, "log.txt": b"l"}))
    assert read_json(run.error)["message"] == "no"
    assert (run.folder / "weights" / "last.pt").exists()
    assert not run.record.exists()
