"""``ultralytics.engine.trainer.BaseTrainer.save_model``: mark a checkpoint as trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..queries import layer_types
from ..weights import learning_rates, weight_sources


def replacement(original: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
    """Note in the checkpoint that a training changed the weights; keep no note in one of a stock model."""
    averaged = weight_sources.unwrapped(self.ema.ema) if self.ema else None
    if averaged is not None:
        if layer_types.has_ours(averaged) or learning_rates.factor_of(self) is not None:
            weight_sources.mark_trained(averaged)
        else:
            weight_sources.forget(averaged)
    return original(self, *args, **kwargs)
