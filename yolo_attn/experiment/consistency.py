"""Check that the records of an experiment belong together, before they are averaged."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import DataError
from .records import Record

TOLERANCE = 1e-6  # of an AP that is computed again
# What a record's arguments may differ in: they are the run's own, or the machine chooses them.
OWN = ("seed", "model", "data", "device", "batch", "workers")


def check_models(records: Mapping[str, Mapping[int, Record]], folder: Path) -> None:
    """Check that all seeds of a model trained the same layers, and all runs started from the same weights.

    Args:
        records: The records by name of the model and seed.
        folder: The experiment's folder, for messages.

    Raises:
        DataError: If not; names two runs that differ.
    """
    for of_model in records.values():
        first, *others = of_model.values() or (None,)
        for other in others:
            if first is not None and first.model_yaml != other.model_yaml:
                raise DataError(
                    f"{folder}: {first.run} and {other.run} were trained with different layers, so their mean says "
                    f"nothing; delete the run of the wrong model YAML ({_different_layer(first, other)})"
                )
    everyone = [record for of_model in records.values() for record in of_model.values() if record.weights_digest]
    for other in everyone[1:]:
        if other.weights_digest != everyone[0].weights_digest:
            raise DataError(
                f"{folder}: {everyone[0].run} and {other.run} started from different pretrained weights; delete the "
                "runs with the wrong ones"
            )


def check_metrics(record: Record, ap_by_class: Mapping[str, float | None], path: Path) -> None:
    """Check a record's AP against that of its predictions.

    Args:
        record: The record.
        ap_by_class: COCO's AP of each class, computed from the predictions. AP is their mean.
        path: The record's file, for messages.

    Raises:
        DataError: If they differ.
    """
    known = [value for value in ap_by_class.values() if value is not None]
    found, kept = (statistics.fmean(known) if known else None), record.metrics.coco.get("AP")
    if (found is None) != (kept is None) or (found is not None and kept is not None and abs(found - kept) > TOLERANCE):
        raise DataError(f"{path}: its AP is {kept}, but that of its predictions is {found}; {record.remedy}")


def different_arguments(records: Sequence[Record]) -> list[str]:
    """Return the names of the training arguments that differ between records, ``OWN`` left out."""
    names = {name for record in records for name in record.arguments} - set(OWN)
    return sorted(name for name in names if len({repr(record.arguments.get(name)) for record in records}) > 1)


def _different_layer(first: Record, other: Record) -> str:
    """Return the first layer that differs between two model YAMLs."""
    rows: list[list[Any]] = [
        [*(record.model_yaml or {}).get("backbone", []), *(record.model_yaml or {}).get("head", [])]
        for record in (first, other)
    ]
    for index, (one, two) in enumerate(zip(*rows, strict=False)):
        if one != two:
            return f"layer {index} is {one} and {two}"
    return f"{len(rows[0])} and {len(rows[1])} layers"
