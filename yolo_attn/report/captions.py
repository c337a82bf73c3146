"""What must be said with the figures: before them, and under them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import to_builtins

from ..experiment.plan import stem
from ..experiment.records import Record
from .number_format import counted, listed

STEADY = 2.0  # 90th over 10th percentile of a latency from which on the caption warns; a choice, not a measured limit


def first(results: Mapping[str, Any]) -> list[str]:
    """Return what must be read before any figure: no test split, missing runs, too few seeds, nothing found."""
    lines = []
    data = results["data"]
    if data and data["split"] != "test":
        lines.append(
            f"No test split: the figures are of the {data['split']} split ({data['split_reason']}), and the epochs "
            "were chosen on it. They are better than those of new images would be."
        )
    if data and not results["pairing"]["paired"]:
        lines.append(f"Not paired by seed: {results['pairing']['why']}. Differences are taken between means.")
    lines += _incomplete(results)
    seeds = [len(model["seeds"]) for model in results["models"] if model["effect"]]
    if seeds and max(seeds) == 1:
        lines.append(
            "One seed: it shows that the models train, not that one is better. Runs of one model differ with the seed."
        )
    if results["models"] and not any(model["figures"]["AP"]["mean"] for model in results["models"]):
        lines.append("No model finds anything yet: AP is 0 for all of them, so that nothing is compared. Train longer.")
    return lines


def _incomplete(results: Mapping[str, Any]) -> list[str]:
    missing = results["missing"]
    if not missing:
        return []
    waiting = [item["run"] for item in missing if not item["reason"]]
    planned = len(missing) + len(results["runs"])
    lines = [f"Incomplete: {len(results['runs'])} of {counted(planned, 'run')} are finished."]
    if waiting:
        lines.append(f"Not finished: {listed(waiting)}. The same compare command goes on with them.")
    lines += [f"Failed: {item['run']}: {item['reason']}" for item in missing if item["reason"]]
    kinds: dict[tuple[str, ...], list[str]] = {}
    for model in results["models"]:
        if model["effect"] and len(model["seeds"]) < len(model["planned_seeds"]):
            kinds.setdefault(tuple(map(str, model["seeds"])), []).append(model["title"])
    for seeds, titles in kinds.items():
        lines.append(
            f"{listed(titles)}: compared at seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)} only, where both it "
            "and the baseline are finished. The difference is that of these seeds, not that of the means shown."
        )
    alone = [m["title"] for m in results["models"] if m["role"] != "baseline" and not m["effect"]]
    if alone:
        lines.append(f"{listed(alone)}: not compared, as no seed is finished by both it and the baseline.")
    return lines


def caption(results: Mapping[str, Any], records: Sequence[Record]) -> list[str]:
    """Return the lines under the table: data, recipe, whose figures, costs, weights, what makes runs unlike."""
    if not records:
        return []
    data, recipe, versions = results["data"], results["recipe"], results["versions"]
    reason = f" ({data['split_reason']})" if data.get("split_reason") else ""
    seeds = sorted({seed for model in results["models"] for seed in model["base_seeds"]})
    lines = [
        f"{stem(results['plan']['data'])}, {data['split']} split{reason}: {counted(data['images'], 'image')}, "
        f"{counted(data['boxes'], 'box').replace('boxs', 'boxes')}. {_epochs(results)} at {recipe['imgsz']} px, "
        f"{_start(results)}, seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}.",
        "Accuracy in per cent, mean ± standard deviation over the seeds; differences in points. AP, AP50, AP-S, AP-M, "
        f"AP-L (COCO's sizes) by faster-coco-eval {versions.get('faster-coco-eval', '?')}; mAP50 and mAP50-95 by "
        f"Ultralytics {versions.get('ultralytics', '?')}, as yolo val prints them.",
        *_interval(results["models"]),
    ]
    lines += _weights(results["models"])
    lines += _costs(results)
    lines += _unlike(records)
    lines.append(_made_with(results))
    return lines


def _weights(models: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what arrived of the weights at the start; what did not is in the page's table."""
    alike: dict[str, list[str]] = {}
    for model in models:
        if model["training"]["transferred"]:
            alike.setdefault(model["training"]["transferred"].split(";")[0], []).append(model["title"])
    return [f"Weights at the start: {text} ({listed(titles)})." for text, titles in alike.items()]


def _interval(models: Sequence[Mapping[str, Any]]) -> list[str]:
    effects = [model["effect"]["metrics"].get("AP") for model in models if model["effect"]]
    both = any(found and found["combined"] for found in effects)
    if not both and all(not found or found["seeds"]["low"] is None for found in effects):
        return []
    scope = "other seeds and other images of this kind" if both else "other seeds with these test images"
    of = "COCO's figures" if both else "a difference"
    rest = ", that of Ultralytics' own of other seeds only" if both else ""
    return [f"The 95 % interval of {of} speaks of {scope}{rest}. p is corrected for the number of variants (Holm)."]


def _start(results: Mapping[str, Any]) -> str:
    weights = results["recipe"]["pretrained"]
    if any(not model["model"].endswith((".yaml", ".yml")) for model in results["models"]):
        return "started from the given checkpoints"
    return f"started from {Path(weights).name}" if isinstance(weights, str) else "from scratch"


def _epochs(results: Mapping[str, Any]) -> str:
    planned = results["recipe"]["epochs"]
    early = [
        f"{model['title']} seed {seed} stopped after {done}"
        for model in results["models"]
        for seed, done in zip(model["seeds"], model["training"]["epochs"], strict=True)
        if done != planned
    ]
    text = counted(planned, "epoch")
    return f"{text} ({listed(early)})" if early else text


def _costs(results: Mapping[str, Any]) -> list[str]:
    latency, throughput = results["latency"], results["throughput"]
    if not latency:
        return ["Costs were not measured."]
    text = (
        f"GFLOPs: 2 x multiply-adds at {results['gflops_imgsz']} px. Latency: batch {latency['batch']} at "
        f"{latency['imgsz']} px, {_where(latency)}, fused, without NMS; median of {latency['rounds']} rounds taken in "
        "turn with the baseline, difference by round."
    )
    if throughput:
        text += f" Throughput: batch {throughput['batch']} at {throughput['imgsz']} px, {_where(throughput)}."
    lines = [text]
    unsteady = [model["title"] for model in results["models"] if _unsteady(model)]
    if unsteady:
        lines.append(
            f"Careful: the latency of {listed(unsteady)} swings by more than x{STEADY:g}, as on a busy machine; do not "
            "use it. Delete cost.json and give the same command again when the machine is idle."
        )
    return lines


def _where(measured: Mapping[str, Any]) -> str:
    threads = f", {counted(measured['threads'], 'thread')}" if measured.get("threads") else ""
    return f"{measured['dtype']}, on {measured['device']}{threads}"


def _unsteady(model: Mapping[str, Any]) -> bool:
    ends = (model["cost"] or {}).get("latency_ms")
    return ends is not None and ends["p90"] > STEADY * ends["p10"]


def _unlike(records: Sequence[Record]) -> list[str]:
    """Return what makes the runs less alike than the table suggests."""
    notes = []
    resumed = [record.run for record in records if record.sessions > 1]
    if resumed:
        notes.append(
            f"Interrupted and resumed: {listed(resumed)}; not the same random numbers as a training in one piece."
        )
    for part, what in (("versions", "versions"), ("hardware", "hardware"), ("data", "evaluated data")):
        kinds = [
            {key: value for key, value in to_builtins(getattr(record, part)).items() if key != "file"}
            for record in records
        ]
        keys = sorted({key for kind in kinds for key in kind if kind.get(key) != kinds[0].get(key)})
        if keys:
            notes.append(f"Careful: the runs differ in {what} ({', '.join(keys)}); see their record.json.")
    commits = {record.git and record.git.commit for record in records}
    if len(commits) > 1:
        notes.append("Careful: the runs were made at different commits; see their record.json.")
    return notes


def _made_with(results: Mapping[str, Any]) -> str:
    versions, hardware, git = results["versions"], results["hardware"], results["git"]
    named = [f"{name} {versions[name]}" for name in ("yolo-attn", "ultralytics", "torch", "python") if name in versions]
    if git and git.get("commit"):
        named.append(f"commit {git['commit'][:7]}{' with changes' if git.get('dirty') else ''}")
    gpus = ", ".join(hardware.get("gpus") or [])
    where = gpus or f"{hardware.get('cpu', '?')}, {counted(hardware.get('cores') or 1, 'core')}"
    return f"Made with {', '.join(named)}; trained on {where}."
