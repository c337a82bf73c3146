"""What a model costs: parameters, operations, and the time of one forward pass beside the baseline's.

    python -m yolo_attn.compare.cost FOLDER     measure the finished runs of a comparison, write FOLDER/cost.json

All models are timed in one process, one after the other in every round, and a ratio is taken within a round: a
machine that slows down for a second slows both. The forward pass is that of a fused model in float32 with batch 1,
without non-maximum suppression.
"""

from __future__ import annotations

import copy
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yolo_attn.compare import environment
from yolo_attn.compare.plan import Plan
from yolo_attn.compare.records import read_json, write_json
from yolo_attn.errors import UserError

if TYPE_CHECKING:
    from torch import nn

FLOPS_IMGSZ = 640  # the size at which every YOLO table gives them
MIN_ROUNDS = 20
MAX_ROUNDS = 100
SECONDS = 10.0  # of measuring, for each model; MIN_ROUNDS come first
WARMUP = 5  # rounds
MAX_THREADS = 8  # as Ultralytics, which takes no more on a CPU


def parameters(model: nn.Module) -> int:
    """Return the number of parameters, as ``model.info()`` counts them."""
    return sum(p.numel() for p in model.parameters())


def gflops(model: nn.Module, imgsz: int = FLOPS_IMGSZ) -> float:
    """Return 2 x the multiply-adds of one image in billions: convolutions, matrix products and attention.

    Norms, activations and sums are not counted, nor is what is no matrix product (an FFT). Ultralytics' own figure,
    by thop, counts norms, and up to 8.4.60 leaves out ``scaled_dot_product_attention``.

    Args:
        model: Not fused, in eval mode.
        imgsz: Height and width of the image, pixels.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    weight = next(model.parameters())
    image = torch.zeros(1, weight.shape[1], imgsz, imgsz, device=weight.device, dtype=weight.dtype)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(image)
    return counter.get_total_flops() / 1e9


def latencies(
    models: Mapping[str, nn.Module],
    imgsz: int,
    *,
    device: str = "cpu",
    min_rounds: int = MIN_ROUNDS,
    max_rounds: int = MAX_ROUNDS,
    seconds: float = SECONDS,
) -> dict[str, list[float]]:
    """Time one forward pass of each model in every round, the order turned around from round to round.

    Args:
        models: By name; not changed.
        imgsz: Height and width of the image, pixels.
        device: Where, as torch names it.
        min_rounds: Rounds at least.
        max_rounds: Rounds at most.
        seconds: Time after which no round beyond ``min_rounds`` begins, for each model.

    Returns:
        Milliseconds by name, one per round, the same number for each.
    """
    import torch

    ready = {}
    for name, model in models.items():
        fused: Any = copy.deepcopy(model).float().eval()
        if hasattr(fused, "fuse"):
            fused = fused.fuse(verbose=False)
        ready[name] = fused.to(device)
    weight = next(next(iter(ready.values())).parameters())
    image = torch.rand(1, weight.shape[1], imgsz, imgsz, device=device)
    cuda = torch.device(device).type == "cuda"

    def once(model: nn.Module) -> float:
        begin = time.perf_counter()
        model(image)
        if cuda:
            torch.cuda.synchronize()
        return 1e3 * (time.perf_counter() - begin)

    times: dict[str, list[float]] = {name: [] for name in ready}
    with torch.no_grad():
        for _ in range(WARMUP):
            for model in ready.values():
                once(model)
        end = time.perf_counter() + seconds * len(ready)
        order = list(ready)
        for done in range(max_rounds):
            if done >= min_rounds and time.perf_counter() > end:
                break
            for name in order:
                times[name].append(once(ready[name]))
            order.reverse()
    return times


def spread(values: list[float]) -> dict[str, float]:
    """Return median, 10th and 90th percentile."""
    low, middle, high = np.percentile(np.asarray(values), [10, 50, 90])
    return {"median": float(middle), "p10": float(low), "p90": float(high)}


def ratios(times: list[float], base: list[float]) -> dict[str, float]:
    """Return the :func:`spread` of ``times`` over ``base``, round by round."""
    return spread([mine / its for mine, its in zip(times, base, strict=True)])


def fingerprint(plan: Plan) -> dict[str, str]:
    """Return which finished runs a measurement is of."""
    records = {run.name: read_json(run.record) for run in plan.runs}
    return {name: record["ended"] for name, record in records.items() if record}


def measure(plan: Plan) -> dict[str, Any]:
    """Measure the finished runs of ``plan`` and return what goes into ``cost.json``."""
    import torch

    from yolo_attn.integration import evaluation

    torch.set_num_threads(min(MAX_THREADS, environment.usable_cores()))
    runs = [run for run in plan.runs if run.record.is_file()]
    records = {run.name: read_json(run.record) for run in runs}
    models: dict[str, Any] = {
        run.name: evaluation.open_checkpoint(run.folder / records[run.name]["checkpoint"]) for run in runs
    }
    arguments = next(iter(records.values()))["arguments"]
    stride = max(max(int(model.stride.max()) for model in models.values()), 32)
    imgsz = math.ceil(largest(arguments.get("imgsz", 640)) / stride) * stride
    device = torch_device(plan.train.get("device"))
    times = latencies(models, imgsz, device=device)
    base = times.get(plan.runs[0].name)
    return {
        "runs": fingerprint(plan),
        "gflops_imgsz": FLOPS_IMGSZ,
        "latency": {
            "imgsz": imgsz,
            "batch": 1,
            "dtype": "float32",
            "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else environment.cpu_name(),
            "threads": None if device.startswith("cuda") else torch.get_num_threads(),
            "rounds": len(next(iter(times.values()))),
        },
        "models": {
            name: {
                "parameters": parameters(model),
                "gflops": gflops(model),
                "latency_ms": spread(times[name]),
                "latency_ratio": ratios(times[name], base) if base else None,
            }
            for name, model in models.items()
        },
        "versions": environment.versions(),
        "hardware": environment.hardware(),
    }


def largest(imgsz: Any) -> int:
    """Return the image size as one number; Ultralytics trains with the larger side of two."""
    return max(int(side) for side in imgsz) if isinstance(imgsz, (list, tuple)) else int(imgsz)


def torch_device(word: Any) -> str:
    """Return torch's name of what ``device=`` means to Ultralytics; of several GPUs the first."""
    import torch

    text = str(word if word is not None else "").strip("[]() ").replace("cuda:", "")
    first = text.split(",")[0].strip()
    if first.isdigit():
        return f"cuda:{first}"
    if first in ("cpu", "mps"):
        return first
    return "cuda:0" if torch.cuda.is_available() else "cpu"


def main(argv: list[str] | None = None) -> int:
    """Measure the comparison in the folder ``argv[0]``; returns the exit status."""
    from yolo_attn.compare.worker import announce_layers, write_mistake

    folder = Path((sys.argv[1:] if argv is None else argv)[0])
    (folder / "error.json").unlink(missing_ok=True)
    try:
        announce_layers()
        write_json(folder / "cost.json", measure(Plan.load(folder)))
    except UserError as error:
        write_mistake(folder / "error.json", error)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
