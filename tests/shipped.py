"""The model YAMLs that Ultralytics ships."""

from __future__ import annotations

import re
from pathlib import Path

import torch
import ultralytics
from ultralytics import RTDETR, YOLO

FILES = sorted((Path(ultralytics.__file__).parent / "cfg" / "models").rglob("*.yaml"))


def one_scale(text: str) -> str:
    """Return a model YAML's text with its first scale only."""
    lines = text.splitlines(keepends=True)
    scales = [line for line in lines if re.match(r" +[a-z]: *\[", line)]
    return "".join(line for line in lines if line not in scales[1:])


def small(file: Path, folder: Path) -> Path:
    """Return a copy with one scale, whose backbone does not start with downloaded weights."""
    text = one_scale(file.read_text(encoding="utf-8"))
    copy = folder / file.name
    copy.write_text(text.replace('"DEFAULT"', "null").replace("DEFAULT", "null"), encoding="utf-8")
    return copy


def build(file: Path) -> torch.nn.Module:
    """Return the model of a YAML, by the class that Ultralytics has for it."""
    kind = RTDETR if "RTDETRDecoder" in file.read_text(encoding="utf-8") else YOLO
    return kind(str(file)).model.eval()


def tensors(out: object) -> list[torch.Tensor]:
    """Return the tensors of a nested output, in order."""
    if isinstance(out, torch.Tensor):
        return [out]
    parts = out.values() if isinstance(out, dict) else out if isinstance(out, list | tuple) else []
    return [t for part in parts for t in tensors(part)]
