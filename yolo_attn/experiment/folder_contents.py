"""Read an experiment's folder: its plan, its records, its ground truth and its costs; refuse what does not belong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import DataError
from .plan import Plan
from .storage import read_json, read_record

NEEDED = ("model", "seed", "arguments", "versions", "hardware", "data", "epochs", "figures")


@dataclass(frozen=True)
class Missing:
    """A run without a record.

    Attributes:
        run: Its name.
        title: Title of the model.
        seed: Its seed.
        reason: Why its last attempt failed; None if it has not been done yet.
    """

    run: str
    title: str
    seed: int
    reason: str | None


@dataclass(frozen=True)
class Experiment:
    """What is known about an experiment.

    Attributes:
        plan: What was asked for.
        records: The finished runs' records, by title of the model and seed, seed by seed as in the plan.
        missing: The other runs.
        truth: The ground truth in COCO's format, None if the folder has none.
        cost: What ``cost.json`` holds, empty if there is none.
        pairing: Whether runs of one seed number saw the same data, ``paired`` and ``why``; empty if not known.
    """

    plan: Plan
    records: dict[str, dict[int, dict[str, Any]]]
    missing: list[Missing]
    truth: dict[str, Any] | None
    cost: dict[str, Any]
    pairing: dict[str, Any] = field(default_factory=dict)

    @property
    def finished(self) -> list[dict[str, Any]]:
        """Every record."""
        return [record for records in self.records.values() for record in records.values()]


def collect(folder: str | Path, failed: Mapping[str, str] | None = None) -> Experiment:
    """Return what is known about the experiment in ``folder``.

    Args:
        folder: The experiment's folder.
        failed: Why runs failed, by name of the run; by default the reasons kept in the folder.

    Raises:
        ArgumentError: If there is no experiment in ``folder``, or a record cannot be read or is of another experiment.
        DataError: If a record is of no run of the plan or incomplete, or another file there cannot be read.
    """
    plan = Plan.load(folder)
    folder = plan.folder
    names = {run.name for run in plan.runs}
    for path in sorted(folder.glob("*/record.json")):
        if path.parent.name not in names:
            raise DataError(
                f"{path} is no run of the experiment in {folder}; move {path.parent.name} elsewhere, or use another "
                "folder for it"
            )
    records: dict[str, dict[int, dict[str, Any]]] = {entry.title: {} for entry in plan.entries}
    missing = []
    for run in plan.runs:
        record = read_record(run.record, plan.id)
        if record is None:
            reason = (failed or {}).get(run.name) or (_read(run.error) or {}).get("message")
            missing.append(Missing(run.name, run.title, run.seed, reason))
            continue
        lacking = [key for key in NEEDED if key not in record]
        if lacking:
            raise DataError(f"{run.record} lacks {', '.join(lacking)}; {_remedy(run.record)}")
        records[run.title][run.seed] = record
    return Experiment(
        plan,
        records,
        missing,
        truth=_read(folder / "ground_truth.json"),
        cost=_read(folder / "cost.json") or {},
        pairing=_read(folder / "pairing.json") or {},
    )


def _read(path: Path) -> Any:
    """Return what a JSON file holds, None if it does not exist."""
    try:
        value = read_json(path)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); {_remedy(path)}") from None
    if value is not None and not isinstance(value, dict):
        raise DataError(f"{path} holds a {type(value).__name__} instead of an object; {_remedy(path)}")
    return value


def _remedy(path: Path) -> str:
    return {
        "record.json": "delete it, and the same compare command does this run again",
        "error.json": "delete it",
    }.get(path.name, "delete it, and the same compare command writes it again")
