"""Train a baseline and its variants with one recipe over several seeds, and say what the differences are worth.

    from yolo_attn.comparison import Plan, compare

    plan = Plan.make("yolo11n.yaml", ["yolo11n-ema.yaml"], data="bccd.yaml", seeds="0-4", train={"epochs": 30})
    results = compare(plan)

Importing this package imports neither torch nor Ultralytics: every training, validation and measurement is its own
process, and what it found is a JSON file.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..experiment.plan import Plan
    from .running import compare

__all__ = ["Plan", "compare"]

_HOME = {
    "Plan": "..experiment.plan",
    "compare": ".running",
}  # imported when asked for: the report reads plans and nothing else here


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
