"""Files that a command writes: refused before any work where they cannot be, and there whole or not at all."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import ArgumentError


def check(output: str | Path, suffixes: Sequence[str], *, force: bool) -> Path:
    """Return the path of a file that is to be written.

    Args:
        output: The file.
        suffixes: Endings that it may have.
        force: Write over a file that exists.

    Raises:
        ArgumentError: If it has another ending, its folder does not exist, or it exists already.
    """
    path = Path(output)
    if path.suffix.lower() not in suffixes:
        raise ArgumentError(f"output {str(path)!r} must end in {' or '.join(suffixes)}")
    if not path.parent.is_dir():
        raise ArgumentError(f"output {str(path)!r}: the folder {str(path.parent)!r} does not exist")
    if path.is_dir():
        raise ArgumentError(f"output {str(path)!r} is a folder; name a file")
    if path.exists() and not force:
        raise ArgumentError(f"output {str(path)!r} exists; give another name, or --force to write over it")
    return path


def write(output: Path, save: Callable[[Path], None]) -> None:
    """Have ``save`` write a file beside ``output``, then put it in its place.

    Raises:
        ArgumentError: If the file cannot be written there.
    """
    try:
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.stem}.") as folder:
            temporary = Path(folder) / output.name
            save(temporary)
            os.replace(temporary, output)  # noqa: PTH105  the one way that is atomic on every system
    except OSError as error:
        raise ArgumentError(f"output {str(output)!r} cannot be written: {error.strerror or error}") from error


@contextmanager
def part_folder(parent: Path, name: str) -> Iterator[Path]:
    """Make a hidden folder to build files in, and remove what is left of it at the end."""
    folder = parent / f".{name}-{uuid.uuid4().hex[:12]}.part"
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def finite(value: Any) -> Any:
    """Return ``value`` with every NaN and infinity, at any depth, replaced by None: JSON has no word for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value


def write_text(path: Path, text: str) -> None:
    """Put ``text`` into ``path``, see :func:`write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Put ``content`` into ``path`` so that a reader sees the old file or the new one, never a half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # the rename must not become durable before the contents
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, value: Any, *, indent: int | None = 2) -> None:
    """Write ``value`` as JSON into ``path``, see :func:`write_text`. What JSON does not know is written as its text."""
    gaps = (",", ":") if indent is None else None
    text = json.dumps(finite(value), indent=indent, separators=gaps, ensure_ascii=False, allow_nan=False, default=str)
    write_text(path, text + "\n")


def write_hint(path: Path, content: bytes) -> None:
    """Write ``content`` quickly, for whoever looks now; nothing depends on it, so that a failure is ignored."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError:
        return
