"""The report as CSV: tidy rows for pandas or R, figures from 0 to 1, differences in points of 100."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from .tables import effect

WHO = ("title", "model", "role", "control", "of")
COSTS = ("parameters", "gflops")
TRAINING = ("seconds", "epoch_seconds", "resident_bytes", "gpu_bytes")
SUMMARY = (*WHO, "figure", "seeds", "mean", "sd", "difference", "low", "high", "method", "p_t", "p_permutation",
           "p_holm", "image_low", "image_high", "combined_low", "combined_high", "ratio", "ratio_low", "ratio_high",
           "p10", "p90")  # fmt: skip
BY_SEED = (*WHO, "seed", "base_seed", "figure", "value", "difference")


def summary(results: Mapping[str, Any]) -> str:
    """Return a row for each model and figure: mean over the seeds, difference to the baseline, intervals.

    Costs are figures too: their difference is ``ratio``, the model's over the baseline's.
    """
    rows = []
    for model in results["models"]:
        who = {key: model[key] for key in WHO}
        for name, found in model["figures"].items():
            row = {**who, "figure": name, "seeds": len(model["seeds"]), "mean": found["mean"], "sd": found["sd"]}
            change = effect(model, name)
            if change:
                seeds = change["seeds"]
                row |= {key: seeds[key] for key in ("low", "high", "method", "p_t", "p_permutation")}
                row["difference"] = seeds["mean"]
                for part in ("image", "combined"):
                    ends = change["images" if part == "image" else part] or {}
                    row |= {f"{part}_{end}": ends.get(end) for end in ("low", "high")}
                if name == "AP":
                    row["p_holm"] = model["effect"]["verdict"]["p_holm"]
            rows.append(row)
        rows += [{**who, "seeds": len(model["seeds"]), **row} for row in _costs(model)]
    return _csv(SUMMARY, rows)


def _costs(model: Mapping[str, Any]) -> list[dict[str, Any]]:
    cost, ratios = model["cost"] or {}, model["cost_ratios"] or {}
    rows = [{"figure": key, "mean": cost.get(key), "ratio": ratios.get(key)} for key in COSTS if key in cost]
    for name, key in (("latency_ms", "latency"), ("images_per_s", "throughput")):
        found, over = cost.get(name), cost.get(f"{key}_ratio") or {}
        if found:
            ends = {
                "p10": found["p10"],
                "p90": found["p90"],
                "ratio_low": over.get("p10"),
                "ratio_high": over.get("p90"),
            }
            rows.append({"figure": name, "mean": found["median"], "ratio": over.get("median"), **ends})
    training = model["training"]
    rows += [
        {"figure": f"training_{key}", "mean": training[key], "ratio": ratios.get(key)}
        for key in TRAINING
        if training[key] is not None
    ]
    return rows


def by_seed(results: Mapping[str, Any]) -> str:
    """Return a row for each model, seed and figure."""
    rows = []
    base = next((model for model in results["models"] if model["role"] == "baseline"), None)
    for model in results["models"]:
        for name, found in model["figures"].items():
            its = (
                dict(zip(base["seeds"], base["figures"].get(name, {}).get("values", []), strict=False)) if base else {}
            )
            for seed, other, value in zip(model["seeds"], model["base_seeds"], found["values"], strict=False):
                known = value is not None and its.get(other) is not None and model is not base
                rows.append(
                    {
                        **{key: model[key] for key in WHO},
                        "seed": seed,
                        "base_seed": other,
                        "figure": name,
                        "value": value,
                        "difference": 100 * (value - its[other]) if known else None,
                    }
                )
    return _csv(BY_SEED, rows)


def _csv(columns: tuple[str, ...], rows: list[dict[str, Any]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _plain(value) for key, value in row.items()})
    return file.getvalue()


def _plain(value: Any) -> Any:
    """Return a cell that a spreadsheet does not take for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
