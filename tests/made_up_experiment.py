"""The folder of an experiment without training: random ground truth, and predictions made from it with noise."""

from __future__ import annotations

import zlib

import numpy as np
from support import write_json

from yolo_attn.experiment.plan import Control, Plan
from yolo_attn.metrics import boxes_to_coco, columns, compute_metrics

SIDE = 320
NAMES = ("cat", "dog", "bird")


def truth(images=12, names=NAMES, seed=0):
    """Return random objects, 2 to 5 an image, of all three sizes."""
    draw = np.random.default_rng(seed)
    boxes = []
    for image in range(1, images + 1):
        for _ in range(draw.integers(2, 6)):
            w, h = draw.choice([20.0, 60.0, 120.0]) * draw.uniform(0.8, 1.2, 2)
            x, y = draw.uniform(0, SIDE - w), draw.uniform(0, SIDE - h)
            boxes.append((image, int(draw.integers(len(names))), [float(v) for v in (x, y, w, h)]))
    files = [(image, f"{image:03}.png", SIDE, SIDE) for image in range(1, images + 1)]
    info = {"split": "test", "image_folder": "images"}
    return {**boxes_to_coco(files, boxes, names), "format": 1, "info": info}


def predictions(found, skill, seed):
    """Return columns: each object is detected with probability ``skill`` and an offset; some boxes are wrong."""
    draw = np.random.default_rng(seed)
    rows = []
    for entry in found["annotations"]:
        x, y, w, h = entry["bbox"]
        dx, dy = draw.normal(0, 0.08 * w), draw.normal(0, 0.08 * h)
        category = entry["category_id"]
        if draw.random() > 0.9:
            category = (category + 1) % len(found["categories"])
        if draw.random() < skill:
            row = {"image_id": entry["image_id"], "category_id": category, "score": float(draw.uniform(0.3, 1))}
            rows.append({**row, "bbox": [x + dx, y + dy, w, h]})
        if draw.random() < 0.3:
            row = {"image_id": entry["image_id"], "category_id": entry["category_id"]}
            rows.append({**row, "score": float(draw.uniform(0.05, 0.6)), "bbox": [y, x, h, w]})
    return columns(rows)


def made_up_record(plan, run, found, skill, *, epochs=6, **changes):
    """Return a run's record as the worker writes it."""
    like = "baseline" if run.control == "identity" else run.model if run.role == "variant" else run.role
    columns = predictions(found, skill, zlib.crc32(f"{like} {run.seed}".encode()))
    metrics = compute_metrics(found, columns)
    lines = [
        {
            "epoch": epoch, "time": 10.0 * epoch,
            "metrics/mAP50(B)": metrics["AP50"] * epoch / epochs, "metrics/mAP50-95(B)": metrics["AP"] * epoch / epochs,
            "val/box_loss": 2.0 / epoch + 0.1 * (run.seed % 1000), "val/cls_loss": 3.0 / epoch,
            "val/dfl_loss": 1.0 / epoch,
        }
        for epoch in range(1, epochs + 1)
    ]  # fmt: skip
    ultralytics = {"mAP50": metrics["AP50"], "mAP50-95": metrics["AP"], "precision": 0.7, "recall": 0.6}
    changes = {
        "epochs": lines, "best_epoch": epochs, "metrics": {"coco": metrics, "ultralytics": ultralytics},
        "predictions": columns, **changes,
    }  # fmt: skip
    return empty_record(plan, run, found, epochs=epochs) | changes


def empty_record(plan, run, found=None, *, epochs=6):
    """Return a run's record as the worker writes it, without metrics and predictions."""
    found = found or {"images": [], "annotations": [], "categories": []}
    return {
        "format": 2,
        "experiment": plan.id,
        "run": run.name,
        "model": run.model,
        "model_file": run.model_file,
        "role": run.role,
        "control": run.control,
        "seed": run.seed,
        "arguments": {"epochs": epochs, "imgsz": 64, "batch": 8, "optimizer": "AdamW", "pretrained": True},
        "model_yaml": {},
        "checkpoint": "weights/best.pt",
        "git": {"commit": "0123456789abcdef", "dirty": False},
        "versions": {"yolo-attn": "0.1", "ultralytics": "8.4.190", "torch": "2.15.0", "faster-coco-eval": "1.8.0",
                     "python": "3.11.2"},
        "hardware": {"cpu": "A CPU", "cores": 2, "threads": 2, "gpus": [], "platform": "Linux"},
        "data": {"file": plan.data, "split": "test", "split_reason": "no epoch was chosen on it",
                 "images": len(found["images"]), "boxes": len(found["annotations"]),
                 "class_names": [c["name"] for c in found["categories"]], "digest": "abc123"},
        "started": "2026-01-01T00:00:00+00:00",
        "ended": "2026-01-01T00:02:00+00:00",
        "sessions": 1,
        "resumed_versions": [],
        "transfer": None,
        "weights_digest": None,
        "findings": [],
        "training_seconds": 120.0,
        "epoch_seconds": 10.0,
        "peak_memory": {"resident_bytes": 2**30, "gpu_bytes": None},
        "epochs": [],
        "best_epoch": None,
        "metrics": {"coco": {}, "ultralytics": {}},
        "predictions": None,
    }  # fmt: skip


def cost(plan):
    """Return what ``cost.json`` holds; each model costs a little more than the one before."""
    models = {}
    for index, model in enumerate(plan.planned_models):
        over = 1.0 if model.control == "repeat" else 1 + 0.1 * index
        times = {"median": 10.0 * over, "p10": 9.5 * over, "p90": 11.0 * over}
        rates = {"median": 200.0 / over, "p10": 190.0 / over, "p90": 210.0 / over}
        models[model.name] = {
            "run": f"{model.name}-seed{model.seeds[0]}",
            "parameters": int(2_590_000 * over),
            "gflops": 6.4 * over,
            "latency_ms": times,
            "latency_ratio": {"median": over, "p10": 0.98 * over, "p90": 1.03 * over} if index else None,
            "images_per_s": rates,
            "throughput_ratio": {"median": 1 / over, "p10": 0.97 / over, "p90": 1.02 / over} if index else None,
        }
    where = {"imgsz": 64, "dtype": "float32", "device": "A CPU", "threads": 2}
    return {
        "format": 1,
        "gflops_imgsz": 640,
        "latency": {**where, "batch": 1, "rounds": 50},
        "throughput": {**where, "batch": 16, "rounds": 20, "requested_batch": 16, "batch_limit": None},
        "latency_check": {"median": 1.0, "p10": 0.98, "p90": 1.02},
        "throughput_check": {"median": 1.0, "p10": 0.98, "p90": 1.02},
        "models": models,
        "versions": {},
        "hardware": {"cpu": "A CPU", "cores": 2, "threads": 2, "gpus": [], "platform": "Linux"},
    }


def write(
    folder, *, models=("yolo11n-ema.yaml", "yolo11n-gsop.yaml"), seeds=(0, 1, 2), controls=("repeat",), names=NAMES,
    skills=None, found=None, leave_out=(), data="cells.yaml", pictures=False, epochs=6, record=None,
):  # fmt: skip
    """Write an experiment into ``folder`` and return its plan.

    ``controls`` are kinds; ``skills`` the probability to find an object, by the model's name (else 0.7); ``found`` a
    ground truth instead of a random one; ``leave_out`` names of runs without a record; ``record`` what differs in every
    record. With ``pictures`` the images are written too.
    """
    plan = Plan.make(
        "yolo11n.yaml", models, data, seeds=seeds, arguments={"epochs": epochs, "imgsz": 64}, folder=folder,
        controls=[Control(kind, f"yolo11n-{kind}", note="the base again") for kind in controls],
    )  # fmt: skip
    plan.claim()
    found = found or truth(names=names)
    write_json(plan.folder / "ground_truth.json", found)
    write_json(plan.folder / "cost.json", cost(plan))
    write_json(plan.folder / "pairing.json", {"format": 1, "paired": True, "reason": "a reason"})
    for run in plan.runs:
        if run.name not in leave_out:
            skill = (skills or {}).get(run.model, 0.7)
            write_json(run.record, made_up_record(plan, run, found, skill, epochs=epochs, **(record or {})))
    if pictures:
        from PIL import Image

        (plan.folder / "images").mkdir()
        for image in found["images"]:
            shade = (40 * image["id"] % 200, 90, 140)
            Image.new("RGB", (image["width"], image["height"]), shade).save(plan.folder / "images" / image["file_name"])
    return plan
