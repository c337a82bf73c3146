"""``ultralytics.nn.tasks.BaseModel.load``: align the layers of the two models first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..weights import loading


def replacement(original: Callable[..., Any], self: Any, weights: Any, verbose: bool = True, **kwargs: Any) -> Any:
    """Give each layer the weights of its own layer in the source, whatever its number there."""
    source = (weights.get("ema") or weights["model"]) if isinstance(weights, dict) else weights
    if not loading.is_for_us(self, source):
        return original(self, weights, verbose=verbose, **kwargs)
    return loading.load_aligned(original, self, weights, source, verbose=verbose, **kwargs)
