"""``train``, ``val``, ``predict``, ``export``, ...: Ultralytics' commands with its own words, knowing the layers."""

from __future__ import annotations

from collections.abc import Sequence

from .. import install
from . import words


def run(mode: str, given: Sequence[str]) -> int:
    """Hand the words to Ultralytics, after checking them and what they name."""
    install()
    from ..integration.queries import data_sets, yolo_command

    tasks = [w for w in given if w in yolo_command.TASKS]
    pairs = words.parse([w for w in given if w not in tasks], yolo_command.words(), flags=yolo_command.flags())
    if "model" in pairs:
        yolo_command.check_model(pairs["model"])
    if "data" in pairs:
        data_sets.check_exists(pairs["data"])
    if "source" in pairs:
        yolo_command.check_source(pairs["source"])
    yolo_command.call([*tasks, mode, *(f"{k}={v}" for k, v in pairs.items())])
    return 0
