"""Exceptions by which Ultralytics itself says that what was asked for is wrong."""

from __future__ import annotations

import traceback
from pathlib import PurePath

# Files of Ultralytics that look at what the user wrote; what they raise is about that.
_LOOKS_AT_INPUT = ("cfg", "utils", "nn/tasks.py", "data", "engine/model.py", "engine/exporter.py", "engine/trainer.py")
_ABOUT_INPUT = (OSError, ValueError, TypeError, SyntaxError, AssertionError, ImportError)


def line_of(error: BaseException) -> str | None:
    """Return the first line of a complaint about input, or None where the exception looks like a fault."""
    if not isinstance(error, _ABOUT_INPUT):
        return None
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return None
    parts = PurePath(frames[-1].filename).parts
    if "ultralytics" not in parts:
        return None
    within = "/".join(parts[len(parts) - 1 - parts[::-1].index("ultralytics") + 1 :])
    if not within.startswith(_LOOKS_AT_INPUT):
        return None
    said = [line.strip() for line in str(error).splitlines() if line.strip()]
    return said[0] if said else type(error).__name__
