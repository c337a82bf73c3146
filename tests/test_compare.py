"""Comparisons: plans, child processes, figures, costs and the table. Only the tests marked slow train."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from rich.console import Console

from yolo_attn.compare import Plan, coco, compare, cost, records, report, runs, worker
from yolo_attn.errors import DataError, UserError, WordError


@pytest.fixture(autouse=True)
def _private_ultralytics(tmp_path_factory, monkeypatch):
    """Children neither download nor touch the user's settings, and find this package."""
    monkeypatch.setenv("YOLO_OFFLINE", "1")
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path_factory.mktemp("settings")))


def make(folder, **changes):
    words = {"base": "yolo11n.yaml", "models": ["yolov8n.yaml"], "data": "d.yaml", "train": {"epochs": 3}}
    words |= changes
    return Plan.make(folder=folder, **words)


# ---- plan ----------------------------------------------------------------------------------------------------------


def test_plan_comes_back_as_it_was_saved(tmp_path):
    plan = make(tmp_path / "c", train={"epochs": 3, "lr0": 0.01, "device": [0, 1], "optimizer": "SGD"}, seed=7)
    assert plan.claim() is False
    assert Plan.load(tmp_path / "c") == plan
    assert plan.claim() is True


def test_default_folder_says_what_is_compared_and_differs_with_it():
    plans = [
        make(None),
        make(None, seed=1),
        make(None, train={"epochs": 4}),
        make(None, train={"epochs": 3, "lr0": 0.1}),
        make(None, split="val"),
        make(None, models=["a.yaml", "b.yaml"]),
        make(None, models=[f"a-model-with-a-long-name-{i}.yaml" for i in range(9)]),
        make(None, models=[f"a-model-with-a-long-name-{i}.yaml" for i in range(8)]),
    ]
    folders = [plan.folder.as_posix() for plan in plans]
    assert folders[0] == "runs/compare/d-yolo11n-vs-yolov8n-seed0-epochs3"
    assert folders[5] == "runs/compare/d-yolo11n-vs-a+b-seed0-epochs3"
    assert len(set(folders)) == len(folders)
    assert max(len(plan.folder.name) for plan in plans) < 128


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train": {"epochs": 5}}, "epochs was 3, now 5"),
        ({"train": {"epochs": 3, "imgsz": 64}}, "imgsz was not given, now 64"),
        ({"seed": 4}, "seed was 0, now 4"),
        ({"models": ["yolov8n.yaml", "b.yaml"]}, "models was yolov8n.yaml, now yolov8n.yaml,b.yaml"),
        ({"split": "val"}, "split was auto, now val"),
    ],
)
def test_another_plan_cannot_take_the_folder(tmp_path, changes, words):
    make(tmp_path / "c").claim()
    before = (tmp_path / "c" / "plan.json").read_bytes()
    with pytest.raises(WordError, match=f"holds another comparison: {words}. Use another folder=, or delete it"):
        make(tmp_path / "c", **changes).claim()
    assert (tmp_path / "c" / "plan.json").read_bytes() == before


def test_a_changed_model_file_is_another_comparison(tmp_path):
    model = tmp_path / "mine.yaml"
    model.write_text("nc: 1\n")
    make(tmp_path / "c", models=[str(model)]).claim()
    assert make(tmp_path / "c", models=[str(model)]).claim()
    model.write_text("nc: 2\n")
    with pytest.raises(WordError, match=r"mine\.yaml has changed"):
        make(tmp_path / "c", models=[str(model)]).claim()


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(WordError, match="is no comparison; use another folder="):
        make(tmp_path).claim()
    with pytest.raises(WordError, match="no comparison here"):
        Plan.load(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"models": []}, "no variant given"),
        ({"models": ["yolo11n.yaml"]}, "yolo11n.yaml is named twice"),
        ({"train": {"project": "x"}}, "project= cannot be given .* use folder="),
        ({"train": {"resume": True}}, "resume= cannot be given"),
        ({"train": {"lr0": object()}}, "must be numbers, text or lists"),
        ({"split": "train"}, "split='train' must be one of auto, val, test"),
        ({"seed": -1}, "seed=-1 must be a whole number"),
        ({"seed": True}, "seed=True must be a whole number"),
    ],
)
def test_words_that_cannot_be_used(tmp_path, changes, match):
    with pytest.raises(WordError, match=match):
        make(tmp_path, **changes)


def test_models_of_one_name_get_folders_of_their_own(tmp_path):
    names = [run.name for run in make(tmp_path, models=["a/yolo11n.yaml", "b/yolo11n.yaml"]).runs]
    assert names == ["yolo11n-seed0", "yolo11n-seed0-2", "yolo11n-seed0-3"]


# ---- records -------------------------------------------------------------------------------------------------------


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    records.write_json(path, {"x": float("nan"), "y": [float("inf"), 1]})
    assert records.read_json(path) == {"x": None, "y": [None, 1]}

    class Broken:
        def __str__(self):
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        records.write_json(path, {"x": 1, "y": Broken()})
    assert records.read_json(path) == {"x": None, "y": [None, 1]}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]
    assert records.read_json(tmp_path / "none.json") is None


def test_epochs_are_read_from_both_layouts(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("                  epoch,      metrics/mAP50(B)\n                      1,                  0.25\n")
    assert records.read_epochs(path) == [{"epoch": 1.0, "metrics/mAP50(B)": 0.25}]
    path.write_text("epoch,time,m\n1,2.5,0.1\n2,5,nan\n2,2.1,0.3\n3,4.0")  # epoch 2 twice, epoch 3 cut off
    assert records.read_epochs(path) == [
        {"epoch": 1.0, "time": 2.5, "m": 0.1},
        {"epoch": 2.0, "time": 2.1, "m": 0.3},
    ]
    assert records.read_epochs(tmp_path / "none.csv") == []


def test_epochs_after_the_checkpoint_are_cut(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("epoch,m\n1,0.1\n2,0.2\n3,0.3\n4")
    records.cut_epochs(path, 2)
    assert path.read_text() == "epoch,m\n1,0.1\n2,0.2\n"
    records.cut_epochs(tmp_path / "none.csv", 2)
    assert not (tmp_path / "none.csv").exists()


def test_a_checkpoint_torn_while_written_is_not_the_end(tmp_path):
    import torch

    from yolo_attn.integration.evaluation import Stopped

    run = make(tmp_path).runs[0]
    weights = run.folder / "weights"
    weights.mkdir(parents=True)
    assert worker.find_checkpoint(run)[1] is None
    arguments = {"epochs": 9, "save_dir": "x"}
    torch.save({"epoch": 4, "optimizer": {}, "train_args": arguments}, weights / "best.pt")
    torch.save({"epoch": 6, "optimizer": {}, "train_args": arguments}, weights / "last.pt")
    assert worker.find_checkpoint(run) == (weights / "last.pt", Stopped(7, 9, False, "x"))
    whole = (weights / "last.pt").read_bytes()
    (weights / "last.pt").write_bytes(whole[: len(whole) // 2])
    assert worker.find_checkpoint(run) == (weights / "best.pt", Stopped(5, 9, False, "x"))
    (weights / "best.pt").write_bytes(b"")
    assert worker.find_checkpoint(run)[1] is None


@pytest.mark.parametrize(
    "checkpoint",
    [
        {"epoch": -1, "optimizer": None},  # stripped: the training has ended
        {"epoch": 8, "optimizer": {}},  # killed during the final validation; resumed, it would train a tenth epoch
    ],
)
def test_a_training_that_has_ended_is_not_resumed(tmp_path, checkpoint):
    import torch

    from yolo_attn.integration.evaluation import Stopped, read_stop

    torch.save({**checkpoint, "train_args": {"epochs": 9, "save_dir": "x"}}, tmp_path / "last.pt")
    assert read_stop(tmp_path / "last.pt") == Stopped(9, 9, True, "x")


def test_time_of_a_killed_process_counts_up_to_its_last_epoch(tmp_path):
    run = make(tmp_path).runs[0]
    now = time.time()
    records.write_json(run.folder / "sessions.json", [{"started": now - 100, "ended": None}])
    (run.folder / "results.csv").write_text("epoch\n1\n")
    os.utime(run.folder / "results.csv", (now - 60, now - 60))
    worker._close_sessions(run)
    (session,) = worker.read_sessions(run)
    assert session["ended"] - session["started"] == pytest.approx(40, abs=0.1)


def test_a_run_is_trained_by_one_process_at_a_time(tmp_path):
    run = make(tmp_path).runs[0]
    with (
        worker.alone(run),
        pytest.raises(UserError, match=f"is being trained by process {os.getpid()}; wait"),
        worker.alone(run),
    ):
        pass
    with worker.alone(run):
        pass


@pytest.mark.parametrize("module", ["", ".plan", ".report", ".coco", ".cost", ".runs", ".worker"])
def test_reading_and_drawing_import_no_torch(module):
    code = (
        f"import sys, yolo_attn.compare{module}; "
        "print([m for m in ('torch', 'ultralytics', 'matplotlib', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=runs._environment()
    )
    assert done.stdout.strip() == "[]"


# ---- COCO's figures ------------------------------------------------------------------------------------------------


def random_scene(seed, images=12, classes=4, objects=9):
    """Ground truth, and predictions that hit some of it."""
    rng = random.Random(seed)
    boxes, predictions = [], []
    for image in range(1, images + 1):
        for _ in range(rng.randint(0, objects)):
            side = rng.choice([12, 20, 50, 80, 120, 200])
            box = [rng.uniform(0, 400), rng.uniform(0, 300), side * rng.uniform(0.6, 1.4), side * rng.uniform(0.6, 1.4)]
            category = rng.randrange(classes)
            boxes.append((image, category, box))
            for _ in range(rng.randint(0, 2)):
                moved = [value + rng.gauss(0, 0.06) * side for value in box]
                predictions.append((image, category if rng.random() < 0.9 else rng.randrange(classes), moved))
        predictions.append((image, rng.randrange(classes), [5.0, 5.0, rng.uniform(5, 90), rng.uniform(5, 90)]))
    truth = coco.ground_truth([(i, f"{i}.jpg", 480, 640) for i in range(1, images + 1)], boxes, list("abcd")[:classes])
    scores = rng.sample(range(1, 100000), len(predictions))  # no ties: their order is not defined
    found = [
        {"image_id": i, "category_id": c, "bbox": [round(x, 3) for x in b], "score": s / 1e5}
        for (i, c, b), s in zip(predictions, scores, strict=True)
    ]
    return truth, found


ORDER = ["AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large",
         "AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large"]  # fmt: skip


def pycocotools_figures(truth, predictions):
    api = pytest.importorskip("pycocotools.coco")
    from pycocotools.cocoeval import COCOeval

    reference = api.COCO()
    reference.dataset = truth
    reference.createIndex()
    evaluation = COCOeval(reference, reference.loadRes(predictions), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return dict(zip(ORDER, (None if value < 0 else value for value in evaluation.stats), strict=True))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_figures_are_those_of_pycocotools(seed):
    truth, predictions = random_scene(seed)
    expected = pycocotools_figures(json.loads(json.dumps(truth)), json.loads(json.dumps(predictions)))
    found = coco.figures(truth, predictions)
    assert list(found) == ORDER
    assert found == pytest.approx(expected, abs=1e-12)
    assert 0.05 < found["AP"] < 0.95


def test_figures_are_those_of_faster_coco_eval():
    from faster_coco_eval import COCO, COCOeval_faster

    truth, predictions = random_scene(3)
    ours = coco.figures(truth, predictions)
    reference = COCO(truth)
    evaluation = COCOeval_faster(
        reference, reference.loadRes(predictions), iouType="bbox", print_function=lambda *_: None
    )
    evaluation.run()
    assert [ours[name] for name in ORDER] == pytest.approx(list(evaluation.stats[:12]), abs=1e-12)


def test_figures_do_not_change_what_they_are_given():
    truth, predictions = random_scene(4)
    before = json.dumps([truth, predictions])
    assert coco.figures(truth, predictions) == coco.figures(truth, predictions)
    assert json.dumps([truth, predictions]) == before


def test_no_predictions_is_zero_where_there_is_something_to_find():
    truth = coco.ground_truth([(1, "a.jpg", 99, 99), (2, "b.jpg", 99, 99)], [(1, 0, [5, 5, 10, 10])], ["x", "y"])
    found = coco.figures(truth, [])
    assert found["AP"] == found["AP_small"] == found["AR100"] == 0
    assert found["AP_medium"] is None
    assert found["AP_large"] is None


def test_images_without_labels_and_absent_classes():
    images = [(1, "a.jpg", 99, 99), (2, "b.jpg", 99, 99)]
    hit = {"image_id": 1, "category_id": 0, "bbox": [5, 5, 50, 50], "score": 0.5}
    stray = {"image_id": 2, "category_id": 1, "bbox": [5, 5, 50, 50], "score": 0.9}
    truth = coco.ground_truth(images, [(1, 0, [5, 5, 50, 50])], ["x", "y"])
    assert coco.figures(truth, [hit])["AP"] == pytest.approx(1)
    assert coco.figures(truth, [hit, stray])["AP"] == pytest.approx(1)  # class y is not in the split
    on_empty = {**stray, "category_id": 0}
    assert coco.figures(truth, [hit, on_empty])["AP"] == pytest.approx(0.5)  # a false find on an image without labels
    assert set(coco.figures(coco.ground_truth(images, [], ["x", "y"]), [hit]).values()) == {None}


def test_predictions_of_unknown_images_are_refused():
    truth = coco.ground_truth([(1, "a.jpg", 99, 99)], [(1, 0, [5, 5, 50, 50])], ["x"])
    with pytest.raises(ValueError, match="predictions of 1 images without ground truth, as of image 7"):
        coco.figures(truth, [{"image_id": 7, "category_id": 0, "bbox": [0, 0, 1, 1], "score": 1.0}])


# ---- costs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["yolo11n.yaml", "yolov8n.yaml"])
def test_costs_agree_with_ultralytics(name):
    from ultralytics import YOLO

    opened = YOLO(name)
    _, count, _, theirs = opened.info()
    model = opened.model.eval()
    assert cost.parameters(model) == count
    ours = cost.gflops(model)
    assert ours == pytest.approx(theirs, rel=0.04)  # thop counts the norms
    assert ours < theirs


def test_attention_is_counted():
    import torch
    from torch import nn

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = nn.Conv2d(3, 8, 1, bias=False)

        def forward(self, x):
            x = self.one(x).flatten(2).transpose(1, 2)
            return torch.nn.functional.scaled_dot_product_attention(x, x, x)

    tokens = 16 * 16
    multiply_adds = tokens * 3 * 8 + 2 * tokens * tokens * 8
    assert cost.gflops(Attention().eval(), 16) == pytest.approx(2 * multiply_adds / 1e9)


def test_latencies_are_taken_in_turn():
    from torch import nn

    order = []

    class Spy(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name, self.layer = name, nn.Conv2d(3, 4, 1)

        def forward(self, x):
            order.append((self.name, tuple(x.shape), self.training))
            return self.layer(x)

        def __deepcopy__(self, memo):
            return Spy(self.name)

    models = {name: Spy(name) for name in "abc"}
    times = cost.latencies(models, 32, min_rounds=4, max_rounds=4, seconds=0)
    assert {name: len(values) for name, values in times.items()} == {"a": 4, "b": 4, "c": 4}
    assert "".join(name for name, *_ in order[3 * cost.WARMUP :]) == "abccbaabccba"
    assert {(shape, training) for _, shape, training in order} == {((1, 3, 32, 32), False)}


def test_ratio_is_taken_round_by_round():
    base = [10.0, 10.0, 1000.0, 10.0, 10.0]  # the machine stalls in the third round, for both
    mine = [11.0, 11.0, 1100.0, 11.0, 11.0]
    assert cost.ratios(mine, base)["median"] == pytest.approx(1.1)
    assert cost.ratios(mine, base)["p90"] == pytest.approx(1.1)
    assert cost.spread([1.0, 2.0, 3.0])["median"] == 2


def test_device_and_size_as_ultralytics_reads_them():
    assert cost.torch_device("cpu") == "cpu"
    assert cost.torch_device(0) == cost.torch_device("0,1") == cost.torch_device("cuda:0") == "cuda:0"
    assert cost.torch_device([1, 2]) == "cuda:1"
    assert cost.largest([320, 640]) == cost.largest(640) == 640


# ---- runs, with children that only pretend -------------------------------------------------------------------------

PRETENDER = """
import json, os, signal, sys, time
from pathlib import Path
module, folder, *name = sys.argv[1:]
folder = Path(folder)
log = (folder / "log.txt").open("a")
log.write(" ".join([module.rsplit(".", 1)[1], *name]) + "\\n")
log.close()
behaviour = json.loads(os.environ["BEHAVIOUR"])
what = behaviour.get(name[0] if name else module.rsplit(".", 1)[1] + "!", "good")
target = folder / name[0] if name else folder
target.mkdir(exist_ok=True)
if what == "good" and name:
    (target / "record.json").write_text(json.dumps(RECORD | {"model": name[0].split("-")[0] + ".yaml"}))
elif what == "good" and module.endswith("cost"):
    runs = {r.parent.name: json.loads(r.read_text())["ended"] for r in folder.glob("*/record.json")}
    (folder / "cost.json").write_text(json.dumps({"runs": runs, "models": {}}))
elif what == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
elif what == "interrupted":
    sys.exit(130)
elif what != "good":
    kind, message = what
    (target / "error.json").write_text(json.dumps({"kind": kind, "message": message}))
    sys.exit(2 if kind else 1)
"""


def made_up_record(model="m.yaml", *, map50=0.5, map_=0.25, epochs=2, **changes):
    figures = dict.fromkeys(ORDER, 0.3) | {"AP_small": 0.125, "AP_medium": 0.4, "AP_large": None}
    return {
        "model": model,
        "seed": 0,
        "arguments": {"epochs": 2, "imgsz": 64, "pretrained": True},
        "versions": {"ultralytics": "8.4.190", "faster-coco-eval": "1.8.0"},
        "hardware": {"cpu": "A CPU", "threads": 2},
        "git": None,
        "data": {"path": "d.yaml", "split": "test", "split_reason": "no epoch was chosen on it", "images": 8,
                 "boxes": 21, "names": ["x"]},
        "ended": "2026-01-01T00:00:00+00:00",
        "sessions": 1,
        "train_seconds": 12.5,
        "peak_memory": {"resident_bytes": 1, "gpu_bytes": None},
        "epochs": [{"epoch": i + 1} for i in range(epochs)],
        "figures": {"ultralytics": {"mAP50": map50, "mAP50-95": map_, "precision": 0, "recall": 0}, "coco": figures},
        **changes,
    }  # fmt: skip


@pytest.fixture
def pretend(tmp_path, monkeypatch):
    """Children that write a record, an error or nothing, as told; returns what tells them."""
    script = tmp_path / "pretender.py"
    script.write_text(f"RECORD = {made_up_record()!r}\n{PRETENDER}")
    monkeypatch.setattr(runs, "command", lambda *words: [sys.executable, str(script), *map(str, words)])

    def tell(**behaviour):
        monkeypatch.setenv("BEHAVIOUR", json.dumps({key.replace("_", "-"): what for key, what in behaviour.items()}))

    tell()
    return tell


def quiet():
    return Console(file=io.StringIO(), width=100)


def log_of(plan):
    return (plan.folder / "log.txt").read_text().split("\n")[:-1]


def test_every_model_is_trained_once_and_kept(tmp_path, pretend):
    plan = make(tmp_path / "c", models=["a.yaml", "b.yaml"])
    console = quiet()
    results = compare(plan, console)
    everything = ["worker", "worker yolo11n-seed0", "worker a-seed0", "worker b-seed0", "cost"]
    assert log_of(plan) == everything
    assert results["failed"] == {}
    assert "[1/3] yolo11n.yaml: training (3 epochs) ..." in console.file.getvalue()
    assert compare(plan, console)["models"] == results["models"]
    assert log_of(plan) == everything  # nothing was run again
    assert "[3/3] b.yaml: finished before, kept" in console.file.getvalue()


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ([None, "ValueError: odd"], "ValueError: odd (in full above)"),
        (["LayerError", "layer 3 cannot be built"], "layer 3 cannot be built"),
        pytest.param(
            "killed",
            "its process was ended by SIGKILL; the system may have run out of memory",
            marks=pytest.mark.skipif(sys.platform == "win32", reason="no signals"),
        ),
    ],
)
def test_a_failed_run_is_reported_and_the_others_go_on(tmp_path, pretend, what, reason):
    plan = make(tmp_path / "c", models=["a.yaml", "b.yaml"])
    console = quiet()
    pretend(a_seed0=what)
    results = compare(plan, console)
    assert results["failed"] == {"a.yaml": reason}
    assert [model["model"] for model in results["models"]] == ["yolo11n.yaml", "b.yaml"]
    assert results["models"][1]["difference"]["map"] == 0
    assert f"a.yaml failed: {reason}" in " ".join(console.file.getvalue().split())
    assert reason in (plan.folder / "results.md").read_text()
    pretend()  # mended
    assert compare(plan, quiet())["failed"] == {}
    assert log_of(plan)[5:] == ["worker", "worker a-seed0", "cost"]


def test_without_the_baseline_there_are_no_differences(tmp_path, pretend):
    pretend(yolo11n_seed0=["LayerError", "no"])
    results = compare(make(tmp_path / "c"), quiet())
    assert [model["role"] for model in results["models"]] == ["variant"]
    assert results["models"][0]["difference"] is None


def test_a_mistake_that_concerns_every_run_ends_the_comparison(tmp_path, pretend):
    plan = make(tmp_path / "c")
    pretend(yolo11n_seed0=["DataError", "data d.yaml: no labels"])
    with pytest.raises(DataError, match=r"^data d\.yaml: no labels$"):
        compare(plan, quiet())
    assert log_of(plan) == ["worker", "worker yolo11n-seed0"]


def test_a_mistake_is_found_before_the_first_training(tmp_path, pretend):
    plan = make(tmp_path / "c")
    pretend(**{"worker!": ["WordError", "'epoch' is no argument"]})
    with pytest.raises(WordError, match=r"^'epoch' is no argument$"):
        compare(plan, quiet())
    assert log_of(plan) == ["worker"]


def test_an_interruption_says_how_to_go_on(tmp_path, pretend):
    pretend(v_seed0="interrupted")
    plan, console = make(tmp_path / "c", models=["v.yaml"]), quiet()
    with pytest.raises(KeyboardInterrupt):
        compare(plan, console)
    assert "Interrupted. The same command goes on where this stopped" in console.file.getvalue()
    assert "v.yaml is not finished" in drawn(report.collect(plan.folder))


def test_failed_measurement_leaves_the_accuracy(tmp_path, pretend):
    console = quiet()
    pretend(**{"cost!": [None, "RuntimeError: no"]})
    results = compare(make(tmp_path / "c"), console)
    assert "No costs: RuntimeError: no" in console.file.getvalue()
    assert results["models"][0]["latency_ms"] is None
    assert results["models"][0]["map50"] == 0.5


# ---- the table -----------------------------------------------------------------------------------------------------


@pytest.fixture
def finished(tmp_path):
    """A finished comparison, made up."""
    plan = Plan.make("yolo11n.yaml", ["yolo11n-ema.yaml"], "bccd.yaml", train={"epochs": 2}, folder=tmp_path / "c")
    plan.claim()
    records.write_json(plan.runs[0].record, made_up_record("yolo11n.yaml"))
    records.write_json(plan.runs[1].record, made_up_record("yolo11n-ema.yaml", map50=0.512, map_=0.2404))
    spread = {"median": 10.0, "p10": 9.0, "p90": 12.0}
    records.write_json(
        plan.folder / "cost.json",
        {
            "runs": cost.fingerprint(plan),
            "gflops_imgsz": 640,
            "latency": {"imgsz": 64, "batch": 1, "dtype": "float32", "device": "A CPU", "threads": 2, "rounds": 50},
            "models": {
                "yolo11n-seed0": {"parameters": 2590000, "gflops": 6.4, "latency_ms": spread,
                                  "latency_ratio": {"median": 1.0, "p10": 1.0, "p90": 1.0}},
                "yolo11n-ema-seed0": {"parameters": 2600000, "gflops": 6.5, "latency_ms": {**spread, "median": 30.0},
                                      "latency_ratio": {"median": 2.54, "p10": 2.0, "p90": 3.1}},
            },
        },
    )  # fmt: skip
    return plan


def drawn(results, width=100):
    console = Console(file=io.StringIO(), width=width)
    report.show(results, console)
    return console.file.getvalue()


def cells(text, start):
    line = next(line for line in text.splitlines() if line.strip().startswith(start))
    return line.split()


@pytest.mark.parametrize("width", [80, 100, 160])
def test_table(finished, width):
    text = drawn(report.collect(finished.folder), width)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert "\x1b" not in text
    assert "…" not in text
    assert cells(text, "yolo11n ") == ["yolo11n", "2.59", "6.4", "50.0", "25.0", "12.5", "40.0", report.NONE, "10.0"]
    assert cells(text, "yolo11n-ema")[1:] == ["2.60", "6.5", "51.2", "24.0", "12.5", "40.0", report.NONE, "30.0"]
    assert cells(text, "difference") == [
        "difference",
        "+0.4%",
        "+1.6%",
        "+1.2",
        "-1.0",
        "0.0",
        "0.0",
        report.NONE,
        "x2.5",
    ]
    assert text.index("yolo11n ") < text.index("yolo11n-ema") < text.index("difference")
    caption = " ".join(text.split())
    assert (
        "bccd, test split (no epoch was chosen on it): 8 images, 21 boxes. 2 epochs at 64 px, from scratch" in caption
    )
    assert "by Ultralytics 8.4.190" in caption
    assert "by faster-coco-eval 1.8.0" in caption
    assert "on A CPU, 2 threads; median of 50 rounds" in caption
    assert "yolo11n-ema 9.0 to 12.0 (x2.00 to x3.10 of the baseline)" in caption
    assert "One seed shows that the models train, not that one is better" in caption


def test_a_long_name_is_folded_not_cut(finished):
    results = report.collect(finished.folder)
    results["models"][1]["title"] = "yolo11n-" + "-".join(f"part{i}" for i in range(8))
    text = drawn(results, 80)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert "…" not in text
    assert results["models"][1]["title"] in "".join(line.split()[0] for line in text.splitlines() if line.split())


def test_files_say_what_the_table_says(finished):
    results = report.collect(finished.folder)
    report.write(finished.folder, results)
    assert records.read_json(finished.folder / "results.json") == json.loads(json.dumps(results))

    lines = (finished.folder / "results.md").read_text().splitlines()
    assert lines[2] == f"| yolo11n | 2.59 | 6.4 | 50.0 | 25.0 | 12.5 | 40.0 | {report.NONE} | 10.0 |"
    assert lines[4] == f"| *difference* | +0.4% | +1.6% | +1.2 | -1.0 | 0.0 | 0.0 | {report.NONE} | x2.5 |"
    assert {line.count("|") for line in lines[:5]} == {10}
    assert lines[-1] == results["caption"][-1]

    with (finished.folder / "results.csv").open(newline="") as file:
        base, variant = csv.DictReader(file)
    assert (base["model"], base["role"], base["map_points_more"], base["ap_large"]) == (
        "yolo11n.yaml",
        "baseline",
        "",
        "",
    )
    assert float(variant["map_points_more"]) == pytest.approx(-0.96)
    assert float(variant["latency_ms_ratio"]) == 2.54
    assert float(variant["map50"]) == 0.512


def test_the_caption_says_what_makes_runs_unlike(finished):
    old = made_up_record("yolo11n.yaml", sessions=2, epochs=1, versions={"ultralytics": "8.4.0"})
    records.write_json(finished.runs[0].record, old)
    caption = " ".join(report.collect(finished.folder)["caption"])
    assert "Interrupted and resumed: yolo11n;" in caption
    assert "the runs differ in versions (faster-coco-eval, ultralytics)" in caption
    assert "2 epochs (yolo11n stopped after 1)" in caption
    assert "hardware" not in caption


def test_a_busy_machine_is_named(finished):
    assert "Careful" not in " ".join(report.collect(finished.folder)["caption"])
    measured = records.read_json(finished.folder / "cost.json")
    measured["models"]["yolo11n-ema-seed0"]["latency_ms"] = {"median": 30.0, "p10": 14.0, "p90": 1200.0}
    records.write_json(finished.folder / "cost.json", measured)
    caption = " ".join(report.collect(finished.folder)["caption"])
    assert "the latency of yolo11n-ema swings by more than x2" in caption


def test_the_caption_names_the_weights_without_their_path(finished):
    start = {"epochs": 2, "imgsz": 64, "pretrained": "/home/someone/yolo11n.pt"}
    records.write_json(finished.runs[0].record, made_up_record("yolo11n.yaml", arguments=start))
    caption = " ".join(report.collect(finished.folder)["caption"])
    assert "started from yolo11n.pt," in caption
    assert "/home" not in caption


def test_changes():
    assert report.change("points", -0.04) == "0.0"
    assert report.change("points", 1.25) in ("+1.2", "+1.3")
    assert report.change("cost", 1.0) == "0.0%"
    assert report.change("cost", 0.9) == "-10.0%"
    assert report.change("cost", 2.0) == "x2.0"
    assert report.change("cost", None) == report.NONE


# ---- with real trainings -------------------------------------------------------------------------------------------


@pytest.fixture
def rectangles(tmp_path):
    """A data set of coloured rectangles, 64 px, with a test split in two folders that share their file names."""
    import cv2

    rng = np.random.default_rng(0)
    root = tmp_path / "rectangles"
    for folder, count in (("train", 16), ("val", 6), ("test/a", 4), ("test/b", 4)):
        for kind in ("images", "labels"):
            (root / kind / folder).mkdir(parents=True)
        for number in range(count):
            image = np.full((48, 64, 3), 30, np.uint8)
            lines = []
            for category in range(2 if number else 0):  # the first image of each folder is empty
                w, h = (int(side) for side in rng.integers(14, 28, 2))
                x, y = int(rng.integers(0, 64 - w)), int(rng.integers(0, 48 - h))
                image[y : y + h, x : x + w] = ((250, 40, 40), (40, 250, 40))[category]
                lines.append(f"{category} {(x + w / 2) / 64} {(y + h / 2) / 48} {w / 64} {h / 48}")
            cv2.imwrite(str(root / "images" / folder / f"{number:03d}.png"), image)
            (root / "labels" / folder / f"{number:03d}.txt").write_text("\n".join(lines))
    data = root / "rectangles.yaml"
    data.write_text(
        f"path: {root}\ntrain: images/train\nval: images/val\ntest: [images/test/a, images/test/b]\n"
        "names: {0: red, 1: green}\n"
    )
    return data


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0, 6])
def test_perfect_predictions_are_perfect_in_both_figures(tmp_path, rectangles, monkeypatch, shift):
    """Ids, letterboxing and scale of predictions and labels agree: what is found exactly scores 1, what is not, 0.

    The images are 64 x 48 and are seen at 96, sorted by aspect ratio, from two folders that share their file names.
    """
    import torch
    from ultralytics import YOLO

    from yolo_attn.integration import evaluation

    original = evaluation._Validator.update_metrics

    def with_labels_as_predictions(self, preds, batch):
        height, width = batch["img"].shape[2:]
        replaced = []
        for number, pred in enumerate(preds):
            mine = batch["batch_idx"] == number
            x, y, w, h = (batch["bboxes"][mine] * torch.tensor([width, height, width, height])).unbind(1)
            boxes = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 1) + shift * 5
            category, score = batch["cls"][mine].reshape(-1), torch.linspace(0.9, 0.8, len(boxes))
            if isinstance(pred, dict):
                replaced.append({"bboxes": boxes, "conf": score, "cls": category, "extra": boxes[:, :0]})
            else:
                replaced.append(torch.cat([boxes, score[:, None], category[:, None]], 1))
        original(self, replaced, batch)

    monkeypatch.setattr(evaluation._Validator, "update_metrics", with_labels_as_predictions)
    YOLO("yolo11n.yaml").save(tmp_path / "best.pt")
    words = {"imgsz": 96, "device": "cpu", "batch": 3}
    found = evaluation.evaluate(tmp_path / "best.pt", str(rectangles), words, "auto", tmp_path / "scratch")
    assert (found.split, found.reason) == ("test", "no epoch was chosen on it")
    assert not (tmp_path / "scratch").exists()
    assert len(found.predictions) == len(found.boxes) == 12
    figures = coco.figures(coco.ground_truth(found.images, found.boxes, found.names), found.predictions)
    expected = 0 if shift else 1
    assert figures["AP"] == figures["AR100"] == pytest.approx(expected, abs=1e-9)
    assert found.ultralytics["mAP50-95"] == pytest.approx(0.995 * expected, abs=0.001)  # Ultralytics' 1 is 0.995


@pytest.mark.slow
def test_a_test_split_without_labels_is_not_used(tmp_path, rectangles):
    from ultralytics import YOLO

    from yolo_attn.integration import evaluation

    for file in (rectangles.parent / "labels" / "test").rglob("*.txt"):
        file.unlink()
    YOLO("yolo11n.yaml").save(tmp_path / "best.pt")
    found = evaluation.evaluate(
        tmp_path / "best.pt", str(rectangles), {"imgsz": 64, "device": "cpu"}, "auto", tmp_path / "scratch"
    )
    assert (found.split, found.reason) == ("val", "the test split has no labels")
    rectangles.write_text(rectangles.read_text().replace("test:", "other:"))
    with pytest.raises(DataError, match="has no images for split=test; use split=auto"):
        evaluation.evaluate(tmp_path / "best.pt", str(rectangles), {}, "test", tmp_path / "scratch")


def start(plan):
    """Start the comparison as its own process, so that it can be killed like one."""
    code = (
        "import sys; from yolo_attn.compare import Plan, compare; "
        f"sys.exit(bool(compare(Plan.load({str(plan.folder)!r}))['failed']))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=runs._environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kills a process by signal")
def test_a_killed_training_goes_on_and_a_finished_one_is_kept(tmp_path, rectangles):
    words = {"epochs": 5, "imgsz": 64, "batch": 8, "device": "cpu"}
    plan = Plan.make("yolo11n.yaml", ["yolov8n.yaml"], str(rectangles), seed=3, train=words, folder=tmp_path / "c")
    plan.claim()
    first, second = plan.runs
    process = start(plan)
    deadline = time.monotonic() + 120
    while (
        len(records.read_epochs(first.folder / "results.csv")) < 2 or not (first.folder / "weights/last.pt").is_file()
    ):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(int((first.folder / ".lock").read_text()), signal.SIGKILL)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 1, output[-3000:]
    assert "[1/2] yolo11n.yaml: failed: its process was ended by SIGKILL" in output
    assert not first.record.exists()
    trained = len(records.read_epochs(first.folder / "results.csv"))
    assert 2 <= trained < 5
    first_epoch = records.read_epochs(first.folder / "results.csv")[0]
    kept = second.record.stat().st_mtime_ns

    process = start(plan)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output[-3000:]
    assert "[2/2] yolov8n.yaml: finished before, kept" in output
    assert second.record.stat().st_mtime_ns == kept
    assert f"going on after {trained} of 5 epochs" in output

    record = records.read_json(first.record)
    assert [row["epoch"] for row in record["epochs"]] == list(range(1, 6))
    assert record["epochs"][0] == first_epoch  # its time too: not trained again
    assert record["sessions"] == 2
    assert record["seed"] == record["arguments"]["seed"] == 3
    assert record["train_seconds"] > 0
    assert record["peak_memory"]["resident_bytes"] > 10**7
    assert record["versions"]["ultralytics"]
    assert record["data"]["split"] == "test"
    assert record["data"]["images"] == 8  # the two folders' files of one name are eight images
    assert record["data"]["boxes"] == 12
    assert record["data"]["names"] == ["red", "green"]

    truth = records.read_json(first.folder / "ground_truth.json")
    predictions = records.read_json(first.folder / "predictions.json")
    assert [image["file_name"] for image in truth["images"]][3:5] == ["a/003.png", "b/000.png"]
    assert {(image["height"], image["width"]) for image in truth["images"]} == {(48, 64)}
    assert {prediction["category_id"] for prediction in predictions} <= {0, 1}
    assert coco.figures(truth, predictions) == pytest.approx(record["figures"]["coco"])
    sides = [annotation["bbox"][2] for annotation in truth["annotations"]]
    assert all(14 <= side <= 28 and side == pytest.approx(round(side), abs=0.01) for side in sides)

    results = records.read_json(plan.folder / "results.json")
    base, variant = results["models"]
    assert base["role"] == "baseline"
    assert base["parameters"] > 2e6
    assert variant["latency_ms"] > 0
    assert variant["difference"]["parameters"] == pytest.approx(variant["parameters"] / base["parameters"])
    assert "Interrupted and resumed: yolo11n" in " ".join(results["caption"])
    assert not list(plan.folder.rglob("*.part"))


@pytest.mark.slow
def test_mistakes_are_one_line_and_train_nothing(tmp_path, rectangles):
    def told(match, **changes):
        words = {"base": "yolo11n.yaml", "models": ["yolov8n.yaml"], "data": str(rectangles)} | changes
        plan = Plan.make(**words, folder=tmp_path / "mistake")
        with pytest.raises(UserError, match=match) as caught:
            compare(plan, quiet())
        assert "\n" not in str(caught.value)
        assert not list(plan.folder.rglob("*.pt"))
        (plan.folder / "plan.json").unlink()
        (plan.folder / "error.json").unlink()

    told("'epochz' is no argument of yolo train. Did you mean 'epochs'", train={"epochz": 3})
    told("yolov99n", models=["yolov99n.yaml"])
    told("for the task segment; only detection", models=["yolo11n-seg.yaml"])
    told("nowhere", data=str(tmp_path / "nowhere.yaml"))
