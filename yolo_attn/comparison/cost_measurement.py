"""Measure what each model costs: parameters, operations, latency and throughput.

    python -m yolo_attn.comparison.cost_measurement FOLDER     measure the models of an experiment, write cost.json

Each model is measured once, from its first finished run.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UserError
from ..experiment.costs import Costs, ModelCost, ThroughputTiming, Timing
from ..experiment.plan import Plan, Run
from ..experiment.records import read_record
from ..experiment.storage import read, write
from . import environment, latency_measurement
from .latency_measurement import rates, ratios, spread
from .worker import exit_status

if TYPE_CHECKING:
    from torch import nn

LATENCY_ROUNDS = (5, 100)  # at least, at most
BATCH = 16  # images, where the training's batch is not a number
AGAIN = ""  # the baseline's second timing, which checks the machine; no model has this name
MAX_THREADS = 8  # Ultralytics uses no more on a CPU


def first_runs(plan: Plan) -> dict[str, Run]:
    """Return the first finished run of each model, by the model's name."""
    found: dict[str, Run] = {}
    for run in plan.runs:
        if run.record.is_file():
            found.setdefault(run.model, run)
    return found


def is_measured(plan: Plan) -> bool:
    """Return whether ``cost.json`` has every model with a finished run, and no other."""
    kept = read(plan.folder / "cost.json", Costs)
    runs = {name: run.name for name, run in first_runs(plan).items()}
    return kept is not None and {name: model.run for name, model in kept.models.items()} == runs


def measure(plan: Plan) -> Costs:
    """Measure the models of ``plan`` that have a finished run.

    If a checkpoint is not here, as after a training on another machine, its model is built again: the costs do not
    depend on the weights.

    Raises:
        UserError: If no run is finished, or the models do not fit into memory.
    """
    import torch

    from ..integration.queries import gflops_count, validation  # start-up time

    torch.set_num_threads(min(MAX_THREADS, environment.usable_cores()))
    runs = first_runs(plan)
    if not runs:
        raise UserError(f"{plan.folder}: no run is finished, so there is no model to measure")
    device = torch_device(plan.arguments.get("device"))
    sizes: dict[str, dict[str, Any]] = {}
    ready: dict[str, nn.Module] = {}
    arguments: dict[str, Any] = {}
    stride = 32
    for name, run in runs.items():
        record = read_record(run.record, plan.id)
        assert record is not None, "first_runs returns finished runs"
        arguments = arguments or record.arguments
        checkpoint = run.folder / record.checkpoint
        here = checkpoint.is_file()
        model: Any = validation.open_checkpoint(checkpoint) if here else validation.build(record.model_yaml or {})
        stride = max(stride, int(model.stride.max()))
        sizes[name] = {
            "run": run.name,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "gflops": gflops_count.model_gflops(model, gflops_count.IMGSZ),
        }
        ready[name] = gflops_count.fused(model).to(device)
    side = int(np.max(arguments.get("imgsz", 640)))  # of two, Ultralytics trains with the larger one
    imgsz = math.ceil(side / stride) * stride
    base = plan.runs[0].model
    timed = {**ready, AGAIN: ready[base]} if base in ready else ready
    latency = latency_measurement.times(timed, imgsz, rounds=LATENCY_ROUNDS, seconds=latency_measurement.SECONDS)
    slowest = max(spread(values).median for values in latency.values())
    requested = arguments.get("batch")
    requested = requested if isinstance(requested, int) and requested > 0 else BATCH
    batches, batch, limit = latency_measurement.batch_times(timed, imgsz, requested, slowest)
    speeds = {name: rates(values, batch) for name, values in batches.items()}

    cuda = device.startswith("cuda")
    place: dict[str, Any] = {
        "imgsz": imgsz,
        "dtype": "float32",
        "device": torch.cuda.get_device_name(device) if cuda else environment.cpu_name() if device == "cpu" else device,
        "threads": torch.get_num_threads() if device == "cpu" else None,
    }
    rounds, batch_rounds = (len(next(iter(found.values()))) for found in (latency, batches))
    return Costs(
        models={
            name: ModelCost(
                **sizes[name],
                latency_ms=spread(latency[name]),
                latency_ratio=ratios(latency[name], latency.get(base)),
                images_per_s=spread(speeds[name]),
                throughput_ratio=ratios(speeds[name], speeds.get(base)),
            )
            for name in ready
        },
        gflops_imgsz=gflops_count.IMGSZ,
        latency=Timing(**place, batch=1, rounds=rounds),
        throughput=ThroughputTiming(
            **place, batch=batch, rounds=batch_rounds, requested_batch=requested, batch_limit=limit
        ),
        latency_check=ratios(latency[AGAIN], latency[base]) if AGAIN in latency else None,
        throughput_check=ratios(speeds[AGAIN], speeds[base]) if AGAIN in speeds else None,
        versions=environment.versions(),
        hardware=environment.hardware(),
    )


def torch_device(device: Any) -> str:
    """Return PyTorch's name of an Ultralytics ``device=``; of several GPUs the first."""
    import torch

    text = str(device if device is not None else "").strip("[]() ").replace("cuda:", "")
    first = text.split(",")[0].strip()
    if first.isdigit():
        return f"cuda:{first}"
    if first in ("cpu", "mps"):
        return first
    return "cuda:0" if torch.cuda.is_available() else "cpu"


def main(argv: list[str] | None = None) -> int:
    """Measure the experiment in the folder ``argv[0]``; return the exit status."""
    folder = Path((sys.argv[1:] if argv is None else argv)[0])
    return exit_status(lambda: write(folder / "cost.json", measure(Plan.load(folder))), folder)


if __name__ == "__main__":
    sys.exit(main())
