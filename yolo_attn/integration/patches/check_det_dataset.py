"""``ultralytics.data.utils.check_det_dataset``: in strict mode, say which file or folder is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...data.digits import generate_from_yaml
from ...errors import DataError
from ..queries import data_sets
from ..strict_mode import is_strict


def replacement(original: Callable[..., Any], dataset: str | Path, *args: Any, **kwargs: Any) -> Any:
    """Raise one MissingDataError that names what is missing; generate our digits again if their YAML changed."""
    try:
        data = original(dataset, *args, **kwargs)
    except FileNotFoundError as error:
        if isinstance(error, DataError) or not is_strict():
            raise
        raise data_sets.MissingDataError(data_sets.what_is_missing(str(dataset), error)) from error
    if "yolo_attn.data.digits" in str(data.get("download")):
        generate_from_yaml(data)  # Ultralytics generates missing images, but ignores a changed YAML
    return data
