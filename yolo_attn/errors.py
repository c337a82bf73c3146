"""The errors a user's input can cause. Each message is one line that names the thing and what would work.

The command line prints the line and exits with 2; from Python and from ``yolo`` the same words arrive as an exception.
"""


class UserError(Exception):
    """Base of everything that is wrong with what was asked for, not with this package."""


class LayerError(UserError, ValueError):
    """A row of a model YAML cannot become a layer."""


class DataError(UserError, ValueError):
    """A data set is missing, or holds images or labels that cannot be used."""


class CheckpointError(UserError, RuntimeError):
    """A checkpoint cannot be used: a layer class is not installed, or its weights do not fit the model."""


class WordError(UserError, ValueError):
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
