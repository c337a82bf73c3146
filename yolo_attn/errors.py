"""The errors that a user's input can cause, and which exceptions are a user's mistake.

Each message is one line: what is wrong, where, and what to write instead. The command line prints it and exits with 2.
Any other exception is a fault of this package and keeps its traceback.
"""

from __future__ import annotations

import errno
import pickle
import traceback
import zipfile
from fnmatch import fnmatch
from pathlib import Path


class UserError(Exception):
    """Base class of the errors that a user's input causes."""


class LayerError(UserError, ValueError):
    """A row of a model YAML cannot become a layer."""


class DataError(UserError, ValueError):
    """A data set is missing, or has images or labels that cannot be used."""


class CheckpointError(UserError, RuntimeError):
    """A checkpoint cannot be used: a layer class is not installed, or its weights do not fit the model."""


class ArgumentError(UserError, ValueError):
    """An argument is unknown, missing or invalid."""


class DiskFullError(UserError, OSError):
    """The disk is full. The files written before are complete."""


class UnsupportedUltralyticsError(UserError, RuntimeError):
    """The installed Ultralytics differs from what the integration can extend."""


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
    ("ultralytics.engine.trainer", ("build_optimizer",), (NotImplementedError,)),  # optimizer=
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


def user_error_in(error: BaseException | None, folder: Path | None = None) -> UserError | None:
    """Return the user's mistake behind an exception, or None if it is a fault of this package.

    A mistake is a UserError, a full disk, or an exception by which Ultralytics reports invalid input.

    Args:
        error: What was raised.
        folder: Where files were written, for the message about a full disk; by default the working folder.
    """
    if (full := disk_full(error, folder or Path.cwd())) is not None:
        return full
    while error is not None and not isinstance(error, UserError):
        if _is_reported(error):
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            return UserError(" ".join(lines[:2]) or type(error).__name__)  # what follows is Ultralytics' help
        error = error.__cause__
    return error


def disk_full(error: BaseException | None, folder: Path) -> DiskFullError | None:
    """Return the error for a write that failed because the disk of ``folder`` is full; None for anything else."""
    while error is not None:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        # torch's own file writer only says so in its message
        if full or "No space left on device" in str(error) or "PytorchStreamWriter failed" in str(error):
            return DiskFullError(f"the disk of {folder} is full; free some space, then rerun the command to resume")
        error = error.__cause__ or error.__context__
    return None


def _is_reported(error: BaseException) -> bool:
    """Return whether Ultralytics raised ``error`` to report invalid input."""
    frames = [
        (str(frame.f_globals.get("__name__")), frame.f_code.co_name)
        for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    # Below its own frames Ultralytics calls other libraries (yaml, pickle); if it calls us, the fault is ours.
    ours = [f for f in frames if f[0].partition(".")[0] in ("ultralytics", "yolo_attn")]
    return bool(ours) and any(
        fnmatch(ours[-1][0], module) and isinstance(error, types) and any(fnmatch(ours[-1][1], f) for f in functions)
        for module, functions, types in _REPORTS
    )
