"""Build a model YAML as a graph: each layer's inputs, channels and stride.

``parse_model`` builds the layers on PyTorch's meta device, where tensors have shapes but no data. So even a large model
takes a fraction of a second and no memory.
"""

from __future__ import annotations

import copy
import functools
import inspect
import json
import logging
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ... import __version__
from ...errors import LayerError
from ...log_level import at_log_level
from ...messages import joined
from .. import install
from . import layer_types, row_checks, row_sources, yaml_files, yolo_command
from .row_sources import IMAGE

SIZE = 256  # side of the image; a multiple of every model's largest stride
IMAGE_CHANNELS = ("ch", "channels")  # keys of a model YAML
_FAULTY_INPUT = (RuntimeError, ValueError, TypeError, IndexError, AttributeError, AssertionError)
_TEXT = (1, 80, 512)  # text features, a second input of open-vocabulary models


def level(stride: float | None) -> str:
    """Return ``P3`` for stride 8, and so on; empty without a stride or at the image's size."""
    return f"P{round(math.log2(stride))}" if stride and stride >= 2 else ""


@dataclass(frozen=True, slots=True)
class Layer:
    """One row of a model YAML, built.

    Attributes:
        index: The row's number.
        name: The layer type, as in the row.
        part: The row's list in the YAML, ``"backbone"`` or ``"head"``.
        reads: Numbers of the input layers, in order; -1 is the image.
        args: The row's arguments.
        channels: Output channels at this scale; None if the output is not one map.
        stride: Pixels of the image per position of the output; None if the output is not one map.
        maps: Channels and stride of each map, for a layer that outputs several.
    """

    index: int
    name: str
    part: str
    reads: tuple[int, ...]
    args: tuple[Any, ...]
    channels: int | None
    stride: int | None
    maps: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Graph:
    """The layers of a model. The last one is its head (Detect, Segment, Classify, ...).

    Attributes:
        layers: All layers in order.
        file: Name of the model YAML, for messages.
        scale: The scale; empty if the YAML has none.
    """

    layers: tuple[Layer, ...]
    file: str
    scale: str

    @property
    def head(self) -> Layer:
        """The last layer."""
        return self.layers[-1]

    def readers(self, index: int) -> tuple[Layer, ...]:
        """Return the consumers of layer ``index``."""
        return tuple(layer for layer in self.layers if index in layer.reads)


def scales(model: dict[str, Any]) -> list[str]:
    """Return the scales of a model YAML in its order; ``[""]`` if it has none."""
    return list(model.get("scales") or {}) or [""]


def scale_of(name: str) -> str:
    """Return the scale's letter in a model YAML's name; empty if there is none."""
    from ultralytics.nn import tasks

    return str(tasks.guess_model_scale(name))


def with_scale(name: str, scale: str) -> str:
    """Return the name that selects a scale of a model YAML: ``yolo11n-mine.yaml`` for ``yolo11-mine.yaml`` and ``n``.

    A name with a letter, or without a place for one, stays as it is.
    """
    path = Path(name)
    if not scale or scale_of(path.stem):
        return name
    return str(path.with_name(re.sub(r"(yolo(?:e-)?v?\d+)", rf"\g<1>{scale}", path.name, count=1)))


def load(name: str | Path) -> dict[str, Any]:
    """Return a model YAML's content.

    Args:
        name: A path, or the name of a file that Ultralytics or this project ships, with or without the scale's letter.

    Raises:
        LayerError: If the file does not exist or is not a model YAML.
    """
    install()
    yolo_command.check_model(str(name))
    from ultralytics.nn import tasks

    content: dict[str, Any] = tasks.yaml_model_load(str(name))
    return {key: value for key, value in content.items() if key not in IMAGE_CHANNELS or reads_image_channels(key)}


def reads_image_channels(key: str) -> bool:
    """Return whether the installed Ultralytics takes the image channels from this key of a model YAML."""
    return f'yaml.get("{key}", ch)' in inspect.getsource(layer_types.tasks())


def locate(name: str | Path) -> Path:
    """Return the file that Ultralytics reads for a model YAML's name (``yolo11.yaml`` for ``yolo11n.yaml``).

    Raises:
        LayerError: If it does not exist or is not a YAML.
    """
    if Path(name).suffix not in (".yaml", ".yml"):
        raise LayerError(f"{str(name)!r} is not a model YAML; give a path or a name such as yolo11.yaml")
    install()
    yolo_command.check_model(str(name))
    from ultralytics.utils.checks import check_yaml

    found = check_yaml(str(name), hard=False) or check_yaml(yaml_files.without_scale(str(name)))
    return Path(str(found))


def origin(file: Path) -> str:
    """Return the package that ships a model YAML, with its version; empty for a user's file."""
    import ultralytics

    if Path(ultralytics.__file__).parent in file.resolve().parents:
        return f"Ultralytics {ultralytics.__version__}"
    if yaml_files.folder("model_yamls").resolve() == file.resolve().parent:
        return f"yolo-attn {__version__}"
    return ""


def task(model: dict[str, Any]) -> str:
    """Return the task of a model YAML, as Ultralytics guesses it."""
    from ultralytics.nn import tasks
    from ultralytics.utils import LOGGER

    with at_log_level(LOGGER, logging.ERROR):
        return tasks.guess_model_task(model) or "detect"  # it has no guess for the head of RT-DETR


def build(model: dict[str, Any], scale: str = "", file: str = "", *, until: int | None = None) -> Graph:
    """Build a model YAML's content at one scale.

    Args:
        model: The content.
        scale: A letter of its ``scales``; by default the one it was loaded with, or its first.
        file: File name for messages; by default the one it was loaded from.
        until: Build only the layers up to this one, and an identity after it.

    Raises:
        LayerError: If a row cannot be built or cannot process its inputs.
    """
    install()
    content = at_scale(model, scale, file)
    if until is not None:
        split = len(content["backbone"])
        content["head"] = [*content["head"][: max(until + 1 - split, 0)], [-1, 1, "nn.Identity", []]]
        content["backbone"] = content["backbone"][: until + 1]
    built = _built if layer_types.names_any(content) else _of_stock_layers
    return built(json.dumps(content))


def at_scale(model: dict[str, Any], scale: str = "", file: str = "") -> dict[str, Any]:
    """Return a copy of a model YAML's content with ``scale`` and ``yaml_file`` set; see :func:`build`.

    Raises:
        LayerError: If it has no such scale, or a key has a value that cannot be used.
    """
    file = file or row_checks.file_of(model)
    row_checks.check_keys(model, file)
    choices = scales(model)
    content = copy.deepcopy({**model, "yaml_file": file, "scale": ""})
    if choices != [""]:
        content["scale"] = scale or str(model.get("scale") or "") or choices[0]
    if content["scale"] not in choices:
        raise LayerError(f"{file}: no scale {content['scale']!r}; it has {joined(choices)}")
    return content


@contextmanager
def modules(model: dict[str, Any], scale: str = "") -> Iterator[Any]:
    """Build the layers on the meta device, as :func:`build`. Ultralytics logs nothing and gradients are off meanwhile.

    Yields:
        The layers, an ``nn.Sequential``.
    """
    install()
    import torch
    from ultralytics.nn import tasks
    from ultralytics.nn.modules import Conv
    from ultralytics.utils import LOGGER

    content = at_scale(model, scale)
    row_checks.check(content)
    activation = Conv.default_act  # an `activation:` of the YAML is for this model
    try:
        with at_log_level(LOGGER, logging.ERROR), torch.no_grad(), torch.device("meta"):
            yield tasks.parse_model(content, ch=_image_channels(content), verbose=False)[0].eval()
    except OSError as error:
        if "TorchVision" not in layer_types.names_in(content):
            raise
        raise LayerError(f"{content['yaml_file']}: TorchVision cannot fetch its weights: {error}") from error
    finally:
        Conv.default_act = activation


def _image_channels(content: dict[str, Any]) -> int:
    """Return the image channels of content that Ultralytics has completed; in a file it ignores them, or reads them."""
    return int(content.get("channels") or content.get("ch") or 3)


def _built(serialised: str) -> Graph:
    content = json.loads(serialised)
    table = [(part, row) for part in ("backbone", "head") for row in content[part]]
    with modules(content) as layers_:
        shapes = _shapes(layers_, _image_channels(content), content["yaml_file"], table)
    built = []
    for i, ((part, row), module, shape) in enumerate(zip(table, layers_, shapes, strict=True)):
        maps = shape if isinstance(shape, list) else []
        one = shape if isinstance(shape, tuple) else (None, None)
        reads = row_sources.resolve(row[0], i)
        assert module.i == i, "parse_model numbers the layers in order"
        built.append(Layer(i, str(row[2]), part, reads, tuple(row[3]), one[0], one[1], tuple(maps)))
    return Graph(tuple(built), content["yaml_file"], content["scale"])


_of_stock_layers = functools.lru_cache(maxsize=64)(_built)  # base models are built again and again


def _shapes(modules: Any, channels: int, file: str, table: list[Any]) -> list[Any]:
    """Return each layer's output: (channels, stride), a list of them, or None. Do not run the last layer."""
    import torch

    for module in modules.modules():
        if type(module) is torch.nn.BatchNorm2d:  # changes no shape, and takes half of the time
            setattr(module, "forward", torch.nn.Identity().forward)  # noqa: B010  mypy takes it for an error
    image = torch.zeros(1, channels, SIZE, SIZE)
    text = torch.zeros(_TEXT)
    outputs: list[Any] = []
    for module in modules[:-1]:
        f = module.f
        read = [image if j == IMAGE else outputs[j] for j in row_sources.resolve(f, module.i)]
        x = read if row_sources.is_list(f) else read[0]
        inputs = (x, text) if type(module).__name__ in ("C2fAttn", "ImagePoolingAttn") else (x,)
        try:
            outputs.append(_run(module, inputs))
        except _FAULTY_INPUT as error:
            is_ours = layer_types.has_ours(module) and all(isinstance(o, torch.Tensor) for o in read)
            if is_ours and not isinstance(error, RuntimeError | ValueError):
                raise  # a fault of the layer
            reads = [getattr(o, "shape", None) for o in read]
            seen = joined((f"{r[1]}x{r[2]}x{r[3]}" for r in reads if r is not None and len(r) == 4), " and ")
            name = table[module.i][1][2]
            why = " ".join(str(error).split()).removeprefix(f"{name}: ")
            raise LayerError(
                f"{file}: layer {module.i} ({name}) cannot process its input {f} (channels x height x width: {seen}): "
                f"{why}"
            ) from error
    return [_shape(o) for o in outputs] + [None]


def _run(module: Any, inputs: tuple[Any, ...]) -> Any:
    """Run a layer on the meta device, or on the CPU with zeros if one of its operations has no meta version."""
    import torch

    try:
        return module(*inputs)
    except Exception:  # if the CPU cannot run it either, its error counts
        with torch.device("cpu"):
            real = module.to_empty(device="cpu")
            for tensor in (*real.parameters(), *real.buffers()):
                tensor.zero_()
            return _to(real(*(_to(x, "cpu") for x in inputs)), "meta")


def _to(value: Any, device: str) -> Any:
    import torch

    if isinstance(value, list | tuple):
        return [_to(v, device) for v in value]
    return torch.zeros(value.shape, device=device) if isinstance(value, torch.Tensor) else value


def _shape(output: Any) -> Any:
    if isinstance(output, list | tuple):
        shapes = [_shape(o) for o in output]
        return shapes if all(isinstance(s, tuple) for s in shapes) else None
    if getattr(output, "ndim", 0) != 4:
        return None
    height = int(output.shape[2])
    exact = SIZE % height == 0  # for the names of places, a padded map of 17 rows counts as 16
    return int(output.shape[1]), SIZE // height if exact else 2 ** round(math.log2(SIZE / height))
