"""Compute the results of an experiment from its records: what ``results.json`` holds."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from ..errors import DataError
from ..experiment.consistency import check_metrics
from ..experiment.costs import ModelCost
from ..experiment.folder_contents import Experiment
from ..experiment.plan import PlannedModel
from ..experiment.records import Record
from ..experiment.results import (
    CostRatios,
    MeanErrors,
    MetricValues,
    ModelResult,
    Results,
    RunResult,
    Setup,
    Training,
    class_metric,
)
from ..messages import counted
from ..metrics import compute_class_metrics, error_kinds
from ..metrics.tide_errors import KINDS, SPECIAL
from ..statistics import Effect, Group, analyse
from . import training_curves, warnings_and_notes
from .cost_estimates import epochs_warning, estimate_costs, unsteady_epochs

Progress = Callable[[str], None]
Values = dict[str, dict[int, float | None]]  # by metric and seed


def compute_results(experiment: Experiment, progress: Progress | None = None) -> Results:
    """Compute metrics, differences, verdicts and costs of the models; call ``progress`` before each longer step.

    A seed counts for a variant if both its run and the baseline's are finished. The variant's metrics and differences
    are for these seeds; the baseline's metrics are for all its own.

    Raises:
        DataError: If the predictions of a record do not fit the ground truth or its metrics; names the record.
    """
    say = progress or (lambda line: None)
    plan, finished = experiment.plan, experiment.finished
    planned = plan.planned_models
    base = next(model for model in planned if model.role == "baseline")
    seeds = {model.name: _counted_seeds(model, base, experiment) for model in planned}
    values = {model.name: _values(model, seeds[model.name], experiment, say) for model in planned}
    effects = _effects(base, seeds, values, experiment, say)
    costs = experiment.costs
    estimates = estimate_costs(costs, base.name, [model.name for model in planned if model.control == "repeat"])
    unsteady = unsteady_epochs({name: [experiment.records[name][seed] for seed in its] for name, its in seeds.items()})
    models: list[ModelResult] = []
    for model in planned:
        if seeds[model.name]:
            say(f"kinds of error of {model.name}")
            effect = effects.get(model.name)
            cost = estimates.models.get(model.name)
            models.append(_model(model, seeds[model.name], values[model.name], effect, cost, experiment))
            if models[0].role == "baseline" and model != base:
                timed = models[-1].name not in unsteady and base.name not in unsteady
                models[-1] = replace(models[-1], cost_ratios=_cost_ratios(models[-1], models[0], timed=timed))
    first = next(iter(finished), None)
    results = Results(
        experiment=plan.id,
        setup=msgspec.convert(plan, Setup, from_attributes=True),
        models=tuple(models),
        runs=tuple(_run(record) for record in finished),
        missing=tuple(experiment.missing),
        data=first.data if first else None,
        arguments=first.arguments if first else {},
        versions=first.versions if first else {},
        hardware=first.hardware if first else None,
        git=first.git if first else None,
        latency=costs.latency if costs else None,
        throughput=costs.throughput if costs else None,
        gflops_imgsz=costs.gflops_imgsz if costs else None,
        pairing=experiment.pairing,
    )
    warnings = [
        *warnings_and_notes.warnings_for(results, finished),
        *estimates.warnings,
        *epochs_warning(unsteady, base.name),
    ]
    return replace(results, warnings=tuple(warnings), notes=tuple(warnings_and_notes.notes_on(results, finished)))


def _counted_seeds(model: PlannedModel, base: PlannedModel, experiment: Experiment) -> dict[int, int]:
    """Return the model's seeds that count, and the baseline's seed that each is compared with."""
    mine, its = experiment.records[model.name], experiment.records[base.name]
    pairs = {seed: other for seed, other in zip(model.seeds, base.seeds, strict=True) if seed in mine}
    # without a common seed there is no difference, but the model's own metrics are known
    return {seed: other for seed, other in pairs.items() if other in its} or pairs


def _values(model: PlannedModel, seeds: Mapping[int, int], experiment: Experiment, say: Progress) -> Values:
    """Return the metrics of a model by seed: COCO's, Ultralytics' own, and COCO's AP of each class."""
    values: Values = {}
    for seed in seeds:
        record = experiment.records[model.name][seed]
        found = {**record.metrics.coco, **record.metrics.ultralytics}
        if experiment.truth is not None and record.predictions is not None:
            say(f"metrics by class of {model.name}, seed {seed}")
            try:
                by_class = compute_class_metrics(experiment.truth.coco, record.predictions)
            except DataError as error:
                raise DataError(f"{experiment.plan.run(record.run).record}: {error}") from None
            ap = {name: metrics["AP"] for name, metrics in by_class.items()}
            check_metrics(record, ap, experiment.plan.run(record.run).record)
            found |= {class_metric(name): value for name, value in ap.items()}
        for name, value in found.items():
            values.setdefault(name, {})[seed] = value
    return values


def _effects(
    base: PlannedModel,
    seeds: Mapping[str, Mapping[int, int]],
    values: Mapping[str, Values],
    experiment: Experiment,
    say: Progress,
) -> dict[str, Effect]:
    """Return the effects by model; p is corrected for the number of variants, or of controls of one kind."""
    found: dict[str, Effect] = {}
    planned = [model for model in experiment.plan.planned_models if model != base]
    for role, kind in dict.fromkeys((model.role, model.control) for model in planned):
        models = [
            model
            for model in planned
            if (model.role, model.control) == (role, kind)
            and seeds[model.name]
            and experiment.records[base.name].keys() >= set(seeds[model.name].values())
        ]
        if not models:
            continue
        say(f"differences of {counted(len(models), role)}")
        common = [seed for seed in base.seeds if any(seed in seeds[model.name].values() for model in models)]
        effects = analyse(
            _group(base, common, dict(zip(common, common, strict=True)), values[base.name], experiment),
            [_group(model, common, seeds[model.name], values[model.name], experiment) for model in models],
            experiment.truth.coco if experiment.truth else None,
            # the seeds of a repetition differ from the baseline's, so their order pairs nothing
            paired=experiment.pairing.paired and kind != "repeat",
            progress=lambda done, total: say(f"resampling the test images: {done} of {counted(total, 'run')}"),
        )
        found |= {effect.name: effect for effect in effects}
    return found


def _group(
    model: PlannedModel, common: Sequence[int], seeds: Mapping[int, int], values: Values, experiment: Experiment
) -> Group:
    """Return a model's metrics, one per seed of the baseline, None where the run is not finished."""
    own = {base: seed for seed, base in seeds.items()}
    mine = [own.get(seed) for seed in common]
    predictions = [None if seed is None else experiment.records[model.name][seed].predictions for seed in mine]
    return Group(
        name=model.name,
        values={name: [None if seed is None else its.get(seed) for seed in mine] for name, its in values.items()},
        predictions=predictions if any(predictions) else [],
    )


def _model(
    model: PlannedModel,
    seeds: Mapping[int, int],
    values: Values,
    effect: Effect | None,
    cost: ModelCost | None,
    experiment: Experiment,
) -> ModelResult:
    records = [experiment.records[model.name][seed] for seed in seeds]
    return ModelResult(
        name=model.name,
        file=model.file,
        role=model.role,
        control=model.control,
        variants=model.variants,
        note=model.note,
        findings=tuple(dict.fromkeys(finding for record in records for finding in record.findings)),
        planned_seeds=model.seeds,
        seeds=tuple(seeds),
        base_seeds=tuple(seeds.values()),
        metrics={name: summarise_values([its.get(seed) for seed in seeds]) for name, its in values.items()},
        effect=effect,
        cost=cost,
        training=Training(
            seconds=statistics.fmean(record.training_seconds for record in records),
            epoch_seconds=min((s for record in records if (s := record.epoch_seconds) is not None), default=None),
            resident_bytes=_most([record.peak_memory.resident_bytes for record in records]),
            gpu_bytes=_most([record.peak_memory.gpu_bytes for record in records]),
            epochs=tuple(len(record.epochs) for record in records),
            best_epochs=tuple(record.best_epoch for record in records),
            transfer=next((record.transfer for record in records if record.transfer), None),
        ),
        errors=_mean_errors(records, experiment),
        curves=training_curves.curves_of(records),
    )


def summarise_values(values: Sequence[float | None]) -> MetricValues:
    """Return the values of a metric with their mean and standard deviation, None if a value is missing."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return MetricValues(tuple(values))
    sd = statistics.stdev(known) if len(known) > 1 else None
    return MetricValues(tuple(values), statistics.fmean(known), sd)


def _cost_ratios(model: ModelResult, base: ModelResult, *, timed: bool) -> CostRatios:
    mine, its, training, reference = model.cost, base.cost, model.training, base.training
    return CostRatios(
        parameters=_over(mine.parameters, its.parameters) if mine and its else None,
        gflops=_over(mine.gflops, its.gflops) if mine and its else None,
        latency=mine.latency_ratio.median if mine and mine.latency_ratio else None,
        throughput=mine.throughput_ratio.median if mine and mine.throughput_ratio else None,
        epoch_seconds=_over(training.epoch_seconds, reference.epoch_seconds) if timed else None,
        resident_bytes=_over(training.resident_bytes, reference.resident_bytes),
        gpu_bytes=_over(training.gpu_bytes, reference.gpu_bytes),
    )


def _over(mine: float | None, its: float | None) -> float | None:
    return mine / its if mine is not None and its else None


def _mean_errors(records: Sequence[Record], experiment: Experiment) -> MeanErrors | None:
    """Return the kinds of error, each number the mean over the seeds."""
    predictions = [record.predictions for record in records if record.predictions is not None]
    if experiment.truth is None or len(predictions) < len(records):
        return None
    truth = experiment.truth.coco
    found = [error_kinds(truth, each) for each in predictions]
    return MeanErrors(
        summarise_values([each.ap50 for each in found]).mean,
        {kind: statistics.fmean(each.counts[kind] for each in found) for kind in KINDS},
        {kind: summarise_values([each.dap[kind] for each in found]) for kind in (*KINDS, *SPECIAL)},
    )


def _run(record: Record) -> RunResult:
    return RunResult(
        run=record.run,
        model=record.model,
        seed=record.seed,
        ap=record.metrics.coco.get("AP"),
        epochs=len(record.epochs),
        best_epoch=record.best_epoch,
        training_seconds=record.training_seconds,
        sessions=record.sessions,
        started=record.started,
        git=record.git,
    )


def _most(values: Sequence[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)
