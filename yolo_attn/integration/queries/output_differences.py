"""How far two outputs of a model are apart: each kind of number (boxes, scores, ...) on a scale of its own.

A difference is relative to the largest value of its kind: scores up to 1 would vanish beside boxes of 640 pixels.
Outputs that are lists of detections, in the order of their scores, are compared as sets: near ties change places.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

CONFIDENT = 0.05  # below this score detections are not compared: which of them a list still holds is chance
NEAR = 0.01  # nor are those so near to the threshold of an embedded non-maximum suppression
DENSE_TASKS = {"detect": "", "segment": "mask coefficients", "pose": "keypoints", "obb": "angles"}  # and what is last


@dataclass(frozen=True, slots=True)
class OutputLayout:
    """What the numbers of an output are.

    Attributes:
        task: Task of the model.
        classes: Number of classes.
        detections: Whether it is a list of detections ``(B, N, 6 + ...)``: box, score, class, extras.
        queries: Whether it is a list ``(B, N, 4 + classes)``: box, scores. RT-DETR's, in early versions.
        threshold: Detections with a lower score are not in the list.
        pixels: What box coordinates are relative to: the longer side of the image, or 1.
    """

    task: str
    classes: int
    detections: bool = False
    queries: bool = False
    threshold: float = 0.0
    pixels: float = 1.0


def tensors_in(output: Any) -> Iterator[Tensor]:
    """Yield the tensors in nested lists, tuples and dicts, in order."""
    if isinstance(output, Tensor):
        yield output
    for part in output.values() if isinstance(output, dict) else output if isinstance(output, (list, tuple)) else ():
        yield from tensors_in(part)


def differences(want: Any, got: Any, layout: OutputLayout) -> dict[str, float]:
    """Return the largest difference of each kind of number; infinite if shapes differ or a number is not finite.

    Args:
        want: Output of the PyTorch model. It may hold more tensors than ``got``.
        got: Output of the exported model.
        layout: What the numbers are.
    """
    expected = list(tensors_in(want))
    found: dict[str, float] = {}
    for index, tensor in enumerate(tensors_in(got)):
        tensor = tensor.float().cpu()
        likely = expected[:1] if index == 0 else [t for t in expected[1:] if t.shape == tensor.shape][:1]
        if not likely or likely[0].shape != tensor.shape:
            return {"shapes": math.inf}
        reference = likely[0].float().cpu()
        if index:
            found["mask prototypes"] = relative(reference, tensor)
        elif layout.detections or layout.queries:
            found["detections"] = max(
                (of_sets(a, b, layout) for a, b in zip(reference, tensor, strict=True)), default=0.0
            )
        else:
            for kind, part in _parts(reference, layout):
                least = CONFIDENT if kind == "scores" else 0.0
                found[kind] = relative(reference[part], tensor[part], least)
    return found or {"outputs": math.inf}


def relative(want: Tensor, got: Tensor, least: float = 0.0) -> float:
    """Return the largest difference over the largest value of ``want``, or over ``least`` if that is larger."""
    difference = float((got - want).abs().max()) if want.numel() else 0.0
    scale = max(float(want.abs().max()), least) if want.numel() else 0.0
    if not math.isfinite(difference):
        return math.inf
    return difference / scale if scale else difference


def of_sets(want: Tensor, got: Tensor, layout: OutputLayout) -> float:
    """Return the largest distance of a confident detection in one list ``(N, C)`` to the nearest one in the other.

    A distance is the largest difference among box, score, class (any other class: 1) and extras.
    """
    if not bool(want.isfinite().all() and got.isfinite().all()):
        return math.inf
    scale = torch.ones(want.shape[1])
    scale[:4] = layout.pixels
    first = 4 + layout.classes if layout.queries else 6
    if want.shape[1] > first:
        scale[first:] = want[:, first:].abs().max().clamp(min=1e-12)
    want, got = want / scale, got / scale
    distance = torch.cdist(want, got, p=math.inf)  # N N
    found = 0.0
    for rows, nearest in ((want, distance.amin(1)), (got, distance.amin(0))):
        score = rows[:, 4:].amax(1) if layout.queries else rows[:, 4]
        confident = (score > max(CONFIDENT, layout.threshold)) & ((score - layout.threshold).abs() > NEAR)
        if confident.any():
            found = max(found, float(nearest[confident].max()))
    return found


def _parts(output: Tensor, layout: OutputLayout) -> Iterator[tuple[str, Any]]:
    """Yield the kinds of numbers in a dense output ``(B, 4 + classes + extras, N)``, and where they are."""
    if layout.task not in DENSE_TASKS:
        yield ("scores" if layout.task == "classify" else "output"), ...
        return
    scores = 4 + layout.classes
    yield "boxes", (slice(None), slice(4))
    yield "scores", (slice(None), slice(4, scores))
    if output.shape[1] > scores:
        yield DENSE_TASKS[layout.task] or "extras", (slice(None), slice(scores, None))
