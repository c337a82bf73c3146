"""The errors a user's input can cause. Each message is one line that names the thing and what would work.

The command line prints the line and exits with 2; from Python and from ``yolo`` the same words arrive as an exception.
"""

from __future__ import annotations

import errno
import traceback
from pathlib import Path, PurePath

import yaml


class UserError(Exception):
    """Base of everything that is wrong with what was asked for, not with this package."""


class LayerError(UserError, ValueError):
    """A row of a model YAML cannot become a layer."""


class DataError(UserError, ValueError):
    """A data set is missing, or holds images or labels that cannot be used."""


class CheckpointError(UserError, RuntimeError):
    """A checkpoint cannot be used: a layer class is not installed, or its weights do not fit the model."""


class ArgumentError(UserError, ValueError):
    """A word on the command line is unknown or misspelt."""


class DiskFullError(UserError, OSError):
    """There is no space left to write to; what was written before is whole."""


class UnsupportedUltralyticsError(UserError, RuntimeError):
    """The installed Ultralytics is not built the way the integration knows how to extend."""


def user_error_in(error: BaseException | None) -> UserError | None:
    """Return the user's mistake that ``error`` is or was raised from, or None: Ultralytics wraps some of them."""
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__
    return error


def disk_full(error: BaseException, folder: Path) -> DiskFullError | None:
    """Return the line for a write that failed as the disk of ``folder`` is full; None if that is not what happened."""
    cause: BaseException | None = error
    while cause is not None:
        full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
        # torch's own file writer says it in words only
        if full or "No space left on device" in str(cause) or "PytorchStreamWriter failed" in str(cause):
            return DiskFullError(
                f"no space left on the disk of {folder}; free some, and the same command goes on where this stopped"
            )
        cause = cause.__cause__ or cause.__context__
    return None


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
