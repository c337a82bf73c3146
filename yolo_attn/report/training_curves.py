"""Training curves: what was measured after each epoch, by seed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from ..experiment.records import Record

ACCURACY = "metrics/mAP50-95(B)"
LOSS = "val/loss"  # the sum of the parts, as Ultralytics sums them
PARTS = ("val/box_loss", "val/cls_loss", "val/dfl_loss")


def by_epoch(records: Sequence[Record]) -> dict[str, list[list[float | None]]]:
    """Return for each column of ``results.csv`` one list per record, a number per epoch; and the summed loss."""
    columns = list(dict.fromkeys(key for record in records for row in record.epochs for key in row))
    found = {
        column: [[row.get(column) for row in record.epochs] for record in records]
        for column in columns
        if column not in ("epoch", "time") and not column.startswith("lr/")
    }
    parts = [part for part in PARTS if part in found]
    if parts:
        found[LOSS] = [
            [_sum([found[part][seed][epoch] for part in parts]) for epoch in range(len(record.epochs))]
            for seed, record in enumerate(records)
        ]
    return found


def band(series: Sequence[Sequence[float | None]]) -> list[tuple[int, float, float, float]]:
    """Return ``(epoch, lowest, mean, highest)`` over the seeds for every epoch that all of them reached."""
    found = []
    for epoch in range(min((len(line) for line in series), default=0)):
        values = [value for value in (line[epoch] for line in series) if value is not None]
        if len(values) == len(series):
            found.append((epoch + 1, min(values), statistics.fmean(values), max(values)))
    return found


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
