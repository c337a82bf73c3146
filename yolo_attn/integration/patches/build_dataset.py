"""``ultralytics.models.yolo.detect.train.DetectionTrainer.build_dataset``: refuse data that cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..queries import data_sets, layer_types
from ..strict_mode import is_strict


def replacement(original: Callable[..., Any], self: Any, img_path: Any, *args: Any, **kwargs: Any) -> Any:
    """Raise a DataError where Ultralytics would leave images out, if the model has our layers or in strict mode."""
    ours = is_strict() or layer_types.has_ours(self.model)
    try:
        dataset = original(self, img_path, *args, **kwargs)
    except (FileNotFoundError, RuntimeError) as error:
        if ours and (message := data_sets.missing_images(img_path, self.data)):
            raise data_sets.MissingDataError(message) from error
        raise
    if ours:
        data_sets.vet(dataset, self.data)
    return dataset
