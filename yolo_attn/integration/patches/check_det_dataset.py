"""``ultralytics.data.utils.check_det_dataset``: in strict mode, say which file or folder is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...data.digits import generate_from_yaml
from ...errors import DataError
from ...messages import counted
from ...text_files import read_yaml
from ..queries import data_sets
from ..strict_mode import is_strict

_DIGITS = "yolo_attn.data.digits"


def replacement(original: Callable[..., Any], dataset: str | Path, *args: Any, **kwargs: Any) -> Any:
    """Make our digits; in strict mode, say that download code will run, and name what is missing in one error."""
    _prepare(str(dataset))
    try:
        data = original(dataset, *args, **kwargs)
    except FileNotFoundError as error:
        if isinstance(error, DataError) or not is_strict():
            raise
        raise data_sets.MissingDataError(data_sets.what_is_missing(str(dataset), error)) from error
    if _DIGITS in str(data.get("download")):
        generate_from_yaml(data)  # Ultralytics would not notice a changed YAML
    return data


def _prepare(dataset: str) -> None:
    """Make our digits before Ultralytics warns that they are missing; say what other data sets run."""
    from ultralytics.utils import LOGGER
    from ultralytics.utils.checks import check_file

    file = Path(check_file(dataset, hard=False) or "") if not dataset.startswith(("http", "ul:")) else Path()
    if file.suffix not in (".yaml", ".yml") or not file.exists():
        return
    try:
        content = read_yaml(file)
    except DataError:
        if is_strict():
            raise
        return
    if isinstance(content, dict) and is_strict():
        from ..queries import data_checks  # start-up time: it imports Ultralytics

        data_checks.check_content(content, file)
    code = content.get("download") if isinstance(content, dict) else None
    if not isinstance(code, str) or all(path.exists() for _, path in data_sets.paths_in(content, file)):
        return
    if _DIGITS in code:
        generate_from_yaml(content | {"path": data_sets.root_of(content, file)})
    elif is_strict() and not code.startswith("http"):
        lines = code.strip().splitlines()
        LOGGER.warning(
            f"{file.name}: its images are missing, so Ultralytics now runs its 'download:' code on this machine "
            f"({counted(len(lines), 'line')}; the first: {lines[0][:80] if lines else ''})"
        )
