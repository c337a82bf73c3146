"""The report as CSV: tidy rows for pandas or R; metrics from 0 to 1, differences in points of 100."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from ..experiment.results import ModelResult, Results

MODEL = ("model", "file", "role", "control", "variants")
SUMMARY = (*MODEL, "metric", "seeds", "mean", "sd", "difference", "low", "high", "method", "p_t", "p_permutation",
           "p_holm", "image_low", "image_high", "combined_low", "combined_high", "ratio", "ratio_low", "ratio_high",
           "p10", "p90")  # fmt: skip
BY_SEED = (*MODEL, "seed", "base_seed", "metric", "value", "difference")

Row = Mapping[str, object]


def summary_csv(results: Results) -> str:
    """Return a row for each model and metric: mean over the seeds, difference to the baseline, intervals.

    Costs are metrics too: instead of a difference they have a ``ratio``, the model's value over the baseline's.
    """
    rows: list[Row] = []
    for model in results.models:
        own: Row = {**_model(model), "seeds": len(model.seeds)}
        for name, found in model.metrics.items():
            row = {**own, "metric": name, "mean": found.mean, "sd": found.sd}
            effect = model.change(name)
            if model.effect and effect:
                seeds = effect.seeds
                row |= {"difference": seeds.mean, "low": seeds.low, "high": seeds.high, "method": seeds.method}
                row |= {"p_t": seeds.p_t, "p_permutation": seeds.p_permutation}
                for part, ends in (("image", effect.images), ("combined", effect.combined)):
                    row |= {f"{part}_low": ends.low, f"{part}_high": ends.high} if ends else {}
                if name == "AP":
                    row["p_holm"] = model.effect.verdict.p_holm
            rows.append(row)
        rows += [{**own, **row} for row in _costs(model)]
    return _csv(SUMMARY, rows)


def _costs(model: ModelResult) -> list[Row]:
    cost, ratios, training = model.cost, model.cost_ratios, model.training
    rows: list[Row] = []
    if cost:
        rows.append({"metric": "parameters", "mean": cost.parameters, "ratio": ratios and ratios.parameters})
        rows.append({"metric": "gflops", "mean": cost.gflops, "ratio": ratios and ratios.gflops})
        for name, found, over in (
            ("latency_ms", cost.latency_ms, cost.latency_ratio),
            ("images_per_s", cost.images_per_s, cost.throughput_ratio),
        ):
            if found is None:
                continue
            row = {"metric": name, "mean": found.median, "p10": found.p10, "p90": found.p90}
            rows.append(row | ({"ratio": over.median, "ratio_low": over.p10, "ratio_high": over.p90} if over else {}))
    for name in ("seconds", "epoch_seconds", "resident_bytes", "gpu_bytes"):
        value = getattr(training, name)
        if value is not None:
            rows.append({"metric": f"training_{name}", "mean": value, "ratio": getattr(ratios, name, None)})
    return rows


def by_seed_csv(results: Results) -> str:
    """Return a row for each model, seed and metric."""
    rows: list[Row] = []
    base = results.baseline
    for model in results.models:
        for name, found in model.metrics.items():
            its = dict(zip(base.seeds, base.metric(name).values, strict=False)) if base and model is not base else {}
            for seed, other, value in zip(model.seeds, model.base_seeds, found.values, strict=True):
                reference = its.get(other)
                difference = None if value is None or reference is None else 100 * (value - reference)
                row = {"seed": seed, "base_seed": other, "metric": name, "value": value, "difference": difference}
                rows.append({**_model(model), **row})
    return _csv(BY_SEED, rows)


def _model(model: ModelResult) -> Row:
    variants = " ".join(model.variants)
    return {"model": model.name, "file": model.file, "role": model.role, "control": model.control, "variants": variants}


def _csv(columns: tuple[str, ...], rows: Sequence[Row]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _plain(value) for key, value in row.items()})
    return file.getvalue()


def _plain(value: object) -> object:
    """Return a cell that a spreadsheet does not read as a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
