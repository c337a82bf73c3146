"""The JSON files of an experiment: each is one class, has a format number, and is written whole or not at all."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import msgspec

from ..atomic_files import write_bytes
from ..errors import DataError
from ..text_files import read_bytes

Kind = TypeVar("Kind", bound="File")
Role = Literal["baseline", "variant", "control"]
ControlKind = Literal["identity", "capacity", "repeat"]


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a file."""


class File(Part, frozen=True, forbid_unknown_fields=True, tag_field="format", tag=1):
    """The contents of one kind of file. The tag is the ``format`` number in the file."""

    remedy: ClassVar[str] = "delete it and rerun the compare command, which writes it again"
    indented: ClassVar[bool] = True


class _Format(msgspec.Struct):
    format: int | None = None


def read(path: Path, kind: type[Kind]) -> Kind | None:
    """Read the file at ``path``.

    Args:
        path: The file.
        kind: The class of its contents.

    Returns:
        The contents, or None if there is no such file.

    Raises:
        DataError: If the file cannot be read, has another format, or does not hold what ``kind`` describes.
    """
    return decode(read_bytes(path), kind, path) if os.path.lexists(path) else None


def decode(content: bytes, kind: type[Kind], path: Path) -> Kind:
    """Return what ``content`` holds; ``path`` names it in errors, see :func:`read`."""
    known = kind.__struct_config__.tag
    try:
        found = msgspec.json.decode(content, type=_Format).format
        if found == known:
            return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {_plain(error)}; {kind.remedy}") from None
    has = "no format number" if found is None else f"format {found}"
    raise DataError(
        f"{path} has {has}; this version of yolo-attn reads format {known}. "
        f"Use the version of yolo-attn that wrote it, or {kind.remedy}"
    )


def write(path: Path, value: File) -> None:
    """Write ``value`` to ``path``, NaN and infinity as null; see :func:`yolo_attn.atomic_files.write_bytes`."""
    write_bytes(path, encode(value))


def encode(value: File) -> bytes:
    """Return ``value`` as JSON."""
    content = msgspec.json.encode(value, enc_hook=_as_json)
    return (msgspec.json.format(content, indent=2) if value.indented else content) + b"\n"


def json_values(value: Any) -> Any:
    """Return ``value`` as plain JSON values: other types become their text, NaN and infinity become None."""
    return msgspec.json.decode(msgspec.json.encode(value, enc_hook=_as_json))


def _as_json(value: Any) -> Any:
    """Convert NumPy's numbers and arrays to Python's; anything else that JSON does not know to its text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _plain(error: Exception) -> str:
    """Return msgspec's message with the place in the usual notation: ``versions.torch`` instead of ``$.versions``."""
    return re.sub(r" - at `\$\.?(.*)`", lambda place: f" at {place[1]}" if place[1] else "", str(error))
