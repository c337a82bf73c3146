"""A model YAML as the graph that Ultralytics makes of it: who reads what, how many channels, at which stride.

The layers are built by ``parse_model`` and run on PyTorch's meta device, where tensors have a shape and no data: a
model of any size takes a fraction of a second and no memory.
"""

from __future__ import annotations

import copy
import functools
import json
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ... import __version__
from ...errors import LayerError
from .. import install
from . import layer_types, row_arguments, row_sources, yaml_files, yolo_command
from .row_sources import IMAGE

SIZE = 256  # side of the image; a multiple of every model's largest stride
_TEXT = (1, 80, 512)  # the text features that open-vocabulary models are given beside the image


def level(stride: float | None) -> str:
    """Return ``P3`` for stride 8, and so on; empty for what is no map, or has the image's size."""
    return f"P{round(math.log2(stride))}" if stride and stride >= 2 else ""


@dataclass(frozen=True, slots=True)
class Layer:
    """One row of a model YAML, built.

    Attributes:
        index: Its number.
        name: The layer type, as the row has it.
        part: ``"backbone"`` or ``"head"``, the list of the YAML that it stands in.
        reads: Numbers of the layers that it reads, in order; -1 is the image.
        args: The row's arguments.
        channels: Output channels at the scale that was built; None for what is no map, such as the last layer.
        stride: Pixels of the image per position of the output; None for what is no map.
        maps: For a layer that puts out several maps: channels and stride of each; else empty.
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
    """The layers of a model, the last of which is its head (Detect, Segment, Classify, ...).

    Attributes:
        layers: All layers in order.
        file: Name of the model YAML, for messages.
        scale: The scale that was built, or an empty string where the YAML has none.
    """

    layers: tuple[Layer, ...]
    file: str
    scale: str

    @property
    def head(self) -> Layer:
        """The last layer, which makes the predictions."""
        return self.layers[-1]

    def readers(self, index: int) -> tuple[Layer, ...]:
        """Return the layers that read layer ``index``."""
        return tuple(layer for layer in self.layers if index in layer.reads)


def scales(model: dict[str, Any]) -> list[str]:
    """Return the scales of a model YAML's content, the smallest model first; ``[""]`` where there are none."""
    return list(model.get("scales") or {}) or [""]


def scale_of(name: str) -> str:
    """Return the scale's letter that Ultralytics reads in a model YAML's name; empty where there is none."""
    from ultralytics.nn import tasks

    return str(tasks.guess_model_scale(name))


def load(name: str | Path) -> dict[str, Any]:
    """Return a model YAML's content.

    Args:
        name: A path, a shipped file or one of this project, with or without the scale's letter.

    Raises:
        LayerError: If there is no such file, or it is no model YAML.
    """
    install()
    yolo_command.check_model(str(name))
    from ultralytics.nn import tasks

    content: dict[str, Any] = tasks.yaml_model_load(str(name))
    return content


def locate(name: str | Path) -> Path:
    """Return the file that Ultralytics reads for a model YAML's name (``yolo11n.yaml``: ``yolo11.yaml``).

    Raises:
        LayerError: If there is none, or it is no YAML.
    """
    if Path(name).suffix not in (".yaml", ".yml"):
        raise LayerError(f"{str(name)!r} is no model YAML; give a path or a name such as yolo11.yaml")
    install()
    yolo_command.check_model(str(name))
    from ultralytics.utils.checks import check_yaml

    found = check_yaml(str(name), hard=False) or check_yaml(yolo_command.without_scale(str(name)))
    return Path(str(found))


def origin(file: Path) -> str:
    """Return who ships a model YAML, with the version; an empty string for a file of the user's."""
    import ultralytics

    if Path(ultralytics.__file__).parent in file.resolve().parents:
        return f"Ultralytics {ultralytics.__version__}"
    if yaml_files.folder("model_yamls").resolve() == file.resolve().parent:
        return f"yolo-attn {__version__}"
    return ""


def types() -> list[str]:
    """Return the layer types that Ultralytics knows by itself."""
    from ultralytics.nn import tasks

    return layer_types.ultralytics_layers(tasks)


def task(model: dict[str, Any]) -> str:
    """Return the task that Ultralytics takes a model YAML's content for."""
    from ultralytics.nn import tasks

    with _quiet():
        return str(tasks.guess_model_task(model))


def scaled(channels: int, model: dict[str, Any], scale: str) -> int:
    """Return a channel count of a model YAML as it is built at a scale."""
    return row_arguments.scaled(channels, {**model, "scale": scale})


def build(model: dict[str, Any], scale: str = "", file: str = "", *, until: int | None = None) -> Graph:
    """Build a model YAML's content at one scale, and look at it.

    Args:
        model: The content; rows are looked at as Ultralytics reads them.
        scale: A letter of its ``scales``; by default the one it was loaded with, or its first.
        file: Name for messages.
        until: Build only the layers up to this one, with an identity as the last layer behind it.

    Raises:
        LayerError: If a row cannot be built, or cannot read what it reads.
    """
    install()
    content, scale, file = at_scale(model, scale, file)
    if until is not None:
        split = len(content["backbone"])
        content["head"] = [*content["head"][: max(until + 1 - split, 0)], [-1, 1, "nn.Identity", []]]
        content["backbone"] = content["backbone"][: until + 1]
    built = _built if layer_types.names_any(content) else _of_stock_layers
    return built(json.dumps(content), file, scale)


def at_scale(model: dict[str, Any], scale: str = "", file: str = "") -> tuple[dict[str, Any], str, str]:
    """Return a copy of a model YAML's content with the scale that is to be built, that scale, and its file's name.

    Args:
        model: The content.
        scale: A letter of its ``scales``; by default the one it was loaded with, or its first.
        file: Name for messages; by default that of the file it was loaded from.

    Raises:
        LayerError: If it has no such scale.
    """
    file = file or Path(str(model.get("yaml_file") or "model YAML")).name
    content = copy.deepcopy({k: v for k, v in model.items() if k != "scale"})
    content["yaml_file"] = file
    content.setdefault("nc", 80)
    choices = scales(content)
    if choices == [""]:
        return content, "", file
    scale = scale or str(model.get("scale") or "") or choices[0]
    if scale not in choices:
        raise LayerError(f"{file}: no scale {scale!r}; it has {', '.join(choices)}")
    content["scale"] = scale
    return content, scale, file


@contextmanager
def modules(content: dict[str, Any], file: str) -> Iterator[Any]:
    """Build the layers on the meta device, and keep Ultralytics quiet and gradients off while they are looked at.

    Args:
        content: What :func:`at_scale` returns.
        file: Name for messages.

    Yields:
        The layers, an ``nn.Sequential``.

    Raises:
        LayerError: If a row cannot be built.
    """
    import torch
    from ultralytics.nn import tasks
    from ultralytics.nn.modules import Conv

    activation = Conv.default_act  # an `activation:` of the YAML is for this model
    with _quiet(), torch.no_grad():
        try:
            with torch.device("meta"):
                built, _ = tasks.parse_model(copy.deepcopy(content), ch=image_channels(content), verbose=False)
                yield built.eval()
        except OSError as error:  # TorchVision rows fetch weights
            raise LayerError(f"{file}: cannot be built: {error}") from error
        finally:
            Conv.default_act = activation


def image_channels(content: dict[str, Any]) -> int:
    """Return how many channels the images of a model YAML's content have."""
    return int(content.get("channels") or 3)


def _built(serialised: str, file: str, scale: str) -> Graph:
    content = json.loads(serialised)
    table = [(part, row) for part in ("backbone", "head") for row in content[part]]
    with modules(content, file) as layers_:
        shapes = _shapes(layers_, image_channels(content), file, table)
    built = []
    for i, ((part, row), module, shape) in enumerate(zip(table, layers_, shapes, strict=True)):
        maps = shape if isinstance(shape, list) else []
        one = shape if isinstance(shape, tuple) else (None, None)
        reads = row_sources.resolve(row[0], i)
        assert module.i == i, "parse_model numbers the layers in order"
        built.append(Layer(i, str(row[2]), part, reads, tuple(row[3]), one[0], one[1], tuple(maps)))
    return Graph(tuple(built), file, scale)


_of_stock_layers = functools.lru_cache(maxsize=64)(_built)  # base models are looked at again and again


def _shapes(modules: Any, channels: int, file: str, table: list[Any]) -> list[Any]:
    """Return each layer's output: (channels, stride), a list of them, or None; the last layer is not run."""
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
        except Exception as error:
            reads = [getattr(o, "shape", None) for o in read]
            seen = " and ".join(f"{r[1]}x{r[2]}x{r[3]}" for r in reads if r is not None and len(r) == 4)
            why = " ".join(str(error).split())
            name = table[module.i][1][2]
            raise LayerError(
                f"{file}: layer {module.i} ({name}) cannot read {f} (channels x height x width: {seen}): {why}"
            ) from error
    return [_shape(o) for o in outputs] + [None]


def _run(module: Any, inputs: tuple[Any, ...]) -> Any:
    """Run a layer on the meta device, or, where it uses an operation that has no meta version, on zeros."""
    try:
        return module(*inputs)
    except Exception:
        return run_on_zeros(module, inputs)


def run_on_zeros(module: Any, inputs: tuple[Any, ...]) -> Any:
    """Run a layer of the meta device on the CPU, on zeros and with zeros for weights; returns meta tensors."""
    import torch

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
    exact = SIZE % height == 0  # a padded map of 17 rows is one of 16, for the names of places
    return int(output.shape[1]), SIZE // height if exact else 2 ** round(math.log2(SIZE / height))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ultralytics from logging while a model is only looked at."""
    from ultralytics.utils import LOGGER

    level = LOGGER.level
    LOGGER.setLevel(logging.ERROR)
    try:
        yield
    finally:
        LOGGER.setLevel(level)
