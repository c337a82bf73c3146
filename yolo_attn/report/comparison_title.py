"""The title of a report: what was compared with what, on which data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..experiment.folder_contents import Experiment
from ..experiment.plan import stem
from ..experiment.results import Results
from ..messages import counted, joined
from ..registry import SHIPPED

MOST_NAMES = 3  # variants that the title names; it counts more


def title(experiment: Experiment) -> str:
    """Return ``5 attention blocks against yolo11n on bccd``; up to three variants are named instead.

    The variants count as attention blocks if each one's model YAML has layer types of this package that neither the
    baseline's nor another variant's has.
    """
    plan = experiment.plan
    names = [model.name for model in plan.planned_models if model.role == "variant"]
    if not names:  # controls alone
        compared = stem(plan.base)
    elif len(names) <= MOST_NAMES:
        compared = f"{joined(names, ' and ')} against {stem(plan.base)}"
    else:
        what = "attention block" if _one_block_each(experiment, names) else "variant"
        compared = f"{counted(len(names), what)} against {stem(plan.base)}"
    return f"{compared} on {stem(plan.data)}"


def subtitle(results: Results) -> str:
    """Return the seeds, epochs, images and finished runs."""
    parts = [counted(len(results.setup.seeds), "seed"), counted(results.setup.epochs, "epoch")]
    if results.data:
        parts.append(f"{results.data.split} split of {counted(results.data.images, 'image')}")
    return joined([*parts, counted(len(results.runs), "finished run")])


def _one_block_each(experiment: Experiment, names: list[str]) -> bool:
    base = next(model.name for model in experiment.plan.planned_models if model.role == "baseline")
    there = _shipped_types(experiment, base)
    added = [_shipped_types(experiment, name) - there for name in names]
    return all(added) and len(set(added)) == len(added)


def _shipped_types(experiment: Experiment, name: str) -> frozenset[str]:
    """Return the layer types of this package in a model; none if it has no finished run."""
    record = next(iter(experiment.records[name].values()), None)
    return frozenset(_types(record.model_yaml or {}) if record else ()) & frozenset(SHIPPED)


def _types(model_yaml: dict[str, Any]) -> Iterator[str]:
    for part in ("backbone", "head"):
        rows = model_yaml.get(part)
        for row in rows if isinstance(rows, list) else ():
            if isinstance(row, list) and len(row) > 2 and isinstance(row[2], str):
                yield row[2]
