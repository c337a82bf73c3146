"""Helpers for the tests of experiments."""

from __future__ import annotations

import io

from rich.console import Console

from yolo_attn.experiment.plan import Plan


def make(folder, **changes):
    given = {"base": "yolo11n.yaml", "models": ["yolov8n.yaml"], "data": "d.yaml", "arguments": {"epochs": 3}}
    given |= changes
    return Plan.make(folder=folder, **given)


def quiet():
    return Console(file=io.StringIO(), width=100)
