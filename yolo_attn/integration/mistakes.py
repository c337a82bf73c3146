"""Exceptions by which Ultralytics itself says that what was asked for is wrong."""

from __future__ import annotations

import traceback
from pathlib import PurePath

import yaml

# Files of Ultralytics that look at what the user wrote; what they raise is about that.
_LOOKS_AT_INPUT = ("cfg", "utils", "nn/tasks.py", "data", "engine/model.py", "engine/exporter.py", "engine/trainer.py")
_ABOUT_INPUT = (OSError, ValueError, TypeError, SyntaxError, AssertionError, ImportError)


def line_of(error: BaseException) -> str | None:
    """Return a complaint about input as one line, or None where the exception looks like a fault."""
    if isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__  # "Dataset ... error", raised from the complaint
    if isinstance(error, yaml.YAMLError):
        return f"not valid YAML: {' '.join(str(error).split())}"
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
    return " ".join(said[:2]) or type(error).__name__  # what follows is Ultralytics' help
