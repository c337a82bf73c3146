"""``verify=True`` of an export: run the exported file and the PyTorch model on the same images, and compare them.

Both run through ``AutoBackend``, as in ``yolo predict`` and ``yolo val``: the PyTorch model as the user has it, fused.
"""

from __future__ import annotations

import copy
import math
import statistics
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from ultralytics.data.augment import LetterBox
from ultralytics.data.utils import check_cls_dataset, check_det_dataset
from ultralytics.engine import exporter as upstream
from ultralytics.nn.autobackend import AutoBackend
from ultralytics.utils import ASSETS, LOGGER
from ultralytics.utils.files import file_size
from ultralytics.utils.patches import imread

from ...errors import ArgumentError, DifferentExportError, described
from . import forward_timing, openvino_models
from .data_fingerprint import images_of
from .export_limits import format_of
from .export_tolerances import Tolerance, tolerance_of
from .output_differences import OutputLayout, differences

IMAGES = 8  # compared at the size of the export; at each other size, two
ROUNDS = (10, 50)  # of the timing: at least, at most
SECONDS = 4.0  # of the timing, for each model
FIXED_BATCH = ("engine", "coreml")  # the batch size of the export is the largest one

finished: ContextVar[Exported | None] = ContextVar("finished", default=None)


@dataclass(frozen=True, slots=True)
class Exported:
    """An export that ended well.

    Attributes:
        exporter: Ultralytics' exporter, with the arguments and the model as it changed them.
        file: The file or folder that it wrote.
        data: The data set that the user gave; empty if none.
    """

    exporter: Any
    file: str
    data: str = ""

    @property
    def format(self) -> str:
        """Return the name of the format."""
        return format_of(str(self.exporter.args.format))

    @property
    def precision(self) -> str:
        """Return ``float32``, ``float16`` or ``int8``."""
        args = self.exporter.args
        quantize = str(getattr(args, "quantize", None) or "")
        if getattr(args, "int8", None) or "8" in quantize:
            return "int8"
        return "float16" if getattr(args, "half", None) or "16" in quantize else "float32"

    @property
    def nms(self) -> bool:
        """Return whether the file has a non-maximum suppression in it."""
        known = hasattr(upstream, "NMSModel")  # 8.3.0 ignores the argument, but for CoreML
        return known and bool(getattr(self.exporter.args, "nms", None)) and not self.end2end

    @property
    def end2end(self) -> bool:
        """Return whether the file puts out detections that need no suppression."""
        return bool(getattr(self.exporter.model, "end2end", False))


@dataclass(frozen=True, slots=True)
class Compared:
    """The differences at one size of the images.

    Attributes:
        size: ``480x640`` or ``2x480x640`` (batch size, height, width).
        kinds: The largest difference of each kind of number.
        error: What the runtime said if it could not run the model; empty if it could.
    """

    size: str
    kinds: dict[str, float]
    error: str = ""

    @property
    def largest(self) -> float:
        """Return the largest difference of any kind."""
        return math.inf if self.error else max(self.kinds.values())


@dataclass(frozen=True, slots=True)
class Verification:
    """What an exported file and the PyTorch model have in common, and what not.

    Attributes:
        name: Name of the file.
        images: Which images were compared.
        tolerance: What is allowed.
        compared: The differences at each size.
        accuracy: Metric -> its value with the PyTorch model and with the exported one, 0 to 1. Empty without data.
        latency: Milliseconds of one forward pass of both, and the ratio: medians. Zeros if it does not run.
        timed: How the latency was measured.
        sizes: MB of the PyTorch model and of the exported one.
        notes: What else to say; sentences.
    """

    name: str
    images: str
    tolerance: Tolerance
    compared: list[Compared]
    accuracy: dict[str, tuple[float, float]]
    latency: tuple[float, float, float]
    timed: str
    sizes: tuple[float, float]
    notes: tuple[str, ...] = ()

    def failures(self) -> list[str]:
        """Return one sentence for each tolerance that is exceeded."""
        found = []
        for at in self.compared:
            allowed = self.tolerance.difference
            if at.error:
                found.append(f"it does not run at {at.size}: {at.error}")
            elif allowed is not None and not at.largest <= allowed:
                kind = max(at.kinds, key=lambda name: at.kinds[name])
                found.append(f"{kind} at {at.size} differ by {at.largest:.1e}, allowed are {allowed:.0e}")
        for metric, (before, after) in self.accuracy.items():
            if not before - after <= self.tolerance.loss:
                found.append(f"{metric} falls from {before:.4f} to {after:.4f}, allowed is {self.tolerance.loss:g}")
        return found

    def check(self) -> None:
        """Raise a DifferentExportError if a tolerance is exceeded."""
        if failures := self.failures():
            raise DifferentExportError(f"verify: {self.name} differs from the PyTorch model: {'; '.join(failures)}")
        judged = self.accuracy or self.tolerance.difference is not None
        LOGGER.info("verify: passed" if judged else "verify: nothing was judged")

    def lines(self) -> list[str]:
        """Return the report."""
        allowed = self.tolerance.difference
        limit = f"allowed: {allowed:.0e}" if allowed is not None else "not judged: accuracy is"
        found = [f"verify: {self.name} and the PyTorch model on {self.images}"]
        for at in self.compared:
            kinds = ", ".join(f"{name} {value:.1e}" for name, value in at.kinds.items())
            found.append(f"  difference at {at.size}: {at.error or kinds} ({limit})")
        for metric, (before, after) in self.accuracy.items():
            loss = f"allowed: {-self.tolerance.loss:.4f}"
            found.append(f"  {metric}: {before:.4f} -> {after:.4f} ({after - before:+.4f}; {loss})")
        mine, its, ratio = self.latency
        if its:
            found.append(f"  latency: {mine:.1f} ms -> {its:.1f} ms ({ratio:.2f} times; {self.timed})")
        found.append(f"  size: {self.sizes[0]:.1f} MB -> {self.sizes[1]:.1f} MB")
        return [*found, *(f"  note: {note}" for note in self.notes)]


def check_images(model: Any, arguments: Mapping[str, Any]) -> None:
    """Raise an error if the data of an export with these arguments cannot be used: before the export."""
    given = {**model.overrides, **arguments}
    _images(str(arguments.get("data") or ""), str(given.get("split") or "val"), model.task)


def verify(model: Any, exported: Exported) -> Verification:
    """Compare an export with the model that it came from, and print the result.

    Args:
        model: The ``YOLO`` that was exported.
        exported: What the exporter did.

    Raises:
        ArgumentError: If the runtime of the format is not installed, or the images cannot be used.
    """
    exporter = exported.exporter
    args = exporter.args
    files, images = _images(exported.data, args.split or "val", model.task)
    half = exported.precision == "float16"
    reference = _reference(model, exported)
    try:
        backend = AutoBackend(exported.file, device=exporter.device, fp16=half, verbose=False)
    except ImportError as error:
        raise ArgumentError(f"verify=True: {exported.file} was exported, but cannot run here: {error}") from None
    backend.eval()
    runs, rounding = backend, ""
    if exported.format == "openvino" and (rounding := openvino_models.precision_of(backend)):
        runs = openvino_models.in_float32(exported.file)
    layout = _layout(exported)
    channels = exporter.im.shape[1]
    compared: list[Compared] = []
    for batch, size in _sizes(exported):
        chosen = files[: 2 if compared else IMAGES]
        batches = [_filled(chosen[k : k + batch], batch) for k in range(0, len(chosen), batch)]
        images_at = (_tensor(some, size, channels).to(exporter.device) for some in batches)
        compared.append(_compared(reference, runs, images_at, layout))
    latency = (0.0, 0.0, 0.0)
    if not compared[0].error:
        x = _tensor(_filled(files, args.batch), exporter.imgsz, channels).to(exporter.device)
        latency = _latency(reference, backend, x)
    count = torch.get_num_threads()
    threads = f", PyTorch with {count} thread{'s' * (count > 1)}" if exporter.device.type == "cpu" else ""
    found = Verification(
        name=Path(exported.file).name,
        images=images,
        tolerance=tolerance_of(exported.format, exported.precision, exported.nms),
        compared=compared,
        accuracy=_accuracies(model, exported) if exported.data and not compared[0].error else {},
        latency=latency,
        timed=f"batch {args.batch}, {exporter.device}{threads}",
        sizes=(_size_of(model), file_size(exported.file)),
        notes=tuple(_notes(exported, rounding)),
    )
    LOGGER.info("\n" + "\n".join(found.lines()))
    return found


def _notes(exported: Exported, rounding: str) -> Iterator[str]:
    split = exported.exporter.args.split or "val"
    if rounding:
        yield f"OpenVINO computes in {rounding} on this CPU; the differences are those in float32"
    if exported.precision == "int8" and exported.data:
        yield f"INT8 was calibrated with images of the split that accuracy is measured on, {split}"
    if not exported.data:
        judged = "; an INT8 export is judged by nothing else" if exported.precision == "int8" else ""
        yield f"accuracy was not compared: that needs a data set, data=...{judged}"


def _images(data: str, split: str, task: str) -> tuple[list[str], str]:
    """Return image files, evenly spaced among those of the split, and what they are."""
    if not data:
        files = sorted(str(file) for file in ASSETS.glob("*.jpg"))
        return files, f"{len(files)} images of Ultralytics"
    described = (check_cls_dataset if task == "classify" else check_det_dataset)(data)
    every = sorted(images_of(described[split])) if described.get(split) else []
    if not every:
        raise ArgumentError(f"verify=True: data={data} has no images for split={split}")
    count = min(IMAGES, len(every))
    chosen = [every[k * len(every) // count] for k in range(count)]
    return chosen, f"{count} of {len(every)} images of {Path(data).name}, split {split}"


def _filled(files: Sequence[str], count: int) -> list[str]:
    """Return the first ``count`` files, from the first one again if there are fewer."""
    return [files[k % len(files)] for k in range(count)]


def _tensor(files: Sequence[str], size: Sequence[int], channels: int) -> torch.Tensor:
    """Return the images as a float tensor ``(n, channels, height, width)``, 0 to 1, letterboxed."""
    found = []
    for file in files:
        flag = cv2.IMREAD_COLOR if channels == 3 else cv2.IMREAD_UNCHANGED if channels > 3 else cv2.IMREAD_GRAYSCALE
        image: Any = imread(file, flag)
        if image is None:
            raise ArgumentError(f"verify=True: the image {file} cannot be read")
        image = LetterBox((size[0], size[1]), auto=False)(image=image)
        image = image[..., None] if image.ndim == 2 else image
        if image.shape[2] != channels:
            raise ArgumentError(
                f"verify=True: the model reads images of {channels} channels, and {file} has {image.shape[2]}; give "
                "images that it was trained on, data=..."
            )
        image = image[..., ::-1] if channels == 3 else image  # RGB
        found.append(torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))))
    return torch.stack(found).float() / 255


def _sizes(exported: Exported) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield batch size, and height and width: those of the export, and two others if it takes any."""
    exporter = exported.exporter
    height, width = exporter.imgsz
    batch = exporter.args.batch
    yield batch, (height, width)
    if not exporter.args.dynamic:
        return
    stride = int(max(exporter.model.stride))
    other = batch if exported.format in FIXED_BATCH or exported.nms else 2
    for at, down, across in ((batch, 0.5, 0.5), (other, 0.75, 1.25)):  # in multiples of the stride
        yield at, (max(int(height * down / stride), 1) * stride, math.ceil(width * across / stride) * stride)


def _reference(model: Any, exported: Exported) -> Any:
    """Return the PyTorch model that the file must equal, ready to run."""
    device = exported.exporter.device
    net = _with_the_same_head(model, exported).eval().to(device)
    backend = AutoBackend(net, device=device, verbose=False)
    backend.eval()
    if not exported.nms:
        return backend
    for layer in net.modules():
        if hasattr(layer, "xyxy"):
            layer.xyxy = True  # as NMSModel expects
    return upstream.NMSModel(net.fuse(), exported.exporter.args)


def _with_the_same_head(model: Any, exported: Exported) -> Any:
    """Return a float32 copy of the PyTorch model that puts out what the file does: detections, or all candidates."""
    net = copy.deepcopy(model.model).float()
    if getattr(net, "end2end", False) != exported.end2end:  # 8.4.0 cannot set it, and exports what it is
        net.end2end = exported.end2end
    return net


def _layout(exported: Exported) -> OutputLayout:
    model = exported.exporter.model
    rtdetr = type(model.model[-1]).__name__ == "RTDETRDecoder"
    lists = exported.nms or exported.end2end or (rtdetr and hasattr(model.model[-1], "postprocess"))
    return OutputLayout(
        task=model.task,
        classes=len(model.names),
        detections=lists,
        queries=rtdetr and not lists,  # early versions
        threshold=(exported.exporter.args.conf or 0.0) if exported.nms else 0.0,
        pixels=1.0 if rtdetr else float(max(exported.exporter.imgsz)),
    )


def _compared(reference: Any, backend: Any, batches: Iterable[torch.Tensor], layout: OutputLayout) -> Compared:
    size, kinds = "", dict[str, float]()
    for x in batches:
        size = f"{x.shape[2]}x{x.shape[3]}" + (f" in batches of {x.shape[0]}" if x.shape[0] > 1 else "")
        with torch.no_grad():
            want = reference(x)
            try:
                got = backend(x)
            except Exception as error:  # any: that is what is tested
                return Compared(size, {}, described(error)[:200])
        for kind, value in differences(want, got, layout).items():
            kinds[kind] = max(kinds.get(kind, 0.0), value)
    return Compared(size, kinds)


def _latency(reference: Any, backend: Any, x: torch.Tensor) -> tuple[float, float, float]:
    found = forward_timing.times_of({"pt": reference, "exported": backend}, x, rounds=ROUNDS, seconds=SECONDS)
    ratio = statistics.median(b / a for a, b in zip(found["pt"], found["exported"], strict=True))
    return statistics.median(found["pt"]), statistics.median(found["exported"]), ratio


def _accuracies(model: Any, exported: Exported) -> dict[str, tuple[float, float]]:
    """Validate both models in the same way, and return metric -> both values."""
    net = _with_the_same_head(model, exported)
    before, after = (_metrics(model, exported, which) for which in (net, exported.file))
    names = [n for n in before if "mAP50-95" in n or "accuracy_top1" in n] or ["fitness"]
    return {name.removeprefix("metrics/"): (before[name], after[name]) for name in names}


def _metrics(model: Any, exported: Exported, which: Any) -> dict[str, float]:
    exporter = exported.exporter
    args = exporter.args
    options = {"data": exported.data, "split": args.split, "batch": args.batch, "imgsz": max(exporter.imgsz)}
    options |= {"device": args.device, "workers": args.workers, "single_cls": args.single_cls, "classes": args.classes}
    options |= {"rect": False, "plots": False, "verbose": False, "task": model.task, "mode": "val"}
    if exported.nms:
        options |= {"conf": args.conf, "iou": args.iou, "max_det": args.max_det, "agnostic_nms": args.agnostic_nms}
    if exported.precision == "float16" and isinstance(which, str):
        options["half"] = True
    if exported.end2end and hasattr(args, "quantize"):
        options["nms"] = False
    with tempfile.TemporaryDirectory() as folder:
        validator = model._smart_load("validator")(args=options, save_dir=Path(folder))
        if exporter.imgsz[0] != exporter.imgsz[1]:
            validator.args.imgsz = list(exporter.imgsz)
        validator(model=which)
    return {name: float(value) for name, value in validator.metrics.results_dict.items()}


def _size_of(model: Any) -> float:
    """Return the MB of the checkpoint; of the weights if the model came from a YAML."""
    checkpoint = getattr(model, "ckpt_path", None)
    if checkpoint and Path(checkpoint).is_file():
        return float(file_size(checkpoint))
    return sum(t.numel() * t.element_size() for t in model.model.state_dict().values()) / 2**20
