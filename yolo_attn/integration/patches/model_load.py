"""``ultralytics.engine.model.Model.load``: two more arguments, ``partial=True`` and ``map="6=7"``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ...alignment.layer_alignment import parse_pins
from ..weights import loading


def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
    """Load weights with the given options."""

    @functools.wraps(original)
    def load(self: Any, *args: Any, partial: bool | None = None, map: str | None = None, **kwargs: Any) -> Any:
        with loading.options(partial=partial, pins=parse_pins(map) if map else None):
            return original(self, *args, **kwargs)

    return load
