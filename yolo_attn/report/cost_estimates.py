"""Latency and throughput as every table, chart and file of the report shows them.

A model's value is the baseline's median times the model's ratio, which is taken round by round: a machine that slows
down for some rounds moves the model's own median, and hardly the ratio. If the timing of one network against itself
shows that the machine was busy, there is no value.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from ..experiment.costs import Costs, ModelCost, Spread
from ..experiment.epochs import durations
from ..experiment.records import Record
from ..messages import joined
from .number_format import ratio, ratio_and_range

SAME_WITHIN = 1.1  # the median ratio of a network to itself is less than this factor from 1; a choice
STEADY_WITHIN = 2.0  # the 90th percentile of ratios or epochs is at most this multiple of the 10th; a choice
REMEDY = "Delete cost.json and rerun the compare command on an idle machine"


@dataclass(frozen=True)
class CostEstimates:
    """What the models cost.

    Attributes:
        models: The costs by name of the model, with the estimates instead of the model's own rounds.
        warnings: Why latency or throughput is not known.
    """

    models: dict[str, ModelCost]
    warnings: tuple[str, ...] = ()


def estimate_costs(costs: Costs | None, base: str, repeats: Collection[str]) -> CostEstimates:
    """Return the costs to show.

    Args:
        costs: The measurement; None without one.
        base: Name of the baseline.
        repeats: Names of the models whose network is the baseline's.
    """
    if costs is None:
        return CostEstimates({})
    models = dict(costs.models)
    its = models.get(base)
    warnings = []
    for what, value, over, check in (
        ("latency", "latency_ms", "latency_ratio", costs.latency_check),
        ("throughput", "images_per_s", "throughput_ratio", costs.throughput_check),
    ):
        ratios = {name: found for name, model in models.items() if (found := getattr(model, over))}
        checks = {"the baseline itself": check} if check else {}
        checks |= {name: ratios[name] for name in repeats if name in ratios}
        reason = _busy(ratios, checks)
        median = getattr(its, value).median if its and getattr(its, value) else None
        for name, model in models.items():
            if reason:
                models[name] = replace(model, **{value: None, over: None})
            elif median is not None and name in ratios and name != base:
                models[name] = replace(model, **{value: ratios[name].scaled(median)})
        if reason:
            warnings.append(f"Machine busy during the timing: no {what} is given. {reason}. {REMEDY}.")
    return CostEstimates(models, tuple(warnings))


def unsteady_epochs(records: Mapping[str, Sequence[Record]]) -> dict[str, str]:
    """Return the models whose duration of an epoch is uncertain, each with how long its epochs took."""
    found: dict[str, str] = {}
    for name, its in records.items():
        timed = [record for record in its if record.epoch_seconds is not None]
        seconds = durations(min(timed, key=lambda record: record.epoch_seconds or 0).epochs) if timed else []
        if len(seconds) > 1:
            low, *_, high = statistics.quantiles(seconds, n=10, method="inclusive")
            if high > STEADY_WITHIN * low:
                found[name] = f"{name} {low:.1f} to {high:.1f} s"
    return found


def epochs_warning(unsteady: Mapping[str, str], base: str) -> list[str]:
    """Return the warning about the models of :func:`unsteady_epochs`; none without any."""
    if not unsteady:
        return []
    return [
        f"The epochs of one run differ by more than a factor of {STEADY_WITHIN:g} in time: "
        f"{joined(unsteady.values(), most=3)} (10th to 90th percentile), as on a busy machine. No difference in time "
        f"per epoch is given for {'any model' if base in unsteady else 'these models'}."
    ]


def _busy(ratios: Mapping[str, Spread], checks: Mapping[str, Spread]) -> str:
    """Return what shows that the machine was busy; empty if nothing does."""
    for name, found in checks.items():
        if found.median <= 0 or abs(math.log(found.median)) > math.log(SAME_WITHIN):
            return f"The same network, {name}, measured {ratio(found.median)} against the baseline"
    unsteady = {name: found for name, found in {**ratios, **checks}.items() if found.p90 > STEADY_WITHIN * found.p10}
    if unsteady:
        named = joined((f"{name} {ratio_and_range(found)}" for name, found in unsteady.items()), most=3)
        return f"Ratios to the baseline vary by more than a factor of {STEADY_WITHIN:g} over the rounds: {named}"
    return ""
