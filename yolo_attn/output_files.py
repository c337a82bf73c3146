"""Files that a command writes: refused before any work where they cannot be, and there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from .errors import WordError


def check(output: str | Path, suffixes: Sequence[str], *, force: bool) -> Path:
    """Return the path of a file that is to be written.

    Args:
        output: The file.
        suffixes: Endings that it may have.
        force: Write over a file that exists.

    Raises:
        WordError: If it has another ending, its folder does not exist, or it exists already.
    """
    path = Path(output)
    if path.suffix.lower() not in suffixes:
        raise WordError(f"output {str(path)!r} must end in {' or '.join(suffixes)}")
    if not path.parent.is_dir():
        raise WordError(f"output {str(path)!r}: the folder {str(path.parent)!r} does not exist")
    if path.is_dir():
        raise WordError(f"output {str(path)!r} is a folder; name a file")
    if path.exists() and not force:
        raise WordError(f"output {str(path)!r} exists; give another name, or --force to write over it")
    return path


def write(output: Path, save: Callable[[Path], None]) -> None:
    """Have ``save`` write a file beside ``output``, then put it in its place.

    Raises:
        WordError: If the file cannot be written there.
    """
    try:
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.stem}.") as folder:
            temporary = Path(folder) / output.name
            save(temporary)
            os.replace(temporary, output)  # noqa: PTH105  the one way that is atomic on every system
    except OSError as error:
        raise WordError(f"output {str(output)!r} cannot be written: {error.strerror or error}") from error
