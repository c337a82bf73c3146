"""Write files so that a reader sees the old file or the new one, never a part of it."""

from __future__ import annotations

import os
import shutil
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import ArgumentError, UserError, disk_full

_WAITS = (0.01, 0.03, 0.1, 0.3, 0.6)  # seconds


def check_output(output: str | Path, suffixes: Sequence[str], *, force: bool) -> Path:
    """Check that a command can write ``output``, and return its path.

    Args:
        output: The file.
        suffixes: The allowed suffixes.
        force: Overwrite an existing file.

    Raises:
        ArgumentError: If it has another suffix, its folder does not exist, or it exists already.
    """
    path = Path(output)
    if path.suffix.lower() not in suffixes:
        raise ArgumentError(f"output {str(path)!r} must end in {' or '.join(suffixes)}")
    if not path.parent.is_dir():
        raise ArgumentError(f"output {str(path)!r}: the folder {str(path.parent)!r} does not exist")
    if path.is_dir():
        raise ArgumentError(f"output {str(path)!r} is a folder; name a file")
    if path.exists() and not force:
        raise ArgumentError(f"output {str(path)!r} exists; give another name, or --force to overwrite it")
    return path


@contextmanager
def part_folder(parent: Path, name: str) -> Iterator[Path]:
    """Create a hidden folder in ``parent`` to build files in, and remove it at the end."""
    folder = parent / f".{name[:40]}-{uuid.uuid4().hex[:12]}.part"  # a name has at most 255 bytes
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def whole_file(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a path to write to, and move that file to ``path`` at the end. Nothing changes if an exception is raised.

    Args:
        path: The file; its folder is created.
        durable: Wait until the contents are on the disk, so that they survive a crash of the machine.

    Raises:
        DiskFullError: If the disk is full.
        ArgumentError: If the file cannot be written for another reason.
    """
    try:
        with part_folder(path.parent, path.name) as folder:
            part = folder / path.name
            yield part
            if durable:
                with part.open("rb+") as file:
                    os.fsync(file.fileno())  # before the file is moved
            _move(part, path)
    except OSError as error:
        raise unwritable(path, error) from error


def _move(part: Path, path: Path) -> None:
    """Move ``part`` to ``path``. Windows refuses that while another process reads the old file: then wait a little."""
    for wait in _WAITS if sys.platform == "win32" else ():
        with suppress(PermissionError):
            part.replace(path)
            return
        time.sleep(wait)
    part.replace(path)


def unwritable(path: Path, error: OSError) -> UserError:
    """Return the error of one line for a file or folder that cannot be written."""
    return disk_full(error, path.parent) or ArgumentError(f"{path} cannot be written: {error.strerror or error}")


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``; see :func:`whole_file`."""
    with whole_file(path) as part:
        part.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` in UTF-8, line ends unchanged; see :func:`whole_file`.

    A file name in the text may have bytes that are not UTF-8. They are written as escapes.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_note(path: Path, content: bytes) -> None:
    """Write ``content`` without waiting for the disk, and ignore failures: nothing depends on a note."""
    with suppress(UserError), whole_file(path, durable=False) as part:
        part.write_bytes(content)
