"""``ultralytics.nn.tasks.torch_safe_load``: checkpoints that hold layers of the registry.

Ultralytics reacts to a class that it cannot import by installing a package of that name. For a layer of the registry
that is never right, so the file is inspected first.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..queries import checkpoints, layer_types
from ..strict_mode import is_strict
from ..weights import weight_sources


def replacement(original: Callable[..., Any], weight: str | Path, *args: Any, **kwargs: Any) -> Any:
    """Name a layer class that is missing, and allow restricted loading to rebuild ours."""
    layer_types.installed()
    checkpoints.add_old_import_paths()
    file = Path(str(weight))
    if missing := checkpoints.missing_layers(file):
        raise checkpoints.missing_error(weight, missing)
    if foreign := checkpoints.fork_layers(file):
        raise checkpoints.fork_error(weight, foreign)
    checkpoints.allow_restricted_loading()
    if is_strict():
        checkpoints.is_restricted()  # raises if it is asked for in vain
    try:
        loaded = original(weight, *args, **kwargs)
    except AttributeError as error:  # the module exists, the class does not
        found = re.search(r"attribute '(\w+)' on <?module '([\w.]+)'", str(error))
        if found and checkpoints.holds_our_layers(file):
            raise checkpoints.missing_error(weight, [f"{found[2]}.{found[1]}"]) from error
        raise
    weight_sources.move_to_checkpoint(loaded[0])
    return loaded
