"""``ultralytics.utils.checks.check_file``: find this project's YAMLs by bare name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..queries import yaml_files


def replacement(original: Callable[..., Any], file: str | Path, *args: Any, **kwargs: Any) -> Any:
    """Use our YAML where neither the working folder nor Ultralytics has a file of that bare name."""
    name = str(file).strip()
    ours = None if Path(name).exists() else yaml_files.find(name)
    if ours is not None and not yaml_files.ultralytics_has(name):
        file = str(ours)
    return original(file, *args, **kwargs)
