"""The ``results.csv`` that Ultralytics writes in a run's folder: one row for each epoch."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Sequence
from pathlib import Path

from ..atomic_files import write_bytes

Epoch = dict[str, float | None]


def read_epochs(path: Path) -> list[Epoch]:
    """Return the rows of a ``results.csv`` in order of the epochs; none if there is no such file.

    If the run was killed between writing a row and the checkpoint, an epoch has two rows; the last one is returned.
    An incomplete last row is left out.
    """
    if not path.is_file():
        return []
    rows: dict[float, Epoch] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file, skipinitialspace=True):
            try:
                row = {name: float(value) for name, value in line.items()}
            except (TypeError, ValueError):  # a value is missing or cut off
                continue
            rows[row["epoch"]] = {name: value if math.isfinite(value) else None for name, value in row.items()}
    return [rows[epoch] for epoch in sorted(rows)]


def durations(epochs: Sequence[Epoch]) -> list[float]:
    """Return the durations of epochs with their validation in seconds, from the column ``time``.

    It counts from the start of a session, so it decreases where the training was resumed. The first epoch of a session
    includes the start and is left out.
    """
    times = [row.get("time") for row in epochs]
    return [
        later - earlier
        for earlier, later in itertools.pairwise(times)
        if earlier is not None and later is not None and later > earlier
    ]


def epochs_so_far(path: Path) -> list[Epoch]:
    """Return the rows of a ``results.csv`` that another process is writing; none if it cannot be read now."""
    try:
        return read_epochs(path)
    except (OSError, ValueError, KeyError):
        return []


def cut_epochs(path: Path, last: int) -> None:
    """Remove the epochs after ``last`` from a ``results.csv``: a resumed training appends them again."""
    if not path.is_file():
        return
    head, *rows = path.read_text(encoding="utf-8").splitlines()
    complete = [row for row in rows if row.count(",") == head.count(",")]
    kept = [row for row in complete if float(row.split(",")[0]) <= last]
    write_bytes(path, ("\n".join([head, *kept]) + "\n").encode())
