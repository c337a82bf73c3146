"""``ultralytics.engine.model.Model.train``: loads weights before the trainer does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...errors import UserError
from ..queries import layer_types, training_arguments
from ..queries.run_folder import remove_if_unused
from ..strict_mode import strict
from ..weights import loading


def replacement(original: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
    """Train in strict mode where the model has our layers; load weights as our arguments say."""
    uses_pretrained = "pretrained" in original.__code__.co_consts  # early versions ignore the argument
    before = getattr(self, "trainer", None)
    ours = layer_types.has_ours(self.model)
    align = training_arguments.uses_ours(kwargs)
    try:
        with strict(ours), loading.options(partial=kwargs.get("partial") is True, align_stock=align):
            weights = kwargs.get("pretrained")
            if isinstance(weights, str | Path) and not uses_pretrained and (ours or align):
                self.load(weights)
            return original(self, *args, **kwargs)
    except UserError:
        if getattr(self, "trainer", None) is not before:
            remove_if_unused(self.trainer)
        raise
