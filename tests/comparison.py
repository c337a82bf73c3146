"""What the tests of comparisons share."""

from __future__ import annotations

import io

from rich.console import Console

from yolo_attn.compare import Plan, report

ORDER = ["AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large",
         "AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large"]  # fmt: skip


def make(folder, **changes):
    words = {"base": "yolo11n.yaml", "models": ["yolov8n.yaml"], "data": "d.yaml", "train": {"epochs": 3}}
    words |= changes
    return Plan.make(folder=folder, **words)


def made_up_record(model="m.yaml", *, map50=0.5, map_=0.25, epochs=2, **changes):
    figures = dict.fromkeys(ORDER, 0.3) | {"AP_small": 0.125, "AP_medium": 0.4, "AP_large": None}
    return {
        "model": model,
        "seed": 0,
        "arguments": {"epochs": 2, "imgsz": 64, "pretrained": True},
        "versions": {"ultralytics": "8.4.190", "faster-coco-eval": "1.8.0"},
        "hardware": {"cpu": "A CPU", "threads": 2},
        "git": None,
        "data": {"path": "d.yaml", "split": "test", "split_reason": "no epoch was chosen on it", "images": 8,
                 "boxes": 21, "names": ["x"]},
        "ended": "2026-01-01T00:00:00+00:00",
        "sessions": 1,
        "train_seconds": 12.5,
        "peak_memory": {"resident_bytes": 1, "gpu_bytes": None},
        "epochs": [{"epoch": i + 1} for i in range(epochs)],
        "figures": {"ultralytics": {"mAP50": map50, "mAP50-95": map_, "precision": 0, "recall": 0}, "coco": figures},
        **changes,
    }  # fmt: skip


def quiet():
    return Console(file=io.StringIO(), width=100)


def drawn(results, width=100):
    console = Console(file=io.StringIO(), width=width)
    report.show(results, console)
    return console.file.getvalue()
