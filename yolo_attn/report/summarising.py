"""Everything a report says, as plain numbers and text: what ``results.json`` holds."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import to_builtins

from ..errors import DataError
from ..experiment.folder_contents import Experiment
from ..experiment.plan import Plan, PlannedModel
from ..experiment.records import Record
from ..metrics import compute_class_metrics
from ..metrics.tide_errors import error_kinds
from ..statistics import Group, analyse
from . import captions, training_curves

PRIMARY = "AP"
# The figures of Ultralytics as they are called here, beside COCO's.
OWN = {"mAP50": "mAP50", "mAP50-95": "mAP50-95", "precision": "precision", "recall": "recall"}
RESAMPLES = 1000

Progress = Callable[[str], None]


def results(experiment: Experiment, progress: Progress | None = None) -> dict[str, Any]:
    """Return what is known and what it means.

    A seed counts for a variant where both its run and the baseline's are finished; all its figures, and the
    differences, are of these seeds. The baseline's are of all its own.

    Args:
        experiment: What the folder holds.
        progress: Called with a line before each longer step.

    Returns:
        ``plan``, ``data``, ``models`` (baseline, variants, controls; figures from 0 to 1, effects in points of 100),
        ``first`` (what must be read before any figure), ``missing`` and ``caption``, and more; JSON can hold it all.

    Raises:
        DataError: If the predictions of a record do not fit the ground truth; names the record.
    """
    say = progress or (lambda line: None)
    plan, finished, costs = experiment.plan, experiment.finished, experiment.costs
    base = next(entry for entry in plan.planned_models if entry.role == "baseline")
    counted = {entry.name: count(entry, base, experiment) for entry in plan.planned_models}
    values = {entry.name: _values(entry, counted[entry.name], experiment, say) for entry in plan.planned_models}
    effects = _effects(base, counted, values, experiment, say)
    models = [
        _model(entry, counted[entry.name], values[entry.name], experiment)
        for entry in plan.planned_models
        if counted[entry.name]
    ]
    reference = models[0] if models and models[0]["role"] == "baseline" else None
    for model in models:
        model["effect"] = effects.get(model["title"])
        model["cost_ratios"] = _cost_ratios(model, reference) if reference and model is not reference else None
        say(f"error kinds of {model['title']}")
        model["error_kinds"] = _error_kinds(model, experiment)
    found: dict[str, Any] = {
        "format": 2,
        "experiment": plan.id,
        "plan": _plan(plan),
        "data": _data(finished[0]) if finished else None,
        "recipe": _recipe(finished),
        "arguments": finished[0].arguments if finished else None,
        "latency": costs and to_builtins(costs.latency),
        "throughput": costs and to_builtins(costs.throughput),
        "gflops_imgsz": costs and costs.gflops_imgsz,
        "versions": finished[0].versions if finished else None,
        "hardware": to_builtins(finished[0].hardware) if finished else None,
        "git": to_builtins(finished[0].git) if finished else None,
        "pairing": {"paired": experiment.pairing.paired, "why": experiment.pairing.reason},
        "models": models,
        "runs": [_run(record) for record in finished],
        "missing": [
            {"run": run.run, "title": run.model, "seed": run.seed, "reason": run.reason} for run in experiment.missing
        ],
        "failed": {missing.run: missing.reason for missing in experiment.missing if missing.reason},
    }
    found["first"] = captions.first(found)
    found["caption"] = captions.caption(found, finished)
    return found


def count(entry: PlannedModel, base: PlannedModel, experiment: Experiment) -> dict[int, int]:
    """Return the seeds of ``entry`` that count, and the baseline's seed that each is compared with."""
    its, theirs = experiment.records[entry.name], experiment.records[base.name]
    pairs = dict(zip(entry.seeds, base.seeds, strict=True))
    both = {seed: other for seed, other in pairs.items() if seed in its and other in theirs}
    # Without a common seed there is no difference to give, but the model's own figures are known.
    return both or {seed: other for seed, other in pairs.items() if seed in its}


def _values(
    entry: PlannedModel, seeds: Mapping[int, int], experiment: Experiment, say: Progress
) -> dict[str, dict[int, float | None]]:
    """Return each figure of a model by seed: COCO's, Ultralytics' own, and COCO's AP of each class as ``AP[name]``."""
    values: dict[str, dict[int, float | None]] = {}
    for seed in seeds:
        record = experiment.records[entry.name][seed]
        found: dict[str, float | None] = dict(record.metrics.coco)
        found |= {name: record.metrics.ultralytics.get(key) for name, key in OWN.items()}
        if experiment.truth is not None and record.predictions is not None:
            say(f"figures by class of {entry.name}, seed {seed}")
            try:
                by_class = compute_class_metrics(experiment.truth.coco, record.predictions)
            except DataError as error:
                raise DataError(f"{experiment.plan.folder / record.run / 'record.json'}: {error}") from None
            found |= {f"AP[{name}]": figures["AP"] for name, figures in by_class.items()}
        for name, value in found.items():
            values.setdefault(name, {})[seed] = value
    return values


def _effects(
    base: PlannedModel,
    counted: Mapping[str, Mapping[int, int]],
    values: Mapping[str, Mapping[str, Mapping[int, float | None]]],
    experiment: Experiment,
    say: Progress,
) -> dict[str, dict[str, Any]]:
    """Return the effects by title, corrected for the number of variants, and of controls of one kind."""
    theirs = experiment.records[base.name]
    found: dict[str, dict[str, Any]] = {}
    kinds = list(
        dict.fromkeys((entry.role, entry.control) for entry in experiment.plan.planned_models if entry != base)
    )
    for role, kind in kinds:
        entries = [
            entry
            for entry in experiment.plan.planned_models
            if (entry.role, entry.control) == (role, kind)
            and counted[entry.name]
            and set(counted[entry.name].values()) <= set(theirs)
        ]
        if not entries:
            continue
        say(f"what the differences of {len(entries)} {role}{'s' if len(entries) > 1 else ''} mean")
        seeds = [seed for seed in base.seeds if any(seed in counted[entry.name].values() for entry in entries)]
        groups = [_group(entry, seeds, counted[entry.name], values[entry.name], experiment) for entry in entries]
        everything = {seed: seed for seed in seeds}
        reference = _group(base, seeds, everything, values[base.name], experiment)
        effects = analyse(
            reference,
            groups,
            experiment.truth.coco if experiment.truth else None,
            primary=PRIMARY,
            resamples=RESAMPLES,
            # The seeds of a repetition are others than the baseline's, whichever stands beside which.
            paired=experiment.pairing.paired and kind != "repeat",
            progress=lambda done, total: say(f"resampling the test images: {done} of {total} runs"),
        )
        for effect in effects:
            found[effect.name] = dataclasses.asdict(effect)
    return found


def _group(
    entry: PlannedModel,
    seeds: Sequence[int],
    counted: Mapping[int, int],
    values: Mapping[str, Mapping[int, float | None]],
    experiment: Experiment,
) -> Group:
    """Return a model's figures, one per seed of the baseline, None where the run is not finished."""
    own = {base: seed for seed, base in counted.items()}
    mine = [own.get(seed) for seed in seeds]
    columns = [None if seed is None else experiment.records[entry.name][seed].predictions for seed in mine]
    return Group(
        name=entry.name,
        values={name: [None if seed is None else its.get(seed) for seed in mine] for name, its in values.items()},
        predictions=columns if any(columns) else [],
    )


def _model(
    entry: PlannedModel,
    counted: Mapping[int, int],
    values: Mapping[str, Mapping[int, float | None]],
    experiment: Experiment,
) -> dict[str, Any]:
    records = [experiment.records[entry.name][seed] for seed in counted]
    cost = experiment.costs and experiment.costs.models.get(entry.name)
    return {
        "title": entry.name,
        "model": entry.file,
        "role": entry.role,
        "control": entry.control,
        "of": ", ".join(entry.variants) or None,
        "note": entry.note,
        "planned_seeds": list(entry.seeds),
        "seeds": list(counted),
        "base_seeds": list(counted.values()),
        "figures": {name: summary([its.get(seed) for seed in counted]) for name, its in values.items()},
        "cost": cost and to_builtins(cost),
        "training": {
            "seconds": _mean([record.training_seconds for record in records]),
            "epoch_seconds": _mean([record.epoch_seconds for record in records]),
            "resident_bytes": _most([record.peak_memory.resident_bytes for record in records]),
            "gpu_bytes": _most([record.peak_memory.gpu_bytes for record in records]),
            "epochs": [len(record.epochs) for record in records],
            "best_epochs": [record.best_epoch for record in records],
            "transferred": next((record.transfer for record in records if record.transfer), None),
        },
        "curves": training_curves.by_epoch(records),
    }


def summary(values: Sequence[float | None]) -> dict[str, Any]:
    """Return values, mean and standard deviation (None of one value); all None where a seed has no such figure."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return {"values": list(values), "mean": None, "sd": None}
    return {
        "values": list(values),
        "mean": statistics.fmean(known),
        "sd": statistics.stdev(known) if len(known) > 1 else None,
    }


def _cost_ratios(model: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, float | None]:
    """Return costs over the baseline's: those of latency and throughput are medians of ratios within a round."""
    mine, its = model["cost"] or {}, base["cost"] or {}
    found = {key: _over(mine.get(key), its.get(key)) for key in ("parameters", "gflops")}
    for key in ("latency", "throughput"):
        found[key] = (mine.get(f"{key}_ratio") or {}).get("median")
    for key in ("seconds", "epoch_seconds", "resident_bytes", "gpu_bytes"):
        found[key] = _over(model["training"][key], base["training"][key])
    return found


def _over(mine: float | None, its: float | None) -> float | None:
    return mine / its if mine is not None and its else None


def _error_kinds(model: Mapping[str, Any], experiment: Experiment) -> dict[str, Any] | None:
    """Return the mean over the seeds of each number that TIDE gives."""
    records = [experiment.records[model["title"]][seed] for seed in model["seeds"]]
    predictions = [record.predictions for record in records if record.predictions is not None]
    if experiment.truth is None or len(predictions) < len(records):
        return None
    found = [dataclasses.asdict(error_kinds(experiment.truth.coco, each)) for each in predictions]
    return _averaged(found)


def _averaged(found: Sequence[Any]) -> Any:
    """Return the mean of equally built mappings of numbers; what is no number stays as in the first."""
    first = found[0]
    if isinstance(first, dict):
        return {key: _averaged([item[key] for item in found]) for key in first}
    if isinstance(first, (int, float)) and not isinstance(first, bool):
        return statistics.fmean(found) if all(item is not None for item in found) else None
    return first


def _run(record: Record) -> dict[str, Any]:
    keys = ("run", "role", "control", "seed", "started", "ended", "sessions", "epoch_seconds", "best_epoch",
            "peak_memory", "git", "versions", "hardware")  # fmt: skip
    return {
        **{key: to_builtins(getattr(record, key)) for key in keys},
        "title": record.model,
        "model": record.model_file,
        "train_seconds": record.training_seconds,
        "transferred": record.transfer,
        "AP": record.metrics.coco.get(PRIMARY),
        "epochs": len(record.epochs),
        "fingerprint": record.data.digest,
    }


def _data(record: Record) -> dict[str, Any]:
    data = record.data
    names = {"path": data.file, "names": data.class_names, "fingerprint": data.digest}
    return {**names, **{key: getattr(data, key) for key in ("split", "split_reason", "images", "boxes")}}


def _plan(plan: Plan) -> dict[str, Any]:
    return {
        "base": plan.base,
        "models": list(plan.models),
        "data": plan.data,
        "seeds": list(plan.seeds),
        "split": plan.split,
        "train": plan.arguments,
        "controls": [entry.name for entry in plan.planned_models if entry.role == "control"],
        "epochs": plan.epochs,
    }


def _recipe(records: Sequence[Record]) -> dict[str, Any] | None:
    if not records:
        return None
    return {key: records[0].arguments.get(key) for key in ("epochs", "imgsz", "batch", "optimizer", "pretrained")}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return statistics.fmean(known) if known else None


def _most(values: Sequence[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
