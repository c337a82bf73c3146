"""The errors that a user's input can cause, and which exceptions are a user's mistake.

Each message is one line: what is wrong, where, and what to write instead. The command line prints it and exits with 2.
Any other exception is a fault of this package and keeps its traceback.
"""

from __future__ import annotations

import errno
import os
import pickle
import re
import traceback
import zipfile
from fnmatch import fnmatch
from pathlib import Path


class UserError(Exception):
    """Base class of the errors that a user's input causes."""


class LayerError(UserError, ValueError):
    """A row of a model YAML cannot become a layer."""


class MissingModelError(LayerError, FileNotFoundError):
    """A model YAML does not exist. Ultralytics raises a FileNotFoundError for it."""


class DataError(UserError, ValueError):
    """A data set is missing, or has images or labels that cannot be used."""


class CheckpointError(UserError, RuntimeError):
    """A checkpoint cannot be used: a layer class is not installed, or its weights do not fit the model."""


class ArgumentError(UserError, ValueError):
    """An argument is unknown, missing or invalid."""


class DiskFullError(UserError, OSError):
    """The disk is full. The files written before are complete."""


class DifferentExportError(Exception):
    """An exported model differs from the PyTorch model by more than its format explains; no mistake of the user."""


class UnsupportedUltralyticsError(UserError, RuntimeError):
    """The installed Ultralytics differs from what the integration can extend."""


# The system refuses a path for reasons outside this package: permissions, a read-only or failing disk, its name.
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP)
# Where Ultralytics reports a user's mistake: module, functions, exceptions. The function is Ultralytics' innermost
# frame. Versions differ in which of them exist.
_INVALID = (ValueError, TypeError, SyntaxError, AssertionError, OSError)
_UNREADABLE = (ImportError, EOFError, RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile)  # of a checkpoint
_REPORTS: tuple[tuple[str, tuple[str, ...], tuple[type[Exception], ...]], ...] = (
    # arguments and their values
    ("ultralytics.cfg", ("check_*", "get_cfg", "_handle_*", "merge_equals_args", "parse_*", "entrypoint"), _INVALID),
    ("ultralytics.utils.checks", ("check_imgsz", "check_suffix", "check_file", "check_yaml"), _INVALID),
    ("ultralytics.utils.torch_utils", ("select_device",), (ValueError,)),
    ("ultralytics.engine.model", ("_check_is_pytorch_model", "_smart_load"), (TypeError, NotImplementedError)),
    (
        "ultralytics.engine.trainer",
        ("build_optimizer", "_build_train_pipeline"),
        (NotImplementedError, ValueError),
    ),  # optimizer=
    ("ultralytics.engine.trainer", ("_setup_train",), (RuntimeError,)),  # freeze= leaves nothing to train
    ("ultralytics.engine.trainer", ("check_resume", "resume_training"), _INVALID),
    ("ultralytics.trackers.track", ("on_predict_start",), _INVALID),
    # export: formats, their arguments, and packages that are not installed
    ("ultralytics.engine.exporter", ("__call__", "validate_args", "export_*"), (*_INVALID, ImportError)),
    ("ultralytics.utils.export.*", ("*",), (AssertionError, ImportError)),
    ("ultralytics.utils.checks", ("check_requirements", "check_version"), (AssertionError, ImportError)),
    ("ultralytics.utils.benchmarks", ("benchmark",), (AssertionError,)),
    # files: model YAMLs, data YAMLs, checkpoints, images
    ("ultralytics.utils", ("load", "yaml_load"), _INVALID),
    ("ultralytics.data.utils", ("check_*_dataset", "find_dataset_yaml", "get_split_fraction"), _INVALID),
    ("ultralytics.data.base", ("get_img_files",), _INVALID),
    ("ultralytics.data.dataset", ("get_labels", "cache_labels", "verify_labels"), (*_INVALID, RuntimeError)),
    ("ultralytics.data.loaders", ("__init__", "_single_check"), _INVALID),
    ("ultralytics.data.build", ("check_source", "load_inference_source"), _INVALID),
    ("ultralytics.engine.validator", ("__call__",), (FileNotFoundError,)),
    ("ultralytics.nn.tasks", ("torch_safe_load", "load_checkpoint", "attempt_load_*"), (*_INVALID, *_UNREADABLE)),
    ("ultralytics.nn.autobackend", ("check_class_names", "__init__"), (KeyError, TypeError)),
    ("ultralytics.utils.downloads", ("*",), (OSError,)),
)


_COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # of terminals


def described(error: BaseException) -> str:
    """Return one line about an exception: the text of a UserError, else the type and the first line of the text.

    An exception may have no text, such as ``MemoryError()``. A process of a data loader puts its traceback into the
    text: then the last line says what happened.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, UserError) and lines:
        return " ".join(lines)
    if len(lines) > 1 and any(line.endswith("(most recent call last):") for line in lines):
        lines[0] = f"{lines[0].rstrip('.')}: {lines[-1]}"
    return ": ".join([type(error).__name__, *lines[:1]])


def user_error_in(error: BaseException | None, folder: Path | None = None) -> UserError | None:
    """Return the user's mistake behind an exception, or None if it is a fault of this package.

    A mistake is a UserError, a full disk, a path that the system refuses or that is not UTF-8, or an exception by
    which Ultralytics reports invalid input.

    Args:
        error: What was raised.
        folder: Where files were written, for the message about a full disk; by default that of the file.
    """
    if (full := disk_full(error, folder)) is not None:
        return full
    return own_error_in(error) or _reported_in(error) or _unusable_path_in(error) or _undecodable_in(error)


def own_error_in(error: BaseException | None) -> UserError | None:
    """Return the UserError among an exception and its causes; None if there is none."""
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__
    return error


def _reported_in(error: BaseException | None) -> UserError | None:
    """Return the invalid input that Ultralytics reports by an exception or one of its causes; None if it does not."""
    while error is not None:
        if where := _where_reported(error):
            lines = [line.strip() for line in _COLOUR.sub("", str(error)).splitlines() if line.strip()]
            is_sentence = lines and not isinstance(error, KeyError)
            return UserError(" ".join(lines[:2]) if is_sentence else f"{described(error)} in {where}")  # then its help
        error = error.__cause__
    return error


def disk_full(error: BaseException | None, folder: Path | None) -> DiskFullError | None:
    """Return the error for a write that failed because the disk is full; None for anything else.

    Args:
        error: What was raised.
        folder: The folder that was written to, for the message; by default that of the file in the error.
    """
    while error is not None:
        if isinstance(error, DiskFullError):
            return error
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        # torch's own file writer only says so in its message
        if full or "No space left on device" in str(error) or "PytorchStreamWriter failed" in str(error):
            file = getattr(error, "filename", None)
            where = folder or (Path(os.fsdecode(file)).parent if file else None)
            disk = f"the disk of {where}" if where else "the disk"
            return DiskFullError(f"{disk} is full; free some space, then rerun the command to resume")
        error = error.__cause__ or error.__context__
    return None


def _unusable_path_in(error: BaseException | None) -> UserError | None:
    """Return the path that the system refuses, such as one on a read-only disk; None for anything else."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _REFUSED and error.filename is not None:
            return ArgumentError(f"{os.fsdecode(error.filename)!r} cannot be used: {error.strerror}")
        error = error.__cause__
    return error


def _undecodable_in(error: BaseException | None) -> UserError | None:
    """Return the file name whose bytes are not UTF-8, where a text with it could not be written; None otherwise."""
    while error is not None:
        if isinstance(error, UnicodeEncodeError) and "surrogate" in error.reason:
            name = re.search(r"\S*[\ud800-\udfff]\S*", error.object)
            return ArgumentError(f"{name and name[0]!r} has bytes that are not UTF-8; rename the file or folder")
        error = error.__cause__
    return None


def _where_reported(error: BaseException) -> str:
    """Return the function in which Ultralytics raised ``error`` to report invalid input; empty if it did not."""
    frames = [
        (str(frame.f_globals.get("__name__")), frame.f_code.co_name)
        for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    # Below its own frames Ultralytics calls other libraries (yaml, pickle); if it calls us, the fault is ours.
    module, function = next(
        (f for f in reversed(frames) if f[0].partition(".")[0] in ("ultralytics", "yolo_attn")), ("", "")
    )
    for modules, functions, types in _REPORTS:
        if fnmatch(module, modules) and isinstance(error, types) and any(fnmatch(function, f) for f in functions):
            return f"{module}.{function}"
    return ""
