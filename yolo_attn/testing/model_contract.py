"""What a layer must do in a model: build, train, fuse, save and load without running code of the file."""

from __future__ import annotations

import copy
import inspect
from pathlib import Path
from typing import Any

import torch
from ultralytics import YOLO  # type: ignore[attr-defined]

from ..integration import install
from ..integration.queries import layer_types, yolo_command
from ..model_yaml.placing import place
from ..registry import BlockSpec
from .block_inputs import options_of, reads_several_sizes, require

BASE = "yolo11n.yaml"
IMAGE_SIZE = 96


def has_place(spec: BlockSpec) -> bool:
    """Return whether ``yolo-attn place`` can insert the block alone. One that reads a pyramid needs another block."""
    return spec.inputs != "pyramid"


def model_with(spec: BlockSpec, folder: Path) -> Any:
    """Return YOLO11n with the block at P3 of its neck; one with a list of inputs reads the maps of the backbone."""
    install()
    where: dict[str, Any] = {"at": "neck.P3"}
    if spec.inputs == "list":
        where["sources"] = "backbone.P3,neck.P3"
        if spec.pyramid or reads_several_sizes(spec):
            where = {"at": "before_neck", "sources": "backbone.P3,backbone.P4,backbone.P5"}
    file = folder / f"yolo11n-{spec.name.lower()}.yaml"
    try:
        place(BASE, spec.name, **where, options=options_of(spec), output=file, force=True)
        torch.manual_seed(0)
        yolo: Any = YOLO(str(file), task="detect")
    except Exception as error:
        text = " ".join(str(error).split())
        require(
            False,
            f"{spec.name}: it cannot be inserted into {BASE} at {where['at']} ({type(error).__name__}: {text}). The "
            "layer must take the channels first and every other argument as an option with a default; give options "
            "without one by --block-options, and declare inputs= and output= in yolo_attn.register",
        )
        raise
    built = [m for m in yolo.model.model if type(m) is spec.cls]
    require(built, f"{spec.name}: {BASE} with it has no layer of the class {spec.import_path}")
    return yolo


def trains_in_a_model(spec: BlockSpec, folder: Path) -> None:
    """Check one training step of a detection model with the block: loss, gradients, optimizer."""
    model = model_with(spec, folder).model.train()
    model.args = yolo_command.default_arguments()
    images = torch.rand(2, 3, IMAGE_SIZE, IMAGE_SIZE)
    boxes = torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.4, 0.6, 0.5, 0.3]])
    batch = {"img": images, "cls": torch.zeros(2, 1), "bboxes": boxes, "batch_idx": torch.tensor([0.0, 1.0])}
    for p in model.parameters():
        p.requires_grad_(p.dtype.is_floating_point)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    loss = model.loss(batch)[0].sum()
    require(loss.isfinite(), f"{spec.name}: the first loss of {BASE} with it is {float(loss)}; look for inf and nan")
    loss.backward()
    wrong = [n for n, p in model.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    require(
        not wrong, f"{spec.name}: a training step of {BASE} gives {len(wrong)} gradients of inf or nan: {wrong[:3]}"
    )
    optimizer.step()
    loss = model.loss(batch)[0].sum()
    require(loss.isfinite(), f"{spec.name}: after one training step the loss of {BASE} with it is {float(loss)}")


def fuses_saves_and_loads(spec: BlockSpec, folder: Path) -> None:
    """Check that fusing and a checkpoint keep the model's outputs, also when loading may run no code of the file."""
    model = model_with(spec, folder).model.eval()
    x = torch.rand(1, 3, IMAGE_SIZE, IMAGE_SIZE)
    want = _predicted(model, x)
    fused = _predicted(copy.deepcopy(model).fuse(verbose=False), x)
    require(
        torch.allclose(fused, want, rtol=1e-3, atol=1e-2),
        f"{spec.name}: fusing the model changes its output by {float((fused - want).abs().max()):.2g}. Ultralytics "
        "joins conv and bn of its own Conv layers; do not use the weights of such a layer outside its forward",
    )
    file = folder / "best.pt"
    try:
        torch.save({"model": model, "train_args": {}}, file)
        loaded = _built(YOLO(str(file))).eval()
    except Exception as error:
        require(
            False,
            f"{spec.name}: a checkpoint of a model with it cannot be written and read ({type(error).__name__}: "
            f"{error}). Keep no lambda, local function or open file on the block, and define its classes at the top "
            "level of a module that can be imported",
        )
        raise
    require(torch.equal(_predicted(loaded, x), want), f"{spec.name}: a loaded checkpoint gives another output")
    tasks = layer_types.tasks()
    if "safe_only" not in inspect.signature(tasks.torch_safe_load).parameters:
        return  # this Ultralytics cannot
    try:
        restricted = tasks.torch_safe_load(str(file), safe_only=True)[0]["model"].eval()
    except Exception as error:
        require(
            False,
            f"{spec.name}: restricted loading (ULTRALYTICS_SAFE_LOAD=1) refuses the checkpoint ({error}). It rebuilds "
            "registered blocks and the module classes of their own package; keep no object of another class on the "
            "block, but numbers, texts and tensors",
        )
        raise
    require(torch.equal(_predicted(restricted, x), want), f"{spec.name}: restricted loading gives another output")


def _built(yolo: Any) -> Any:
    return yolo.model


def _predicted(model: Any, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        y = model(x)
    found: torch.Tensor = y[0] if isinstance(y, (tuple, list)) else y
    return found
