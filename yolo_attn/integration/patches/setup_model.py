"""``ultralytics.engine.trainer.BaseTrainer.setup_model``: load as our arguments say, resolve ``freeze``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ...errors import UserError
from ..queries import training_arguments
from ..queries.run_folder import remove_if_unused
from ..weights import freezing, learning_rates, loading, provenance


def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
    """Resolve ``freeze`` and check ``new_lr_mult`` as soon as the model has its weights."""

    @functools.wraps(original)
    def setup_model(self: Any, *args: Any, **kwargs: Any) -> Any:
        partial = getattr(self.args, "partial", False) is True
        align = training_arguments.uses_ours(vars(self.args))
        try:
            with loading.options(partial=partial or None, align_stock=align or None):
                checkpoint = original(self, *args, **kwargs)
            if getattr(self, "resume", False):
                provenance.restore(self.model, checkpoint)
            if (frozen := freezing.resolve(self)) is not None:
                loading.say(frozen)
            if learning_rates.factor_of(self, checkpoint) is not None:
                learning_rates.check_source(self)
        except UserError:
            remove_if_unused(self)
            raise
        return checkpoint

    return setup_model
