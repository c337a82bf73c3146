"""``ultralytics.models.yolo.detect.train.DetectionTrainer.build_dataset``: refuse data that cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import DataError
from ..queries import data_sets, layer_types
from ..strict_mode import is_strict


def replacement(original: Callable[..., Any], self: Any, img_path: Any, *args: Any, **kwargs: Any) -> Any:
    """Raise a DataError where Ultralytics would leave images out, if the model has our layers or in strict mode."""
    from ..queries import data_checks  # start-up time: it imports Ultralytics

    ours = is_strict() or layer_types.has_ours(self.model)
    is_there = ours and not data_sets.missing_images(img_path, self.data)
    if is_there and (problem := data_checks.why_unlabelled(img_path, self.data)):
        raise DataError(problem)
    try:
        dataset = original(self, img_path, *args, **kwargs)
    except (FileNotFoundError, RuntimeError) as error:
        if ours and (message := data_sets.missing_images(img_path, self.data)):
            raise data_sets.MissingDataError(message) from error
        if is_there and (message := data_checks.why_none_usable(img_path, self.data, error)):
            raise DataError(message) from error
        raise
    if ours:
        data_sets.vet(dataset, self.data)
    return dataset
