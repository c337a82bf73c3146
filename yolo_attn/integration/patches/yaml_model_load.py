"""``ultralytics.nn.tasks.yaml_model_load``: in strict mode, say why a file is no model YAML."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from ...errors import LayerError
from ..queries import yaml_files
from ..strict_mode import is_strict


def replacement(original: Callable[..., Any], path: str | Path, *args: Any, **kwargs: Any) -> Any:
    """Raise one LayerError for a file that is not YAML or lacks the lists of rows."""
    if not is_strict():
        return original(path, *args, **kwargs)
    try:
        content = original(path, *args, **kwargs)
    except (yaml.YAMLError, SyntaxError, ValueError) as error:  # later versions raise their own for bad YAML
        raise LayerError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    except TypeError as error:  # the file holds a list or nothing
        raise LayerError(f"{path}: {yaml_files.NO_MODEL}") from error
    if not all(isinstance(content.get(part), list | tuple) for part in ("backbone", "head")):
        raise LayerError(f"{path}: {yaml_files.NO_MODEL}")
    return content
