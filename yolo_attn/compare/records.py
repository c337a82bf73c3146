"""The JSON and CSV files of a comparison: written whole or not at all, read back without torch."""

from __future__ import annotations

import csv
import errno
import json
import math
import os
from pathlib import Path
from typing import Any

from yolo_attn.errors import DiskFullError, WordError

FORMAT = 2  # of record.json


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


def read_json(path: Path) -> Any:
    """Return the contents of ``path``, or None if there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def write_hint(path: Path, value: Any) -> None:
    """Write ``value`` as JSON quickly, for whoever looks now; nothing depends on it, so that a failure is ignored."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(json.dumps(value), encoding="utf-8")
        part.replace(path)
    except OSError:
        return


def read_record(path: Path, experiment: str) -> dict[str, Any] | None:
    """Return a run's record, or None if the run has none.

    Args:
        path: Its ``record.json``.
        experiment: The ``id`` of the plan it must belong to.

    Raises:
        WordError: If it cannot be read, or belongs to another comparison or an earlier form of the records.
    """
    try:
        record = read_json(path)
        if record is None:
            return None
        form, of = record.get("format"), record.get("experiment")
    except (ValueError, AttributeError, OSError) as error:
        raise WordError(f"{path} cannot be read ({error}); delete it, and the same command makes it again") from None
    if form != FORMAT:
        raise WordError(f"{path} has the form {form}, not {FORMAT}; delete it, and the same command makes it again")
    if of != experiment:
        raise WordError(
            f"{path} is the record of another comparison ({of}, here {experiment}); move its folder away, or delete it"
        )
    return dict(record)


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


def read_epochs(path: Path) -> list[dict[str, float | None]]:
    """Return the rows of an Ultralytics ``results.csv``, one per epoch, in order; empty if there is no such file.

    An epoch that was trained twice, as the run was killed between its row and its checkpoint, is returned as it was
    trained last. A last row cut off in the middle is left out.
    """
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    header = [name.strip() for name in lines[0]] if lines else []
    rows: dict[float, dict[str, float | None]] = {}
    for line in lines[1:]:
        try:
            row = dict(zip(header, (float(cell) for cell in line), strict=True))
        except ValueError:
            continue
        rows[row["epoch"]] = finite(row)
    return [rows[epoch] for epoch in sorted(rows)]


def epochs_so_far(path: Path) -> list[dict[str, float | None]]:
    """Return what :func:`read_epochs` does of a file that is being written, empty if it cannot be read just now."""
    try:
        return read_epochs(path)
    except (OSError, ValueError, KeyError):
        return []


def cut_epochs(path: Path, last: int) -> None:
    """Take the epochs after ``last`` out of an Ultralytics ``results.csv``: a resumed training appends its own."""
    if not path.is_file():
        return
    head, *rows = path.read_text(encoding="utf-8").splitlines()
    kept = []
    for row in rows:
        try:
            if float(row.split(",")[0]) <= last and row.count(",") == head.count(","):
                kept.append(row)
        except ValueError:
            continue
    write_text(path, "\n".join([head, *kept]) + "\n")
