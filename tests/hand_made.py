"""Model YAMLs made by hand: one of Ultralytics' with a row inserted."""

import copy
from pathlib import Path

import yaml
from ultralytics.utils import ROOT

SHIPPED = Path(ROOT) / "cfg" / "models"


def shipped(name="11/yolo11.yaml"):
    return yaml.safe_load((SHIPPED / name).read_text())


def inserted(model, after, row, reads=None):
    """Insert ``row`` after layer ``after``; consumers read it only by -1. ``reads``: {layer: from}."""
    model = copy.deepcopy(model)
    rows, split = model["backbone"] + model["head"], len(model["backbone"])
    for old in rows[after + 1 :]:
        refs = old[0] if isinstance(old[0], list) else [old[0]]
        refs = [r + 1 if r > after else r for r in refs]
        old[0] = refs if isinstance(old[0], list) else refs[0]
    rows.insert(after + 1, copy.deepcopy(row))
    for layer, sources in (reads or {}).items():
        rows[layer][0] = sources
    split += after < split
    return {**model, "backbone": rows[:split], "head": rows[split:]}


def write(folder, name, model):
    file = folder / name
    file.write_text(yaml.safe_dump(model))
    return str(file)
