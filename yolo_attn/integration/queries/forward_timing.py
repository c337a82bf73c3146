"""Time forward passes of several models in one process, so that all models share the machine's slow seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

WARMUP = 5  # rounds
WARMUP_SECONDS = 2.0  # for each model; no further warm-up round begins after this time


def times_of(
    models: Mapping[str, Callable[[torch.Tensor], Any]],
    images: torch.Tensor,
    *,
    rounds: tuple[int, int],
    seconds: float,
) -> dict[str, list[float]]:
    """Time one forward pass of each model in every round, and reverse the order after each round.

    Args:
        models: By name; each takes the images.
        images: ``(B, C, H, W)``, on the device to measure.
        rounds: The least and the largest number of rounds.
        seconds: For each model; after this time no round beyond the least begins.

    Returns:
        Milliseconds by name, one for each round.
    """
    import torch

    synchronize = {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}.get(images.device.type)

    def once(model: Callable[[torch.Tensor], Any]) -> float:
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
