"""What a model costs: parameters, operations, latency and throughput beside the baseline's.

    python -m yolo_attn.comparison.cost_measurement FOLDER     measure the models of a comparison, write FOLDER/cost.json

Each model is measured once, from its first finished run. All are timed in one process, one after the other in every
round, and a ratio is taken within a round: a machine that slows down for a second slows both. A forward pass is that
of a fused model in float32, without non-maximum suppression. Latency is one image; throughput is a batch.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import UserError, disk_full, user_error_in
from ..experiment.costs import Costs, ModelCost, Spread, ThroughputTiming, Timing
from ..experiment.plan import Plan, Run
from ..experiment.records import read_record
from ..experiment.storage import read, write
from . import environment

if TYPE_CHECKING:
    from torch import nn

FLOPS_IMGSZ = 640  # the size at which every YOLO table gives them
LATENCY_ROUNDS = (5, 100)  # at least, at most
THROUGHPUT_ROUNDS = (3, 30)
SECONDS = 5.0  # of each measurement, for each model; the least rounds come first
WARMUP = 5  # rounds
WARMUP_SECONDS = 2.0  # for each model, after which no further warm-up round begins
BATCH = 16  # images, where the training's batch is no number
BATCH_SECONDS = 1.0  # that a batch may take with the slowest model; larger ones are halved
MAX_THREADS = 8  # as Ultralytics, which takes no more on a CPU
MEMORY_ERRORS = ("out of memory", "can't allocate memory", "not enough memory")


def gflops(model: nn.Module, imgsz: int = FLOPS_IMGSZ) -> float:
    """Return the operations of one image in billions, a multiply-add as two.

    What is counted, and what Ultralytics' own figure leaves out, stands in :mod:`yolo_attn.integration.queries.operation_count`.

    Args:
        model: In eval mode. On a CPU the figure does not depend on a GPU's kernels, some of which fill up channels.
        imgsz: Height and width of the image, pixels.
    """
    import torch

    from ..integration.queries.operation_count import operations

    weight = next(model.parameters())
    image = torch.zeros(1, weight.shape[1], imgsz, imgsz, device=weight.device, dtype=weight.dtype)
    return operations(model, image) / 1e9


def fused(model: nn.Module) -> nn.Module:
    """Return ``model`` as it is deployed: float32, eval mode, batch norms merged into convolutions; changes it."""
    import torch

    ready: Any = model.float().eval()
    with torch.no_grad():  # up to Ultralytics 8.3 the merged weights would keep a graph
        return ready.fuse(verbose=False) if hasattr(ready, "fuse") else ready


def times(
    models: Mapping[str, nn.Module],
    imgsz: int,
    *,
    batch: int = 1,
    rounds: tuple[int, int],
    seconds: float,
) -> dict[str, list[float]]:
    """Time one forward pass of each model in every round, the order turned around from round to round.

    Args:
        models: By name, in eval mode, all on the device that is measured.
        imgsz: Height and width of the images, pixels.
        batch: Number of images.
        rounds: Rounds at least, and at most.
        seconds: Time after which no round beyond the least begins, for each model.

    Returns:
        Milliseconds by name, one per round, the same number for each.
    """
    import torch

    weight = next(next(iter(models.values())).parameters())
    images = torch.rand(batch, weight.shape[1], imgsz, imgsz, device=weight.device)
    synchronize = {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}.get(weight.device.type)

    def once(model: nn.Module) -> float:
        begin = time.perf_counter()
        model(images)
        if synchronize is not None:
            synchronize()
        return 1e3 * (time.perf_counter() - begin)

    found: dict[str, list[float]] = {name: [] for name in models}
    order = list(models)
    with torch.no_grad():
        end = time.perf_counter() + WARMUP_SECONDS * len(models)
        for done in range(WARMUP):
            if done and time.perf_counter() > end:
                break
            for name in order:
                once(models[name])
        end = time.perf_counter() + seconds * len(models)
        for done in range(rounds[1]):
            if done >= rounds[0] and time.perf_counter() > end:
                break
            for name in order:
                found[name].append(once(models[name]))
            order.reverse()
    return found


def batch_times(
    models: Mapping[str, nn.Module], imgsz: int, batch: int, slowest: float
) -> tuple[dict[str, list[float]], int, Literal["time", "memory"] | None]:
    """Time batches, halved as long as one would take too long or does not fit into memory; one size for all models.

    Args:
        models: As for :func:`times`.
        imgsz: Height and width of the images, pixels.
        batch: Number of images that is wanted.
        slowest: Milliseconds of one image with the slowest model.

    Returns:
        As :func:`times`; the number of images; and what limited it, ``"time"`` or ``"memory"``, or None.

    Raises:
        UserError: If not even one image fits.
    """
    import torch

    limit: Literal["time", "memory"] | None = None
    while batch > 1 and batch * slowest > 1e3 * BATCH_SECONDS:
        batch, limit = batch // 2, "time"
    while True:
        try:
            return times(models, imgsz, batch=batch, rounds=THROUGHPUT_ROUNDS, seconds=SECONDS), batch, limit
        except (RuntimeError, MemoryError) as error:
            if not isinstance(error, MemoryError) and not any(words in str(error) for words in MEMORY_ERRORS):
                raise
            if batch == 1:
                raise UserError(f"one image of {imgsz} px with {len(models)} models does not fit into memory") from None
        batch, limit = batch // 2, "memory"
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def spread(values: Sequence[float]) -> Spread:
    """Return median, 10th and 90th percentile."""
    low, middle, high = np.percentile(np.asarray(values), [10, 50, 90])
    return Spread(float(middle), float(low), float(high))


def ratios(times: Sequence[float], base: Sequence[float] | None) -> Spread | None:
    """Return the :func:`spread` of ``times`` over ``base``, round by round; None without ``base``."""
    return spread([mine / its for mine, its in zip(times, base, strict=True)]) if base is not None else None


def rates(times: list[float], batch: int) -> list[float]:
    """Return images per second of batches that took ``times``, milliseconds."""
    return [1e3 * batch / value for value in times]


def first_runs(plan: Plan) -> dict[str, Run]:
    """Return the first finished run of each model, by the model's title."""
    found: dict[str, Run] = {}
    for run in plan.runs:
        if run.model not in found and run.record.is_file():
            found[run.model] = run
    return found


def is_measured(plan: Plan) -> bool:
    """Return whether ``cost.json`` has every model with a finished run, and no other."""
    kept = read(plan.folder / "cost.json", Costs)
    runs = {name: run.name for name, run in first_runs(plan).items()}
    return kept is not None and {name: model.run for name, model in kept.models.items()} == runs


def measure(plan: Plan) -> Costs:
    """Measure the models of ``plan`` that have a finished run, and return their costs.

    A model whose checkpoint is not here, as after training on another machine, is built anew: its weights do not
    change what it costs.

    Raises:
        UserError: If no run is finished, or the models do not fit into memory.
    """
    import torch

    from ..integration.queries import validation

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
        parameters = sum(parameter.numel() for parameter in model.parameters())
        stride = max(stride, int(model.stride.max()))
        ready[name] = fused(model)
        sizes[name] = {"run": run.name, "parameters": parameters, "gflops": gflops(ready[name], FLOPS_IMGSZ)}
        ready[name].to(device)
    imgsz = math.ceil(largest(arguments.get("imgsz", 640)) / stride) * stride
    latency = times(ready, imgsz, rounds=LATENCY_ROUNDS, seconds=SECONDS)
    slowest = max(spread(values).median for values in latency.values())
    wanted = arguments.get("batch")
    wanted = wanted if isinstance(wanted, int) and wanted > 0 else BATCH
    batches, batch, limit = batch_times(ready, imgsz, wanted, slowest)
    speeds = {name: rates(values, batch) for name, values in batches.items()}

    base = plan.runs[0].model
    cuda = device.startswith("cuda")
    place: dict[str, Any] = {
        "imgsz": imgsz,
        "dtype": "float32",
        "device": torch.cuda.get_device_name(device) if cuda else environment.cpu_name() if device == "cpu" else device,
        "threads": torch.get_num_threads() if device == "cpu" else None,
    }
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
        gflops_imgsz=FLOPS_IMGSZ,
        latency=Timing(**place, batch=1, rounds=len(latency[next(iter(ready))])),
        throughput=ThroughputTiming(
            **place,
            batch=batch,
            requested_batch=wanted,
            batch_limit=limit,
            rounds=len(batches[next(iter(ready))]),
        ),
        versions=environment.versions(),
        hardware=environment.hardware(),
    )


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
    from .worker import announce_layers, write_mistake

    folder = Path((sys.argv[1:] if argv is None else argv)[0])
    (folder / "error.json").unlink(missing_ok=True)
    try:
        announce_layers()
        write(folder / "cost.json", measure(Plan.load(folder)))
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        mistake = disk_full(error, folder) or user_error_in(error)
        if mistake is None:
            raise
        write_mistake(folder / "error.json", mistake)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
