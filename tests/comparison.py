"""What the tests of comparisons share."""

from __future__ import annotations

import io

from rich.console import Console

from yolo_attn.experiment.plan import Plan


def make(folder, **changes):
    words = {"base": "yolo11n.yaml", "models": ["yolov8n.yaml"], "data": "d.yaml", "arguments": {"epochs": 3}}
    words |= changes
    return Plan.make(folder=folder, **words)


def quiet():
    return Console(file=io.StringIO(), width=100)
