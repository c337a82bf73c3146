"""The JSON and CSV files of a comparison: written whole or not at all, read back without torch."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from ..atomic_files import finite, write_text
from ..errors import ArgumentError

FORMAT = 2  # of record.json


def read_json(path: Path) -> Any:
    """Return the contents of ``path``, or None if there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def read_record(path: Path, experiment: str) -> dict[str, Any] | None:
    """Return a run's record, or None if the run has none.

    Args:
        path: Its ``record.json``.
        experiment: The ``id`` of the plan it must belong to.

    Raises:
        ArgumentError: If it cannot be read, or belongs to another comparison or an earlier form of the records.
    """
    try:
        record = read_json(path)
        if record is None:
            return None
        form, of = record.get("format"), record.get("experiment")
    except (ValueError, AttributeError, OSError) as error:
        raise ArgumentError(
            f"{path} cannot be read ({error}); delete it, and the same command makes it again"
        ) from None
    if form != FORMAT:
        raise ArgumentError(f"{path} has the form {form}, not {FORMAT}; delete it, and the same command makes it again")
    if of != experiment:
        raise ArgumentError(
            f"{path} is the record of another comparison ({of}, here {experiment}); move its folder away, or delete it"
        )
    return dict(record)


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
