"""``ultralytics.cfg.entrypoint``, the command ``yolo``: print one line for a mistake that we report."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from ...errors import DifferentExportError, own_error_in
from ..strict_mode import is_strict


def replacement(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run the command. Exit with status 2 and one line for our errors; leave all others to Ultralytics."""
    try:
        return original(*args, **kwargs)
    except DifferentExportError as error:
        if is_strict():
            raise
        sys.stderr.write(f"yolo: {error}\n")
        raise SystemExit(1) from None
    except Exception as error:
        mistake = own_error_in(error)
        if mistake is None or is_strict() or os.environ.get("YOLO_ATTN_DEBUG"):  # yolo-attn prints it itself
            raise
        sys.stderr.write(f"yolo: {' '.join(str(mistake).split())}\n")
        raise SystemExit(2) from None
