"""``ultralytics.engine.model.Model.load``: two more arguments, ``partial=True`` and ``map="6=7"``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...alignment.layer_alignment import parse_pins
from ..weights import loading


def replacement(
    original: Callable[..., Any],
    self: Any,
    *args: Any,
    partial: bool = False,
    map: str | None = None,
    **kwargs: Any,
) -> Any:
    """Load weights with the given options."""
    with loading.options(partial=partial, pins=parse_pins(map) if map else None):
        return original(self, *args, **kwargs)
