"""Time the forward passes of several models side by side.

All models are timed in one process, one after the other in every round, and ratios are taken within a round: a machine
that slows down for a second slows all models alike. A forward pass is that of a fused model in float32, without
non-maximum suppression.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..errors import UserError
from ..experiment.costs import Spread

if TYPE_CHECKING:
    from torch import nn

THROUGHPUT_ROUNDS = (7, 30)  # at least, at most
SECONDS = 5.0  # of each measurement, for each model; the least rounds come first
WARMUP = 5  # rounds
WARMUP_SECONDS = 2.0  # for each model; no further warm-up round begins after this time
BATCH_SECONDS = 0.5  # longest time of a batch with the slowest model; larger batches are halved
MEMORY_ERRORS = ("out of memory", "can't allocate memory", "not enough memory")


def times(
    models: Mapping[str, nn.Module], imgsz: int, *, batch: int = 1, rounds: tuple[int, int], seconds: float
) -> dict[str, list[float]]:
    """Time one forward pass of each model in every round, and reverse the order after each round.

    Args:
        models: By name, in eval mode, all on the device to measure.
        imgsz: Height and width of the images in pixels.
        batch: Number of images.
        rounds: The least and the largest number of rounds.
        seconds: For each model; after this time no round beyond the least begins.

    Returns:
        Milliseconds by name, one for each round.
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

    def several(least: int, most: int, seconds: float) -> Iterator[None]:
        end = time.perf_counter() + seconds * len(models)
        for done in range(most):
            if done >= least and time.perf_counter() > end:
                return
            yield

    found: dict[str, list[float]] = {name: [] for name in models}
    order = list(models)
    with torch.no_grad():
        for _ in several(1, WARMUP, WARMUP_SECONDS):
            for model in models.values():
                once(model)
        for _ in several(*rounds, seconds):
            for name in order:
                found[name].append(once(models[name]))
            order.reverse()
    return found


def batch_times(
    models: Mapping[str, nn.Module], imgsz: int, batch: int, slowest: float
) -> tuple[dict[str, list[float]], int, Literal["time", "memory"] | None]:
    """Time batches, and halve them while one takes too long or does not fit into memory; one size for all models.

    Args:
        models: As for :func:`times`.
        imgsz: Height and width of the images in pixels.
        batch: The requested number of images.
        slowest: Milliseconds of one image with the slowest model.

    Returns:
        As :func:`times`; the number of images; and what limited it.

    Raises:
        UserError: If a single image does not fit.
    """
    import torch

    limit: Literal["time", "memory"] | None = None
    while batch > 1 and batch * slowest > 1e3 * BATCH_SECONDS:
        batch, limit = batch // 2, "time"
    while True:
        try:
            return times(models, imgsz, batch=batch, rounds=THROUGHPUT_ROUNDS, seconds=SECONDS), batch, limit
        except (RuntimeError, MemoryError) as error:
            if not isinstance(error, MemoryError) and not any(phrase in str(error) for phrase in MEMORY_ERRORS):
                raise
            if batch == 1:
                raise UserError(
                    f"one image of {imgsz} px with {len(set(models.values()))} models does not fit into memory"
                ) from None
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


def rates(times: Sequence[float], batch: int) -> list[float]:
    """Return images per second of batches that took ``times``, in milliseconds."""
    return [1e3 * batch / value for value in times]
