"""Export trained models to every format, verify each export, and write the figures of ``docs/export.md``.

    python benchmarks/export.py WEIGHTS/*.pt --data bccd.yaml --imgsz 320 -o benchmarks/export.json

``benchmarks/export_coco.json`` comes from the same command with ``--data coco_val128.yaml`` and ``--exports``; each
file holds its whole command. A checkpoint must have a name that starts with that of its model YAML, such as
``yolo11n-ema-bccd.pt``. ``qat`` trains one epoch with Ultralytics' quantization-aware training first, and needs
``nvidia-modelopt`` and ``huggingface_hub``; INT8 for OpenVINO needs ``nncf``. If interrupted, rerun the command to
resume.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import shlex
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from ultralytics import YOLO
from ultralytics.utils import LOGGER
from ultralytics.utils.torch_utils import get_cpu_info

from yolo_attn.atomic_files import write_text
from yolo_attn.errors import ArgumentError, DifferentExportError

EXPORTS: dict[str, dict[str, Any]] = {
    "torchscript": {"format": "torchscript", "dynamic": True},
    "onnx": {"format": "onnx", "dynamic": True},
    "onnx, opset 17": {"format": "onnx", "opset": 17},
    "onnx, nms": {"format": "onnx", "nms": True},
    "onnx, float16": {"format": "onnx", "half": True},
    "onnx, int8": {"format": "onnx", "int8": True},
    "openvino": {"format": "openvino", "dynamic": True},
    "openvino, int8": {"format": "openvino", "int8": True},
    "ncnn": {"format": "ncnn"},
    "qat": {"format": "onnx", "int8": True},
}
PACKAGES = ("ultralytics", "torch", "onnx", "onnxruntime", "onnxslim", "openvino", "nncf", "ncnn", "nvidia-modelopt")
QAT = {"epochs": 1, "warmup_epochs": 0, "optimizer": "SGD", "lr0": 1e-4, "batch": 16, "workers": 0, "quantize": 8}


def measured(weights: Path, name: str, data: str, imgsz: int, folder: Path) -> dict[str, Any]:
    """Return the figures of one export: the largest difference and the change of mAP50-95, or why there is none."""
    file = Path(shutil.copy(weights, folder))  # exports are written beside the checkpoint
    if name == "qat":
        quiet = {"plots": False, "verbose": False, "val": False}
        where = {"project": str(folder.resolve()), "name": weights.stem, "exist_ok": True, "device": "cpu"}
        YOLO(file).train(data=data, imgsz=imgsz, **QAT, **quiet, **where)
        file = folder / weights.stem / "weights" / "last.pt"
    model = YOLO(file)
    failed = ""
    try:
        model.export(imgsz=imgsz, data=data, device="cpu", verify=True, **EXPORTS[name])
    except DifferentExportError as error:
        failed = str(error)
    except ArgumentError as error:
        return {"refused": str(error)}
    found = model.verification
    ((before, after),) = found.accuracy.values()
    if name == "qat":  # the checkpoint before this epoch
        before = YOLO(weights).val(data=data, imgsz=imgsz, rect=False, batch=1, plots=False, verbose=False).box.map
    return {
        "difference": max(at.largest for at in found.compared),
        "mAP": [round(before, 4), round(after, 4)],
        "ratio of latencies": round(found.latency[2], 3),
        "failed": failed,
    }


def main() -> None:
    """Measure all exports of all checkpoints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="+", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--exports", nargs="+", choices=EXPORTS, default=list(EXPORTS), metavar="NAME")
    parser.add_argument("--folder", type=Path, default=Path("runs/export"))
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    LOGGER.setLevel(logging.ERROR)
    given.folder.mkdir(parents=True, exist_ok=True)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    command = f"python benchmarks/export.py WEIGHTS/*.pt --data {Path(given.data).name} --imgsz {given.imgsz}"
    if given.exports != list(EXPORTS):
        command += f" --exports {shlex.join(given.exports)}"
    installed = {package.name.lower().replace("_", "-") for package in metadata.distributions()}
    head = {
        "command": command,
        "commit": commit,
        "machine": f"{get_cpu_info()}, {torch.get_num_threads()} threads",
        "versions": {
            "python": platform.python_version(),
            **{n: metadata.version(n) for n in PACKAGES if n in installed},
        },
    }
    content = json.loads(given.output.read_text(encoding="utf-8")) if given.output.exists() else {**head, "models": {}}
    for weights in given.weights:
        row = content["models"].setdefault(weights.stem, {})
        for name in given.exports:
            if name not in row:
                row[name] = measured(weights, name, given.data, given.imgsz, given.folder)
                Console().print(weights.stem, name, row[name])
                write_text(given.output, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
