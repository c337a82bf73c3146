"""The Ray engine on a local cluster of real raylets; the children only pretend to train, but for one test."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytest.importorskip("ray", reason="needs the package ray (the optional extra of that name)")

import ray
from comparison import make
from ray.cluster_utils import Cluster
from ray_grids import Notes, starts
from support import read_json

from yolo_attn.comparison import child_processes
from yolo_attn.comparison.engines import OneByOne
from yolo_attn.comparison.ray import cluster_engine
from yolo_attn.errors import ArgumentError, DataError

TESTS = str(Path(__file__).parent)
# Ray's own sockets and files are closed when the processes end
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]


@pytest.fixture(scope="module")
def cluster():
    """A cluster whose head takes no runs; tests add nodes that do."""
    before = dict(os.environ)
    os.environ.update(PYTHONPATH=TESTS, RAY_USAGE_STATS_ENABLED="0")
    # a killed node is noticed after 10 s, not 15; a node of a busy machine may not answer for seconds
    quick = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500, "health_check_failure_threshold": 20}
    head = {"num_cpus": 0, "include_dashboard": False, "_system_config": quick}
    found = Cluster(initialize_head=True, head_node_args=head)
    yield found
    ray.shutdown()
    found.shutdown()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def nodes(cluster):
    """Return a function that adds nodes of one CPU; they are removed after the test."""
    added = []

    def add(count=1):
        added.extend(cluster.add_node(num_cpus=1) for _ in range(count))
        return added

    yield add
    for node in added:
        with contextlib.suppress(ValueError, KeyError):
            cluster.remove_node(node, allow_graceful=True)


@pytest.fixture(autouse=True)
def _pretenders(monkeypatch):
    monkeypatch.setattr(child_processes, "WORKER", "ray_grids")


def grid(tmp_path, seeds=2, epochs=4, **pretend):
    arguments = {"epochs": epochs, "device": "cpu", "pretend": pretend}
    plan = make(tmp_path / "c", seeds=range(seeds), arguments=arguments)
    plan.claim()
    return plan


def perform(cluster, plan, notes, runs=None):
    engine = cluster_engine.RayEngine(cpus_per_run=1, address=cluster.address)
    engine.perform(plan, plan.runs if runs is None else runs, notes)
    assert not ray.is_initialized()
    assert not list(plan.folder.glob(".ray-*"))


def nodes_of(cluster):
    with cluster_engine.connected(cluster.address):
        return [node for node in ray.nodes() if node["Alive"]]


def alive(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    return False


def gone(processes, seconds=30):
    end = time.monotonic() + seconds
    while any(map(alive, processes)) and time.monotonic() < end:
        time.sleep(0.1)
    return not any(map(alive, processes))


@pytest.mark.parametrize("what", ["node", "worker"])
def test_a_lost_run_is_resumed_elsewhere(tmp_path, cluster, nodes, what):
    """A node's raylet, or the worker process of a run, is killed while the run is half-trained.

    What it has left takes longer than the second in which a worker notices that its raylet is gone.
    """
    added = nodes(2)
    raylets = {node.all_processes["raylet"][0].process.pid: node for node in added}
    plan = grid(tmp_path, epochs=20, seconds=0.05, slow="yolo11n-seed0")
    killed = []

    def kill(run, progress, notes):
        if killed or run.name != "yolo11n-seed0" or not 2 <= progress.epoch < 12:
            return
        killed.append(run.name)
        worker = starts(run)[0]["parent"]
        if what == "node":
            cluster.remove_node(raylets[psutil.Process(worker).ppid()], allow_graceful=False)
        else:
            os.kill(worker, signal.SIGKILL)

    notes = Notes(kill)
    perform(cluster, plan, notes)
    assert notes.reasons == {}
    assert sorted(notes.done) == sorted(run.name for run in plan.runs)
    assert all(read_json(run.record)["run"] == run.name for run in plan.runs)
    twice = {run.name: starts(run) for run in plan.runs if len(starts(run)) > 1}
    assert list(twice) == killed
    ((name, (first, second)),) = twice.items()
    assert second["done"] >= 2  # it was resumed, not started again
    assert first["parent"] != second["parent"]
    assert gone([first["pid"]])
    assert notes.begun.count(name) == 2
    assert sorted(notes.begun) == sorted([*(run.name for run in plan.runs), name])


def test_a_run_that_is_lost_again_and_again_fails_and_the_others_continue(tmp_path, cluster, nodes):
    nodes(1)
    plan = grid(tmp_path, seeds=1, epochs=20, seconds=0.01, slow="yolo11n-seed0")

    def kill(run, progress, notes):
        if run.name == "yolo11n-seed0" and len(starts(run)) == notes.begun.count(run.name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(starts(run)[-1]["parent"], signal.SIGKILL)

    notes = Notes(kill)
    perform(cluster, plan, notes)
    assert notes.done == ["yolov8n-seed0"]
    assert notes.reasons == {"yolo11n-seed0": "its worker process was lost; it was started 3 times"}
    assert len(starts(plan.run("yolo11n-seed0"))) == 3


def test_a_failure_of_the_run_itself_is_not_tried_again(tmp_path, cluster, nodes):
    nodes(1)
    faults = {"yolo11n-seed0": ["LayerError", "layer 3 cannot be built"], "yolov8n-seed0": [None, "ValueError: odd"]}
    plan, notes = grid(tmp_path, epochs=1, fail=faults), Notes()
    perform(cluster, plan, notes)
    log = plan.run("yolov8n-seed0").log
    assert notes.reasons == {
        "yolo11n-seed0": "layer 3 cannot be built",
        "yolov8n-seed0": f"ValueError: odd (its output: {log})",
    }
    assert log.read_text() == "yolov8n-seed0 starts\n"
    assert notes.done == ["yolo11n-seed1", "yolov8n-seed1"]
    assert [len(starts(run)) for run in plan.runs] == [1, 1, 1, 1]


def test_a_failure_that_concerns_every_run_ends_them_all(tmp_path, cluster, nodes):
    nodes(2)
    plan = grid(tmp_path, epochs=5000, fail={"yolov8n-seed0": ["DataError", "data d.yaml: no labels"]})
    notes = Notes()
    with pytest.raises(DataError, match=r"^on \S+: data d\.yaml: no labels$"):
        perform(cluster, plan, notes)
    assert notes.done == []
    assert gone([starts(plan.run("yolo11n-seed0"))[0]["pid"]])


def test_an_interruption_ends_the_children(tmp_path, cluster, nodes):
    nodes(2)
    plan = grid(tmp_path, epochs=5000, seconds=0.2)

    def interrupt(run, progress, notes):
        if len(notes.epochs) == 2 and min(notes.epochs.values()) >= 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        perform(cluster, plan, Notes(interrupt))
    children = [starts(run)[0] for run in plan.runs if run.folder.is_dir()]
    assert len(children) == 2
    assert gone([child["pid"] for child in children])
    assert not any(run.record.exists() for run in plan.runs)


@pytest.fixture
def hidden_node(tmp_path, cluster):
    """A node that sees an empty folder where the comparison is: it has its own mounts."""
    folder = tmp_path / "head"
    folder.mkdir()
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("needs a user namespace (unshare), which this system does not allow")
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--address", cluster.address]
    start += ["--num-cpus=1", "--block", "--disable-usage-stats"]
    script = f'mount -t tmpfs none "{folder}" && exec "$@"'
    process = subprocess.Popen([*unshare, "sh", "-c", script, "sh", *start], cwd="/", stdout=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while len(nodes_of(cluster)) < 2 and time.monotonic() < end:
        time.sleep(0.5)
    yield folder
    process.terminate()
    process.wait(60)


def test_a_node_that_does_not_see_the_folder_sends_everything_back(tmp_path, cluster, hidden_node, monkeypatch):
    monkeypatch.chdir(hidden_node)
    (hidden_node / "mine.yaml").write_text("a model")
    (hidden_node / "d.yaml").write_text("some data")
    arguments = {
        "epochs": 5,
        "device": "cpu",
        "pretend": {"seconds": 0.5, "fail": {"mine-seed1": ["LayerError", "no"]}},
    }
    plan = make("runs/c", models=["mine.yaml"], seeds="0-1", arguments=arguments)
    plan.claim()
    notes = Notes()
    seen = []
    notes.act = lambda run, progress, _: seen.append((run.name, progress.epoch))
    perform(cluster, plan, notes)
    assert notes.reasons == {"mine-seed1": "no"}
    assert sorted(notes.done) == ["mine-seed0", "yolo11n-seed0", "yolo11n-seed1"]
    run = plan.run("mine-seed0")
    begun = starts(run)[0]
    assert not Path(begun["folder"]).is_relative_to(hidden_node)
    assert not Path(begun["folder"]).exists()  # cleaned up
    assert begun["files"] == ["mine.yaml", "d.yaml"]  # sent, found under the same names
    assert any(0 < epoch < 5 for _, epoch in seen)  # seen while they ran
    assert sorted(path.relative_to(run.folder).as_posix() for path in run.folder.rglob("*") if path.is_file()) == [
        "log.txt", "progress.json", "record.json", "results.csv", "starts.txt", "weights/best.pt",
    ]  # fmt: skip
    assert (run.folder / "weights" / "best.pt").read_bytes() == b"best \x00 of mine-seed0"
    root = read_json(plan.folder / "ground_truth.json")["info"]["image_folder"]
    first = starts(plan.run(notes.done[0]))[0]
    there = Path(first["folder"]).parent / "images"
    assert (plan.folder / root).resolve() == there.resolve()  # the images' folder there, seen from the folder here
    assert (plan.run("mine-seed1").folder / "log.txt").read_text() == "mine-seed1 starts\n"


def test_this_machine_alone(tmp_path, monkeypatch):
    """Without an address Ray is started, and gone afterwards; two runs at once do not share a core."""
    monkeypatch.setenv("PYTHONPATH", TESTS)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("YOLO_OFFLINE", "1")
    plan, notes = grid(tmp_path, seeds=1), Notes()
    cluster_engine.RayEngine(cpus_per_run="1").perform(plan, plan.runs, notes)
    assert notes.done == [run.name for run in plan.runs]
    assert set(notes.where.values()) == {""}  # no other machine to name
    begun = starts(plan.runs[0])[0]
    assert begun["environment"] | {"CUDA_VISIBLE_DEVICES": None} == {
        "OMP_NUM_THREADS": "1", "YOLO_ATTN_THREADS": "1", "WANDB_RUN_GROUP": "c", "YOLO_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": None,
    }  # fmt: skip
    assert begun["cwd"] == str(Path.cwd())
    assert not ray.is_initialized()
    assert gone([begun["parent"]])


def listening():
    """Return addresses and ports on which this process and its children listen."""
    family = {process.pid for process in (psutil.Process(), *psutil.Process().children(recursive=True))}
    found = psutil.net_connections("inet")
    return {tuple(c.laddr) for c in found if c.status == psutil.CONN_LISTEN and c.pid in family}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere Ray listens on the loopback interface by default")
def test_a_local_ray_serves_nobody_else(monkeypatch):
    """It listens on the loopback interface, and refuses a client without its token."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    before, others = dict(os.environ), listening()
    client = "import ray, sys; ray._raylet.GcsClient(address=sys.argv[1])"
    with cluster_engine.connected(None):
        new = listening() - others
        assert len(new) > 3
        assert {address.removeprefix("::ffff:") for address, _ in new} == {"127.0.0.1"}
        assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
        address = ray.get_runtime_context().gcs_address
        stranger = subprocess.Popen(
            [sys.executable, "-c", client, address], env=before, stderr=subprocess.PIPE, text=True
        )
        try:
            assert "InvalidAuthToken" in next(iter(stranger.stderr))
        finally:
            stranger.kill()
            stranger.communicate()
        assert subprocess.run([sys.executable, "-c", client, address], timeout=300).returncode == 0
    changed = {name for name in {**before, **os.environ} if before.get(name) != os.environ.get(name)}
    assert not any("AUTH" in name for name in changed)


def test_without_a_cluster_at_the_address(tmp_path):
    plan = grid(tmp_path)
    with pytest.raises(ArgumentError, match=r"address=127\.0\.0\.1:9 .*omit address="):
        cluster_engine.RayEngine(address="127.0.0.1:9").perform(plan, plan.runs, Notes())


def test_the_record_is_that_of_the_sequential_engine(tmp_path, rectangles, monkeypatch):
    """Two real trainings at once by Ray on this machine, and one of them again without Ray, in a repository."""
    (tmp_path / "repository").mkdir()
    monkeypatch.chdir(tmp_path / "repository")
    commit = ["-c", "user.name=me", "-c", "user.email=me@example.org", "commit", "-q", "--allow-empty", "-m", "first"]
    for arguments in (["init", "-q"], commit):
        subprocess.run(["git", *arguments], check=True)
    monkeypatch.setattr(child_processes, "WORKER", "yolo_attn.comparison.worker")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    train = {"epochs": 1, "imgsz": 64, "batch": 8, "workers": 0, "device": "cpu", "plots": False}
    records = {}
    for name, engine in (("ray", cluster_engine.RayEngine(cpus_per_run=1)), ("one", OneByOne())):
        plan = make(tmp_path / name, data=str(rectangles), seeds="0-1", arguments=train)
        plan.claim()
        runs = [run for run in plan.runs if run.model_file == "yolo11n.yaml"]
        notes = Notes()
        engine.perform(plan, runs if name == "ray" else runs[:1], notes)
        assert notes.reasons == {}
        records[name] = [read_json(run.record) for run in runs if run.record.is_file()]
        assert (plan.folder / "ground_truth.json").is_file()
        assert not (runs[0].folder / "error.json").exists()
    assert [len(found) for found in records.values()] == [2, 1]
    (ours, other), (theirs,) = records["ray"], records["one"]
    same = ("experiment", "run", "metrics", "predictions", "arguments", "data", "best_epoch", "git", "transfer")
    for part in same:
        assert ours[part] == theirs[part], part
    assert len(ours["git"]["commit"]) == 40
    assert len(ours["epochs"]) == 1
    assert [row | {"time": 0} for row in ours["epochs"]] == [row | {"time": 0} for row in theirs["epochs"]]
    assert ours["epochs"][0]["train/box_loss"] != other["epochs"][0]["train/box_loss"]  # another seed
