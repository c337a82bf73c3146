"""``ultralytics.engine.trainer.BaseTrainer.save_model``: mark a checkpoint as trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..queries import layer_types
from ..weights import learning_rates, provenance


def replacement(original: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
    """Note in the checkpoint that a training changed the weights; keep no note in one of a stock model."""
    averaged = provenance.unwrapped(self.ema.ema) if self.ema else None
    if averaged is not None:
        if layer_types.has_ours(averaged) or learning_rates.factor_of(self) is not None:
            provenance.mark_trained(averaged)
        else:
            provenance.forget(averaged)
    return original(self, *args, **kwargs)
