"""Read an experiment file: the arguments of ``yolo-attn compare`` as YAML."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import ArgumentError
from ..messages import joined, nearest
from ..text_files import read_yaml


def read(path: str | Path, known: Iterable[str]) -> dict[str, Any]:
    """Return the arguments in an experiment file.

    ::

        base: yolo11n.yaml
        models: [yolo11n-ema.yaml, yolo11n-gsop.yaml]
        data: bccd.yaml
        seeds: 0-4
        control: repeat
        epochs: 100     # and any other argument of `yolo train`

    Args:
        path: The file.
        known: The allowed arguments.

    Raises:
        ArgumentError: If there is no such file, it is not a mapping, or an argument is unknown (names the nearest).
    """
    path, known = Path(path), list(known)
    if not path.exists():
        raise ArgumentError(f"experiment {path} does not exist; give a YAML file, or base=, models= and data=")
    content = read_yaml(path, ArgumentError)
    if not isinstance(content, dict):
        raise ArgumentError(f"experiment {path} has no arguments; write lines such as 'base: yolo11n.yaml'")
    for name in map(str, content):
        if name not in known:
            hint = nearest(name, known) or f" Arguments: {joined(known)}"
            raise ArgumentError(f"experiment {path}: unknown argument {name!r}.{hint}")
    return {str(name): value for name, value in content.items() if value is not None}
