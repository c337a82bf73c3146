"""Time the forward passes of several models side by side.

All models are timed in one process, one after the other in every round, and ratios are taken within a round: a machine
that slows down for a second slows all models alike. A forward pass is that of a fused model in float32, without
non-maximum suppression.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..errors import UserError
from ..experiment.costs import Spread
from ..integration.queries import forward_timing

if TYPE_CHECKING:
    from torch import nn

THROUGHPUT_ROUNDS = (7, 30)  # at least, at most
SECONDS = 5.0  # of each measurement, for each model; the least rounds come first
BATCH_SECONDS = 0.5  # longest time of a batch with the slowest model; larger batches are halved
MEMORY_ERRORS = ("out of memory", "can't allocate memory", "not enough memory")


def times(
    models: Mapping[str, nn.Module], imgsz: int, *, batch: int = 1, rounds: tuple[int, int], seconds: float
) -> dict[str, list[float]]:
    """Time one forward pass of each model in every round.

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
    return forward_timing.times_of(models, images, rounds=rounds, seconds=seconds)


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
