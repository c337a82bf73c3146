"""``ultralytics.utils.dist.generate_ddp_file``: the file that the processes of a multi-GPU training run.

With the start-up hook these processes know the layers. Without it (switched off, or layers registered by the user's
own script) the file has to import them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..queries import layer_types
from ..strict_mode import is_strict


def replacement(original: Callable[..., Any], trainer: Any, *args: Any, **kwargs: Any) -> str:
    """Import this package and the modules of all registered layers first, unless a stock model is trained."""
    name: str = original(trainer, *args, **kwargs)
    known_as_stock = hasattr(trainer.model, "modules") and not layer_types.has_ours(trainer.model)
    if known_as_stock and not is_strict():
        return name
    file = Path(name)
    modules = sorted({s.cls.__module__ for s in layer_types.installed().values()} - {"__main__"})
    ours = f"    import {', '.join(['yolo_attn', *modules])}\n    yolo_attn.install()\n"
    if is_strict():
        ours += "    from yolo_attn.integration import strict_mode\n    strict_mode.enter_strict_mode()\n"
    text = file.read_text(encoding="utf-8")
    if "sys.path" not in text:  # earlier versions do not hand sys.path to the new process
        ours = f"    import sys\n    sys.path[:] = {sys.path!r}\n{ours}"
    # Insert before the first import of the guarded part, which stands after a line that may set sys.path.
    head, found, tail = text.partition("    from ")
    file.write_text(head + ours + found + tail if found else text, encoding="utf-8")
    return name
