"""``ultralytics.engine.trainer.BaseTrainer.build_optimizer``: groups of new parameters for ``new_lr_mult``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import ArgumentError
from ..queries.run_folder import remove_if_unused
from ..strict_mode import is_strict
from ..weights import freezing, learning_rates, loading


def replacement(original: Callable[..., Any], self: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
    """Freeze single parameters first; split the optimizer's groups afterwards."""
    freezing.freeze_single_parameters(self, model)
    try:
        optimizer = original(self, model, *args, **kwargs)
    except NotImplementedError as error:
        if not is_strict():
            raise
        remove_if_unused(self)
        raise ArgumentError(str(error)) from error
    if learning_rates.factor_of(self) is not None:
        loading.say(learning_rates.split(self, model, optimizer))
    return optimizer
