"""``ultralytics.engine.trainer.BaseTrainer.setup_model``: load as our arguments say, resolve ``freeze``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import UserError
from ..queries import training_arguments
from ..queries.run_folder import remove_if_unused
from ..weights import freezing, learning_rates, loading, weight_sources


def replacement(original: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
    """Resolve ``freeze`` and check ``new_lr_mult`` as soon as the model has its weights."""
    partial = getattr(self.args, "partial", False) is True
    align = training_arguments.uses_ours(vars(self.args))
    try:
        with loading.options(partial=partial, align_stock=align):
            checkpoint = original(self, *args, **kwargs)
        if getattr(self, "resume", False):
            weight_sources.restore(self.model, checkpoint)
        if (frozen := freezing.resolve(self)) is not None:
            loading.say(frozen)
        if learning_rates.factor_of(self, checkpoint) is not None:
            learning_rates.check_source(self)
    except UserError:
        remove_if_unused(self)
        raise
    return checkpoint
