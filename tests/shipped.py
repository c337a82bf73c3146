"""The model YAMLs that Ultralytics ships."""

from __future__ import annotations

from pathlib import Path

import torch
import ultralytics
from ultralytics import RTDETR, YOLO

FILES = sorted((Path(ultralytics.__file__).parent / "cfg" / "models").rglob("*.yaml"))


def offline(file: Path, folder: Path) -> Path:
    """Return the file, or a copy of it whose backbone starts without the weights that it would fetch."""
    text = file.read_text(encoding="utf-8")
    if '"DEFAULT"' not in text and "DEFAULT" not in text:
        return file
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
