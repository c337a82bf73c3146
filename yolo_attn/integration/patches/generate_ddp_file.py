"""The processes that multi-GPU training starts.

They run a file that Ultralytics writes. With the start-up hook they know the layers anyway; without it (hook switched
off, or layers registered by the user's own script) the file has to import them.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..queries import layer_types


def importing_ours(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``generate_ddp_file``: the file first imports this package and the modules of all registered layers."""

    @functools.wraps(original)
    def generate_ddp_file(*args: Any, **kwargs: Any) -> str:
        name: str = original(*args, **kwargs)
        file = Path(name)
        modules = sorted({s.cls.__module__ for s in layer_types.installed().values()} - {"__main__"})
        ours = f"    import {', '.join(['yolo_attn', *modules])}\n    yolo_attn.register()\n"
        text = file.read_text(encoding="utf-8")
        if "sys.path" not in text:  # earlier versions leave the new process without this one's
            ours = f"    import sys\n    sys.path[:] = {sys.path!r}\n{ours}"
        # Before the first import of the guarded part, that is, behind a line that may set sys.path.
        head, found, tail = text.partition("    from ")
        file.write_text(head + ours + found + tail if found else text, encoding="utf-8")
        return name

    return generate_ddp_file
