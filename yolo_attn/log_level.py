"""Set a logger's level for a while."""

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def at_log_level(logger: logging.Logger, level: int) -> Iterator[None]:
    """Hide a logger's messages below ``level``."""
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)
