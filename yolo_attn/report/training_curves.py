"""Training curves: what Ultralytics measured after each epoch, by seed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from ..experiment.records import Record

ACCURACY = "metrics/mAP50-95(B)"
LOSS = "val/loss"  # the sum of the parts, as Ultralytics sums them
PARTS = ("val/box_loss", "val/cls_loss", "val/dfl_loss")


def curves_of(records: Sequence[Record]) -> dict[str, list[list[float | None]]]:
    """Return for each column of ``results.csv`` one list per record, with a number per epoch; and the summed loss."""
    columns = list(dict.fromkeys(key for record in records for row in record.epochs for key in row))
    found = {
        column: [[row.get(column) for row in record.epochs] for record in records]
        for column in columns
        if column not in ("epoch", "time") and not column.startswith("lr/")
    }
    parts = [found[part] for part in PARTS if part in found]
    if parts:
        found[LOSS] = [[_sum(values) for values in zip(*lines, strict=True)] for lines in zip(*parts, strict=True)]
    return found


def band(series: Sequence[Sequence[float | None]]) -> list[tuple[int, float, float, float]]:
    """Return ``(epoch, lowest, mean, highest)`` over the seeds for every epoch that all of them reached."""
    found = []
    for epoch, values in enumerate(zip(*series), start=1):  # noqa: B905  up to the shortest
        known = [value for value in values if value is not None]
        if len(known) == len(values):
            found.append((epoch, min(known), statistics.fmean(known), max(known)))
    return found


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
