"""The sentences around the numbers: warnings to read first, and notes on how the numbers were obtained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec import to_builtins

from ..experiment.consistency import different_arguments
from ..experiment.costs import Timing
from ..experiment.plan import stem
from ..experiment.records import EvaluatedData, Record
from ..experiment.results import Results
from ..messages import counted, joined
from ..statistics.seed_differences import LEVEL

MOST_NAMES = 12  # in a list


def warnings_for(results: Results, records: Sequence[Record]) -> list[str]:
    """Return what must be read before any number: runs that differ, missing runs, one seed, nothing detected."""
    lines = [*(results.data.warnings if results.data else []), *_differences(records)]
    if results.data and results.data.split != "test":
        lines.append(
            f"No test split: the metrics are from the {results.data.split} split ({results.data.split_reason}), which "
            "also selected the epochs. Expect lower values on new images."
        )
    if results.data and not results.pairing.paired:
        lines.append(f"Not paired by seed: {results.pairing.reason}. Differences are between the means of all seeds.")
    lines += _incomplete(results)
    if results.compared and max(len(model.seeds) for model in results.compared) == 1:
        lines.append("One seed: this shows that the models train, not that one is better. Results vary with the seed.")
    means = {model.metric("AP").mean for model in results.models}
    if means == {None}:
        lines.append("No AP: it is not defined without labelled objects in the images. Use other images.")
    elif means and not any(means):
        lines.append("No detections: AP is 0 for all models, so there is nothing to compare. Train longer.")
    return lines + [f"{model.name}: {finding}" for model in results.models for finding in model.findings]


def _incomplete(results: Results) -> list[str]:
    if not results.missing:
        return []
    waiting = [run.run for run in results.missing if not run.reason]
    done, planned = len(results.runs), len(results.missing) + len(results.runs)
    lines = [f"Incomplete: {done} of {counted(planned, 'run')} {'is' if done == 1 else 'are'} finished."]
    if waiting:
        lines.append(f"Not finished: {_names(waiting)}. Rerun the compare command to resume.")
    lines += [f"Failed: {run}: {reason}" for run, reason in results.failed.items()]
    by_seeds: dict[tuple[int, ...], list[str]] = {}
    for model in results.compared:
        if len(model.seeds) < len(model.planned_seeds):
            by_seeds.setdefault(model.seeds, []).append(model.name)
    for seeds, names in by_seeds.items():
        lines.append(
            f"{_names(names)}: compared only at {_seeds(seeds)}, finished for both the model and the baseline. The "
            "mean of the baseline is over all its seeds."
        )
    alone = [model.name for model in results.models if model.role != "baseline" and not model.effect]
    if alone:
        lines.append(f"{_names(alone)}: not compared, because no seed is finished for both the model and the baseline.")
    return lines


def notes_on(results: Results, records: Sequence[Record]) -> list[str]:
    """Return the notes below the tables: data, training, metrics, intervals, weights, costs, versions."""
    data = results.data
    if data is None:
        return []
    seeds = sorted({seed for model in results.models for seed in model.base_seeds})
    lines = [
        f"{stem(results.setup.data)}, {data.split} split ({data.split_reason}): {counted(data.images, 'image')}, "
        f"{boxes_of(data)}. {_epochs(results)} at {results.arguments.get('imgsz')} px, "
        f"{_start(results)}, {_seeds(seeds)}.",
        "Accuracy in per cent, mean ± standard deviation over the seeds; differences in points. AP, AP50, AP-S, AP-M "
        "and AP-L are COCO's metrics, computed by faster-coco-eval "
        f"{results.versions.get('faster-coco-eval', '?')}. mAP50 and mAP50-95 are computed by Ultralytics "
        f"{results.versions.get('ultralytics', '?')}, as yolo val prints them.",
        *_intervals(results),
    ]
    by_line: dict[str, list[str]] = {}
    for model in results.models:
        if model.training.transfer:
            by_line.setdefault(model.training.transfer.split(";")[0], []).append(model.name)
    lines += [f"Pretrained weights of {_names(names)}: {line}." for line, names in by_line.items()]
    return [*lines, *_costs(results), *_resumed(records), _made_with(results)]


def boxes_of(data: EvaluatedData) -> str:
    """Return the number of boxes, and of those in the COCO JSON if COCO's metrics are computed from it."""
    labels = counted(data.boxes, "box", "boxes")
    if data.annotation_boxes in (None, data.boxes):
        return labels
    return f"{data.annotation_boxes:,} in the COCO JSON (AP), {labels} in the labels (mAP)"


def _intervals(results: Results) -> list[str]:
    effects = [effect for model in results.compared if (effect := model.change("AP"))]
    holm = "p is corrected for the number of variants (Holm)."
    few = min(
        (effect.seeds for effect in effects if effect.seeds.p_t is not None), key=lambda seeds: seeds.n, default=None
    )
    if few and few.p_smallest is not None and few.p_smallest > LEVEL:
        least = f"A permutation test with {few.n} seeds cannot give p below {few.p_smallest:.3g}"
        holm += f" {least}, so p is from the t distribution."
    if any(effect.combined for effect in effects):
        return [
            "The 95 % confidence intervals of COCO's metrics cover other seeds and other images of this kind; those of "
            f"Ultralytics' metrics cover other seeds only. {holm}"
        ]
    if any(effect.seeds.low is not None for effect in effects):
        return [f"The 95 % confidence intervals cover other seeds, on these test images. {holm}"]
    return []


def _start(results: Results) -> str:
    weights = results.arguments.get("pretrained")
    if any(not model.file.endswith((".yaml", ".yml")) for model in results.models):
        return "starting from the given checkpoints"
    return f"starting from {Path(weights).name}" if isinstance(weights, str) else "trained from scratch"


def _epochs(results: Results) -> str:
    planned = results.setup.epochs
    early = [
        f"{model.name} seed {seed} stopped after {done}"
        for model in results.models
        for seed, done in zip(model.seeds, model.training.epochs, strict=True)
        if done != planned
    ]
    return counted(planned, "epoch") + (f" ({_names(early)})" if early else "")


def _costs(results: Results) -> list[str]:
    latency, throughput = results.latency, results.throughput
    if latency is None or throughput is None:
        return ["Costs were not measured."]
    return [
        f"GFLOPs: 2 x multiply-adds at {results.gflops_imgsz} px. Latency: {_timing(latency)}, fused, without NMS; "
        f"the baseline's median of {latency.rounds} rounds times the model's ratio, taken round by round. Throughput: "
        f"{_timing(throughput)}, in the same way. Time per epoch: the median of the fastest run; the runs train one "
        "after the other, so other work on the machine shows in it. Neither times nor ratios carry over to other "
        "hardware."
    ]


def _timing(timing: Timing) -> str:
    threads = f" with {counted(timing.threads, 'thread')}" if timing.threads else ""
    return f"batch {timing.batch} at {timing.imgsz} px, {timing.dtype} on {timing.device}{threads}"


def _resumed(records: Sequence[Record]) -> list[str]:
    """Return a note on the runs that were resumed."""
    if not (resumed := [record.run for record in records if record.sessions > 1]):
        return []
    return [f"Interrupted and resumed, so with other random numbers than an unbroken run: {_names(resumed)}."]


def _differences(records: Sequence[Record]) -> list[str]:
    """Return warnings about what differs between the runs apart from model and seed."""
    found = []
    for what, part in (("versions", "versions"), ("hardware", "hardware"), ("evaluated data", "data")):
        kinds = [{**to_builtins(getattr(record, part)), "file": None} for record in records]
        keys = sorted({key for kind in kinds for key in kind if kind.get(key) != kinds[0].get(key)})
        if keys:
            found.append(f"The runs differ in {what} ({joined(keys)}); see each record.json.")
    if arguments := different_arguments(records):
        found.append(f"The runs differ in training arguments ({joined(arguments)}); see each record.json.")
    if len({record.git and record.git.commit for record in records}) > 1:
        found.append("The runs were made at different commits; see each record.json.")
    mixed = [record.run for record in records if any(other != record.versions for other in record.resumed_versions)]
    if mixed:
        found.append(f"Resumed with other versions of packages than at the start: {_names(mixed)}; see record.json.")
    return found


def _made_with(results: Results) -> str:
    versions, hardware, git = results.versions, results.hardware, results.git
    named = [f"{name} {versions[name]}" for name in ("yolo-attn", "ultralytics", "torch", "python") if name in versions]
    if git:
        named.append(f"commit {git.commit[:7]}{' with uncommitted changes' if git.dirty else ''}")
    assert hardware is not None, "there is a finished run"
    machine = joined(hardware.gpus) or f"{hardware.cpu}, {counted(hardware.cores, 'core')}"
    return f"Made with {joined(named)}; trained on {machine}."


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {joined(seeds)}"


def _names(names: Sequence[str]) -> str:
    return joined(names, most=MOST_NAMES)
