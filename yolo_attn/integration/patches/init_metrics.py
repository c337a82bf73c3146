"""``ultralytics.models.yolo.detect.val.DetectionValidator.init_metrics``: refuse data that cannot be used.

It is the first function of a validation that has both the model and the data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..queries import data_sets, layer_types
from ..strict_mode import is_strict


def replacement(original: Callable[..., Any], self: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
    """Raise a DataError where Ultralytics left images out, if the model has our layers or in strict mode."""
    if not self.training and (is_strict() or layer_types.has_ours(getattr(model, "model", model))):
        data_sets.vet(self.dataloader.dataset, self.data)
    return original(self, model, *args, **kwargs)
