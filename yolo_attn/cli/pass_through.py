"""``train``, ``val``, ``predict``, ``export``, ...: Ultralytics' commands with its own words, knowing the layers."""

from __future__ import annotations

from collections.abc import Sequence

from .. import register
from . import words


def run(mode: str, given: Sequence[str]) -> int:
    """Hand the words to Ultralytics, after checking them and what they name."""
    register()
    from ..integration import datasets, yolo

    tasks = [w for w in given if w in yolo.TASKS]
    pairs = words.parse([w for w in given if w not in tasks], yolo.words(), flags=yolo.flags())
    if "model" in pairs:
        yolo.check_model(pairs["model"])
    if "data" in pairs:
        datasets.check_exists(pairs["data"])
    if "source" in pairs:
        yolo.check_source(pairs["source"])
    with datasets.strict():
        yolo.call([*tasks, mode, *(f"{k}={v}" for k, v in pairs.items())])
    return 0
