"""Parameters, GFLOPs, latency and throughput, and the file they are kept in."""

from __future__ import annotations

import json
import subprocess
import sys
from unittest import mock

import pytest
import torch
from comparison import make
from made_up_experiment import empty_record
from support import write_json
from torch import nn
from ultralytics import YOLO
from ultralytics.utils.torch_utils import get_flops

from yolo_attn.comparison import cost_measurement, environment, latency_measurement
from yolo_attn.errors import UserError
from yolo_attn.integration.queries import forward_timing, gflops_count, validation


@pytest.mark.parametrize("name", ["yolo11n.yaml", "yolov8n.yaml"])
def test_costs_agree_with_ultralytics(name):
    opened = YOLO(name)
    theirs = opened.info()[3]
    model = opened.model.eval()
    ours = gflops_count.model_gflops(model)
    assert ours == pytest.approx(theirs, rel=0.04)  # thop counts the norms
    assert ours < theirs


class Spy(nn.Module):
    """Keeps in ``order`` what it was called with; ``fail`` may raise."""

    def __init__(self, name, order, fail=lambda batch: None):
        super().__init__()
        self.name, self.order, self.fail, self.layer = name, order, fail, nn.Conv2d(3, 4, 1)

    def forward(self, x):
        self.fail(len(x))
        self.order.append((self.name, tuple(x.shape), torch.is_grad_enabled()))
        return self.layer(x)


def test_models_are_timed_in_turn():
    order = []
    found = latency_measurement.times({name: Spy(name, order) for name in "abc"}, 32, batch=2, rounds=(4, 4), seconds=0)
    assert {name: len(values) for name, values in found.items()} == {"a": 4, "b": 4, "c": 4}
    assert "".join(name for name, *_ in order[3 * forward_timing.WARMUP :]) == "abccbaabccba"
    assert {(shape, grad) for _, shape, grad in order} == {((2, 3, 32, 32), False)}


def test_rounds_end_with_the_time(monkeypatch):
    order = []
    assert len(latency_measurement.times({"a": Spy("a", order)}, 32, rounds=(3, 50), seconds=0)["a"]) == 3
    assert len(latency_measurement.times({"a": Spy("a", order)}, 32, rounds=(3, 50), seconds=60)["a"]) == 50
    order.clear()
    monkeypatch.setattr(forward_timing, "WARMUP_SECONDS", 0.0)
    latency_measurement.times({"a": Spy("a", order)}, 32, rounds=(1, 1), seconds=0)
    assert len(order) == 2  # one to warm up


@pytest.mark.fast
def test_ratio_is_taken_round_by_round():
    base = [10.0, 10.0, 1000.0, 10.0, 10.0]  # the machine stalls in the third round, for both
    mine = [11.0, 11.0, 1100.0, 11.0, 11.0]
    assert latency_measurement.ratios(mine, base).median == pytest.approx(1.1)
    assert latency_measurement.ratios(mine, base).p90 == pytest.approx(1.1)
    assert latency_measurement.spread([1.0, 2.0, 3.0]).median == 2
    assert latency_measurement.rates([100.0, 200.0], 8) == [80, 40]


@pytest.mark.fast
def test_a_batch_that_takes_too_long_is_halved():
    order = []
    models = {"a": Spy("a", order)}
    assert latency_measurement.batch_times(models, 32, 16, slowest=10.0)[1:] == (16, None)
    assert latency_measurement.batch_times(models, 32, 16, slowest=100.0)[1:] == (4, "time")
    assert latency_measurement.batch_times(models, 32, 16, slowest=60_000.0)[1:] == (1, "time")
    assert {shape[0] for _, shape, _ in order} == {16, 4, 1}


FULL = torch.cuda.OutOfMemoryError("CUDA out of memory.")


@pytest.mark.parametrize("error", [FULL, RuntimeError("[enforce fail] can't allocate memory"), MemoryError()])
def test_a_batch_that_does_not_fit_is_halved_for_all_models(error):
    def full(batch):
        if batch > 3:
            raise error

    order = []
    models = {"a": Spy("a", order), "b": Spy("b", order, full)}
    found, batch, limit = latency_measurement.batch_times(models, 32, 16, slowest=1.0)
    assert (batch, limit) == (2, "memory")
    assert set(found) == {"a", "b"}
    assert len(found["a"]) == len(found["b"])


@pytest.mark.parametrize(
    ("error", "kind", "values"),
    [
        (RuntimeError("shapes do not match"), RuntimeError, "shapes"),
        (FULL, UserError, "one image of 32 px with 1 models"),
    ],
)
def test_what_is_no_lack_of_memory_is_not_hidden(error, kind, values):
    def fail(batch):
        raise error

    with pytest.raises(kind, match=values):
        latency_measurement.batch_times({"a": Spy("a", [], fail)}, 32, 4, slowest=1.0)


@pytest.mark.fast
def test_device_as_ultralytics_reads_it():
    assert cost_measurement.torch_device("cpu") == "cpu"
    assert {cost_measurement.torch_device(given) for given in (0, "0,1", "cuda:0")} == {"cuda:0"}
    assert cost_measurement.torch_device([1, 2]) == "cuda:1"


@pytest.fixture
def comparison(tmp_path):
    """A comparison of two seeds with made-up records; the variant's first run is not finished."""
    plan = make(tmp_path / "c", base="yolov8n.yaml", models=["yolo11n.yaml"], seeds="0-1", arguments={"device": "cpu"})
    plan.save()
    for run in plan.runs:
        if (run.model, run.seed) != ("yolo11n", 0):
            model = YOLO(run.model_file).model
            changes = {"checkpoint": "best.pt", "arguments": {"imgsz": [30, 50], "batch": 2}, "model_yaml": model.yaml}
            write_json(run.record, empty_record(plan, run) | changes)
    return plan


def test_each_model_is_measured_once(comparison, monkeypatch):
    monkeypatch.setattr(latency_measurement, "SECONDS", 0.0)
    monkeypatch.setattr(forward_timing, "WARMUP_SECONDS", 0.0)
    monkeypatch.setattr(gflops_count, "IMGSZ", 64)
    monkeypatch.setattr(cost_measurement, "MAX_THREADS", 1)  # several on a busy core wait for each other
    build = mock.Mock(wraps=validation.build)
    monkeypatch.setattr(validation, "build", build)

    assert not cost_measurement.is_measured(comparison)
    threads = torch.get_num_threads()
    try:
        assert cost_measurement.main([str(comparison.folder)]) == 0
    finally:
        torch.set_num_threads(threads)
    assert build.call_count == 2  # there are no checkpoints here
    assert cost_measurement.is_measured(comparison)
    found = json.loads((comparison.folder / "cost.json").read_text())
    assert {name: model["run"] for name, model in found["models"].items()} == {
        "yolov8n": "yolov8n-seed0",
        "yolo11n": "yolo11n-seed1",
    }
    assert found["gflops_imgsz"] == 64
    place = {"imgsz": 64, "dtype": "float32", "device": environment.cpu_name()}
    assert found["latency"].items() >= {**place, "batch": 1, "rounds": 5}.items()
    limits = {"batch": 2, "requested_batch": 2, "batch_limit": None, "rounds": 7}
    assert found["throughput"].items() >= {**place, **limits}.items()
    for title, values in found["models"].items():
        model = YOLO(f"{title}.yaml").model
        assert values["parameters"] == sum(parameter.numel() for parameter in model.parameters())
        assert 0.95 < values["gflops"] / get_flops(model, 64) < 1
        assert values["latency_ms"]["p10"] <= values["latency_ms"]["median"] <= values["latency_ms"]["p90"]
        assert values["images_per_s"]["median"] > 0
    for check in ("latency_check", "throughput_check"):
        assert 0.1 < found[check]["median"] < 10
    for ratio in ("latency_ratio", "throughput_ratio"):
        assert found["models"]["yolov8n"][ratio] == {"median": 1, "p10": 1, "p90": 1}
    assert found["models"]["yolo11n"]["throughput_ratio"]["median"] > 0

    write_json(comparison.run("yolo11n-seed0").record, {})
    assert not cost_measurement.is_measured(comparison)  # the model's first run is another one now


def test_a_model_without_its_checkpoint_is_built_from_its_record(tmp_path):
    model = YOLO("yolo11n.yaml").model
    rebuilt = validation.build(json.loads(json.dumps({**model.yaml, "nc": 3})))
    assert not rebuilt.training
    assert rebuilt.model[-1].nc == 3
    assert [type(m) for m in rebuilt.model] == [type(m) for m in model.model]
    same = validation.build(model.yaml)
    assert {k: v.shape for k, v in same.state_dict().items()} == {k: v.shape for k, v in model.state_dict().items()}


def test_nothing_to_measure_is_said(tmp_path):
    plan = make(tmp_path / "c")
    plan.save()
    assert cost_measurement.main([str(plan.folder)]) == 2
    assert "no run is finished" in json.loads((plan.folder / "error.json").read_text())["message"]
    assert not (plan.folder / "cost.json").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="Linux hands the peak of the starting process on")
def test_the_peak_memory_is_this_processs():
    code = (
        "from yolo_attn.comparison import environment; before = environment.peak_memory()\n"
        "block = bytearray(b'x' * 2**26); del block; print(before.resident_bytes,"
        " environment.peak_memory().resident_bytes, before.gpu_bytes)"
    )
    large = bytearray(b"x" * 2**29)  # resident in this process when it starts the other
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    del large
    before, after, gpu = done.stdout.split()
    assert gpu == "None"
    assert 2**22 < int(before) < 2**28
    assert 0.9 * 2**26 < int(after) - int(before) < 3 * 2**26
