"""``ultralytics.engine.trainer.BaseTrainer.train``: a mistake in a process of a multi-GPU training becomes one line.

Ultralytics starts these processes with a file of its own, and only learns that one of them failed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from ...errors import UserError, user_error_in


def report_to(file: str) -> None:
    """Write the mistake that ends this process to a file, and print one line instead of a traceback."""
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        mistake = user_error_in(error)
        if mistake is None or os.environ.get("YOLO_ATTN_DEBUG"):
            before(kind, error, trace)
        if mistake is not None:
            Path(file).write_text(" ".join(str(mistake).split()), encoding="utf-8")

    sys.excepthook = hook


def replacement(original: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
    """Train; raise the mistake that a process reported."""
    try:
        return original(self, *args, **kwargs)
    except subprocess.CalledProcessError as error:
        file = Path(getattr(self, "mistake_file", ""))
        if not file.is_file():
            raise
        message = file.read_text(encoding="utf-8")
        file.unlink()
        raise UserError(message) from error
