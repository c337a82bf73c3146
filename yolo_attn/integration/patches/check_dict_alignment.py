"""``ultralytics.cfg.check_dict_alignment``: accept our arguments in a training and in an export."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..queries import training_arguments
from ..strict_mode import is_strict
from ..weights import loading


def replacement(
    original: Callable[..., Any], base: Mapping[str, Any], custom: dict[str, Any], *args: Any, **kwargs: Any
) -> Any:
    """Make our arguments known where one is used, and check their values."""
    is_settings = "lr0" not in base  # the user's, which Ultralytics checks in the same way
    added = training_arguments.ADDED_TO.get(custom.get("mode", "train"), {})
    if not is_settings and added:
        base = {**{name: value for name, value in added.items() if name in custom or is_strict()}, **base}
        training_arguments.check_values(custom)
        if is_strict():
            training_arguments.check_freeze(custom.get("freeze"))
        if "train" in base and custom.get("partial") is True:  # `yolo train` loads weights before it trains
            loading.allow_partial()
    if is_strict() and not is_settings:
        training_arguments.check_usable(custom)
    return original(base, custom, *args, **kwargs)
