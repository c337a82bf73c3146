"""``ultralytics.nn.tasks.yaml_model_load``: say why a file is no model YAML."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..queries import layer_types, model_findings, yolo_command
from ..strict_mode import is_strict


def replacement(original: Callable[..., Any], path: str | Path, *args: Any, **kwargs: Any) -> Any:
    """Raise one LayerError for a file that is not YAML in UTF-8 or lacks the lists of rows, if we handle the model."""
    if is_strict():
        model_findings.source_of(path)
        return original(path, *args, **kwargs)
    try:
        content = original(path, *args, **kwargs)
    except FileNotFoundError:
        yolo_command.check_model(str(path))  # names the nearest model
        raise
    if isinstance(content, dict) and layer_types.names_any(content):
        model_findings.source_of(path)
    return content
