"""How far an exported model may be from the PyTorch model: for each format and precision, from stock models.

Measured with yolo11n, yolov8n and yolo26n, COCO weights, on 128 images of COCO val2017 at 320 pixels: the worst of the
three. Ultralytics 8.4.190, torch 2.14.1, ONNX Runtime 1.32, OpenVINO 2026.4, ncnn 1.0.20261020, an AMD EPYC with
bfloat16 instructions, which OpenVINO uses.
"""

from __future__ import annotations

from dataclasses import dataclass

MEASURED: dict[tuple[str, str], tuple[float | None, float]] = {  # largest difference, fall of mAP50-95
    ("torchscript", "float32"): (2.7e-5, 0.0),
    ("onnx", "float32"): (2.3e-5, 0.0),
    ("onnx", "float16"): (2.9e-2, 0.0007),
    ("onnx", "int8"): (None, 0.041),  # differences are as large as the largest score
    ("openvino", "float32"): (4.9e-5, 0.0034),
    ("openvino", "float16"): (2.2e-2, 0.0031),
    ("openvino", "int8"): (None, 0.0107),
    ("ncnn", "float32"): (9.4e-5, 0.0),
    ("ncnn", "float16"): (9.3e-2, 0.0002),
}
NMS = 0.004  # further fall with nms=True: the suppression in the file keeps one class for each box
DIFFERENCE_FACTOR = 5
LOSS_FACTOR, LOSS_MARGIN = 2, 0.002


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What is allowed.

    Attributes:
        difference: The largest difference, relative to the largest value of its kind. None: not judged.
        loss: The largest fall of an accuracy metric between 0 and 1.
    """

    difference: float | None
    loss: float


def tolerance_of(target: str, precision: str, nms: bool = False) -> Tolerance:
    """Return the tolerance of a format; one that was not measured gets the widest of its precision.

    Args:
        target: Name of the format.
        precision: ``float32``, ``float16`` or ``int8``.
        nms: Whether the file has a non-maximum suppression in it.
    """
    rows = [MEASURED.get((target, precision))]
    if rows == [None]:
        rows = [row for (_, name), row in MEASURED.items() if name == precision]
    differences = [row[0] for row in rows if row is not None and row[0] is not None]
    loss = max(row[1] for row in rows if row is not None) + NMS * nms
    allowed = DIFFERENCE_FACTOR * max(differences) if differences else None
    return Tolerance(allowed, LOSS_FACTOR * loss + LOSS_MARGIN)
