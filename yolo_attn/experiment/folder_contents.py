"""Read an experiment's folder: its plan, its records, its ground truth and its costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import DataError
from .consistency import check_models
from .costs import Costs
from .data_set_file import Pairing
from .ground_truth_file import GroundTruth
from .plan import Plan
from .records import Record, RunError, read_record
from .results import MissingRun
from .storage import read


@dataclass(frozen=True)
class Experiment:
    """The contents of an experiment's folder.

    Attributes:
        plan: What is compared.
        records: The finished runs' records, by name of the model and seed, in the order of the plan.
        missing: The other runs.
        truth: The ground truth; None if the folder has none.
        costs: The costs of the models; None if the folder has none.
        pairing: Whether runs of one seed saw the same data.
    """

    plan: Plan
    records: dict[str, dict[int, Record]]
    missing: list[MissingRun]
    truth: GroundTruth | None
    costs: Costs | None
    pairing: Pairing = field(default_factory=Pairing)

    @property
    def finished(self) -> list[Record]:
        """Every record."""
        return [record for records in self.records.values() for record in records.values()]


def collect(folder: str | Path, failed: Mapping[str, str] | None = None) -> Experiment:
    """Read the experiment in ``folder``.

    Args:
        folder: The experiment's folder.
        failed: Why runs failed, by name of the run; by default the reasons kept in the folder.

    Raises:
        ArgumentError: If there is no experiment in ``folder``.
        DataError: If a file cannot be read, a record belongs to another experiment or to no run of the plan, or the
            records of one model are of different models.
    """
    plan = Plan.load(folder)
    names = {run.name for run in plan.runs}
    for path in sorted(plan.folder.glob("*/record.json")):
        if path.parent.name not in names:
            raise DataError(
                f"{path} belongs to no run of the experiment in {plan.folder}; move {path.parent.name} elsewhere"
            )
    records: dict[str, dict[int, Record]] = {model.name: {} for model in plan.planned_models}
    missing = []
    for run in plan.runs:
        record = read_record(run.record, plan.id)
        if record is not None:
            records[run.model][run.seed] = record
            continue
        error = None if failed and run.name in failed else read(run.error, RunError)
        reason = (failed or {}).get(run.name) or (error.line(str(run.log)) if error else None)
        missing.append(MissingRun(run.name, run.model, run.seed, reason))
    check_models(records, plan.folder)
    return Experiment(
        plan,
        records,
        missing,
        truth=read(plan.folder / "ground_truth.json", GroundTruth),
        costs=read(plan.folder / "cost.json", Costs),
        pairing=read(plan.folder / "pairing.json", Pairing) or Pairing(),
    )
