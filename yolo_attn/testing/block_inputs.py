"""Build a block as a model does, and the maps that it reads; compare what it returns with what it declares."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn

from ..registry import BLOCKS, BlockSpec

C = 64  # channels of the blocks that are tested
Maps = Any  # a map, or a list of maps
M = TypeVar("M", bound=nn.Module)


class BrokenContractError(AssertionError):
    """A block does not do what Ultralytics or this package expects of a layer. The text is for its author."""


def require(condition: object, message: str) -> None:
    """Raise a BrokenContractError with this message unless the condition holds."""
    if not condition:
        raise BrokenContractError(message)


def make(spec: BlockSpec, channels: int = C, **options: Any) -> Any:
    """Build the layer as a model has it, always with the same random numbers."""
    torch.manual_seed(0)
    more = [channels] if spec.output == "argument" else []
    if spec.repeats == "argument":
        options = {"n": 1, **options}
    return spec.build(channels if spec.inputs == "one" else [channels // 2, channels // 4, channels], *more, **options)


def options_of(spec: BlockSpec) -> dict[str, Any]:
    """Return the options that a test gave a block, which it then holds as fixed ones."""
    registered = BLOCKS[spec.name].fixed if spec.name in BLOCKS else {}
    return {name: value for name, value in spec.fixed.items() if name not in registered}


def an_input(
    spec: BlockSpec,
    batch: int = 2,
    size: tuple[int, int] = (8, 8),
    channels: int = C,
    dtype: torch.dtype = torch.float32,
) -> Maps:
    """Return one map of ``size``; or a larger, a smaller and a last one of ``size``.

    The three maps all have this size if the block cannot read others, as one that concatenates them.
    """
    return _maps(spec, batch, size, channels, dtype, several_sizes=spec.inputs != "one" and reads_several_sizes(spec))


@functools.cache
def reads_several_sizes(spec: BlockSpec) -> bool:
    """Return whether a block with a list of inputs reads maps of different sizes. One that reads neither is asked."""
    block = make(spec).eval()
    for several_sizes in (True, False):
        try:
            with torch.no_grad():
                block(_maps(spec, 2, (8, 8), C, torch.float32, several_sizes=several_sizes))
        except Exception:  # the tests report it
            continue
        return several_sizes
    return True


def _maps(
    spec: BlockSpec, batch: int, size: tuple[int, int], channels: int, dtype: torch.dtype, *, several_sizes: bool
) -> Maps:
    generator = torch.Generator().manual_seed(1)

    def one(c: int, h: int, w: int) -> torch.Tensor:
        return torch.randn(batch, c, h, w, generator=generator, dtype=torch.float64).to(dtype)

    h, w = size
    if spec.inputs == "one":
        return one(channels, h, w)
    large, small = ((2 * h, 2 * w), (-(-h // 2), -(-w // 2))) if several_sizes else (size, size)
    return [one(channels // 2, *large), one(channels // 4, *small), one(channels, h, w)]


def randomised(module: M, noise: float = 0.3) -> M:
    """Give norms other statistics and weights than the ones they start with, which hide mistakes."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.dtype.is_floating_point:
            with torch.no_grad():
                change = torch.randn_like(tensor) * noise
                tensor.copy_(change.abs() + 0.5 if name.endswith("running_var") else tensor + change)
    return module


def each(x: Maps, f: Callable[[torch.Tensor], torch.Tensor]) -> Maps:
    """Apply ``f`` to the map or to each map of the list."""
    return [f(m) for m in x] if isinstance(x, list) else f(x)


def maps_of(x: Maps) -> list[torch.Tensor]:
    """Return the map, or the maps of the list, of an input or an output."""
    return x if isinstance(x, list) else [x]


def flat(y: Maps) -> torch.Tensor:
    """Return all numbers of the output."""
    return torch.cat([m.flatten() for m in maps_of(y)])


def shapes(x: Maps) -> list[tuple[int, ...]]:
    """Return the shapes of the map or maps."""
    return [tuple(m.shape) for m in maps_of(x)]


def declared_shapes(spec: BlockSpec, x: Maps) -> list[tuple[int, ...]]:
    """Return the shapes of the output for an input, as the registration declares them: the sizes of its inputs."""
    inputs = maps_of(x)
    channels = [m.shape[1] for m in inputs]
    if callable(spec.output):
        found = spec.output(channels, dict(spec.fixed))
        outputs = list(found) if isinstance(found, (list, tuple)) else [found]
        if spec.pyramid:
            sizes = [m.shape[2:] for m in inputs[: len(outputs)]]
        else:  # the size of the input that has these channels, or else of the last one
            sizes = [next((m.shape[2:] for m in inputs if m.shape[1] == c), inputs[-1].shape[2:]) for c in outputs]
    elif isinstance(spec.output, int):
        outputs, sizes = [channels[spec.output]], [inputs[spec.output].shape[2:]]
    else:  # an argument has the number of the last map's channels, see make()
        outputs, sizes = [channels[-1]], [inputs[-1].shape[2:]]
    return [(inputs[0].shape[0], c, *size) for c, size in zip(outputs, sizes, strict=True)]


def matching_maps(spec: BlockSpec, x: Maps) -> list[torch.Tensor]:
    """Return the inputs that the output has the shape of."""
    declared = declared_shapes(spec, x)
    return [m for m in maps_of(x) if tuple(m.shape) in declared]


def forward(spec: BlockSpec, block: Any, x: Maps, what: str = "", *, on_a_copy: bool = True) -> Maps:
    """Call the block, on a copy of ``x`` unless the test is about what it does to its input.

    Raises:
        BrokenContractError: If it raises, or returns something else than it declares; ``what`` says when.
    """
    called = f"called with {_described(x)}{f', {what}' if what else ''}"
    try:
        y = block(each(x, torch.clone) if on_a_copy else x)
    except Exception as error:
        text = " ".join(str(error).split())[:300].rstrip(".")
        raise BrokenContractError(
            f"{spec.name} {called}: raises {type(error).__name__}: {text}{_hint(text)}"
        ) from error
    wanted = "a list of maps, as pyramid=True declares" if spec.pyramid else "one tensor"
    kind = isinstance(y, list) and all(isinstance(m, torch.Tensor) for m in y) if spec.pyramid else None
    require(
        isinstance(y, torch.Tensor) if kind is None else kind,
        f"{spec.name} {called}: returns a {type(y).__name__}; forward must return {wanted}",
    )
    return y


def _described(x: Maps) -> str:
    return f"{' and '.join(map(str, shapes(x)))} of {str(maps_of(x)[0].dtype).removeprefix('torch.')}"


_HINTS = {  # part of an error's text -> what to do
    "view size is not compatible": "write reshape instead of view: the map may be channels_last",
    "Expected more than 1 value per channel": "a batch may hold one image; use no BatchNorm on pooled values, "
    "but GroupNorm, LayerNorm or a convolution with bias",
    "must match the size": "compute sizes from the input in forward, and keep odd ones",
    "expected scalar type": "create tensors with dtype and device of the input, as torch.zeros_like(x) does",
    "to have the same dtype": "create tensors with dtype and device of the input, as torch.zeros_like(x) does",
    "must have the same dtype": "create tensors with dtype and device of the input, as torch.zeros_like(x) does",
    "Kernel size can't be greater": "pad by half of the kernel, so that a map of 1x1 has an output",
}


def _hint(text: str) -> str:
    return next((f". What to do: {hint}" for part, hint in _HINTS.items() if part in text), "")
