"""What a layer must do on its own: shapes, one image, gradients, samples, copies, and Ultralytics' attributes."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import torch

from ..messages import joined
from ..registry import BlockSpec
from .block_inputs import (
    an_input,
    declared_shapes,
    each,
    flat,
    forward,
    make,
    maps_of,
    matching_maps,
    randomised,
    require,
    shapes,
)

SIZES = ((1, 1), (7, 13), (20, 20))  # a 32-pixel image at stride 32; odd; usual
# Every number of channels that a layer of YOLOv8, YOLO11 or YOLO26 returns, scales n to x.
WIDTHS = (16, 32, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512, 576, 640, 768, 960, 1024, 1152, 1280, 1536)
RESERVED_ATTRIBUTES = {"i", "f", "type", "np"}  # Ultralytics sets these on every layer
RESERVED_PARTS = {"model", "dfl", "teacher_model"}  # and treats parameters under these names in its own way


def keeps_shape_and_dtype(spec: BlockSpec, dtype: torch.dtype) -> None:
    """Check shape, dtype and finiteness of the output at odd sizes and at one position."""
    block = make(spec).to(dtype).eval()
    for size in SIZES:
        x = an_input(spec, size=size, dtype=dtype)
        ys, declared = maps_of(forward(spec, block, x)), declared_shapes(spec, x)
        require(
            shapes(ys) == declared,
            f"{spec.name}: an input of {joined(shapes(x), ' and ')} gives {joined(shapes(ys), ' and ')}, but its "
            f"registration declares {joined(declared, ' and ')}. Keep height and width, also odd ones (pad by half of "
            "the kernel; interpolate to the size of x); for other channels give output= to yolo_attn.register",
        )
        for y in ys:
            require(
                y.dtype == dtype,
                f"{spec.name}: {dtype} goes in, {y.dtype} comes out; end forward with .to(x.dtype), and create "
                "tensors with dtype=x.dtype, device=x.device",
            )
            require(
                y.isfinite().all(),
                f"{spec.name}: inputs around 1 of shape {joined(shapes(x), ' and ')} in {dtype} give inf or nan; look "
                "for a division by a variance or a sum that can be 0",
            )


def builds_or_refuses(spec: BlockSpec, channels: int) -> None:
    """Check that the block works at a width of YOLO, or refuses it by a ValueError that names the number."""
    try:
        block = make(spec, channels)
    except ValueError as error:
        require(
            str(channels) in str(error),
            f"{spec.name}: building it with {channels} channels raises ValueError({str(error)!r}), which does not say "
            f"that {channels} is the number that does not fit; name it, and the option's values that would work",
        )
        return
    except Exception as error:
        message = (
            f"{spec.name}: building it with {channels} channels raises {type(error).__name__}: {error}. If it cannot "
            f"have {channels} channels, raise a ValueError in __init__ that names the number and what would work"
        )
        require(False, message)
        raise
    empty = [n for n, p in block.named_parameters() if not p.numel()]
    require(
        not empty,
        f"{spec.name}: with {channels} channels the parameters {joined(empty, most=3)} are empty, so it learns "
        "nothing there; write max(1, channels // reduction), or raise a ValueError",
    )
    if channels <= 320:  # wider ones only take longer
        x = an_input(spec, 1, (4, 4), channels)
        with torch.no_grad():
            found = [shape[1] for shape in shapes(forward(spec, block.eval(), x))]
        declared = [shape[1] for shape in declared_shapes(spec, x)]
        require(
            found == declared,
            f"{spec.name}: with {channels} channels it returns {joined(found, ' and ')} channels instead of the "
            f"{joined(declared, ' and ')} that its registration declares",
        )


def trains_with_one_image(spec: BlockSpec, size: tuple[int, int]) -> None:
    """Check a training step on a batch of one: the last batch of an epoch may have one image."""
    block = make(spec).train()
    x = each(an_input(spec, 1, size), torch.Tensor.requires_grad_)
    y = flat(forward(spec, block, x, "in train mode"))
    where = f"{spec.name}: training on one image with a map of {size[0]}x{size[1]}"
    require(y.isfinite().all(), f"{where} gives inf or nan; look for a standard deviation of one value")
    require(
        y.requires_grad,
        f"{where} gives an output without gradient; do not use detach, no_grad or .data between input and output",
    )
    torch.autograd.backward(y.square().mean())
    maps = matching_maps(spec, x)
    require(
        not maps or all(m.grad is not None for m in maps),
        f"{where} sends no gradient to its input, so the layers before it learn nothing; do not use detach or no_grad",
    )
    require(
        all(m.grad is None or m.grad.isfinite().all() for m in maps_of(x)),
        f"{where} sends inf or nan back to its input; look for a square root or a norm of 0, and add an epsilon in it",
    )
    for name, p in block.named_parameters():
        require(
            p.grad is not None,
            f"{where} gives the parameter {name} no gradient: forward does not use it, or it has requires_grad=False, "
            "which Ultralytics undoes. Training on several GPUs stops at such a parameter; remove it, or make it a "
            "buffer",
        )
        require(p.grad is not None and p.grad.isfinite().all(), f"{where} gives {name} a gradient of inf or nan")


def parameters_without_gradient(spec: BlockSpec) -> set[str]:
    """Return the names of the parameters that no loss in train mode changes, with random values in all of them."""
    block = randomised(make(spec).double(), 0.2).train()
    x = each(an_input(spec, 2, dtype=torch.float64), torch.Tensor.requires_grad_)
    torch.autograd.backward(flat(forward(spec, block, x, "in train mode")).square().mean())
    return {n for n, p in block.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-14}


def every_parameter_learns(spec: BlockSpec) -> None:
    """Check that every parameter has an effect. A bias before a norm has none and does no harm."""
    dead = sorted(name for name in parameters_without_gradient(spec) if "bias" not in name)
    require(
        not dead,
        f"{spec.name}: no loss depends on {joined(dead, most=5)}. Remove what forward does not use; a tensor that must "
        "not train belongs in register_buffer",
    )


def does_not_mix_samples(spec: BlockSpec) -> None:
    """Check that an image's output does not depend on the other images of its batch, in eval mode."""
    block = randomised(make(spec).double(), 0.2).eval()
    x = an_input(spec, 3, dtype=torch.float64)
    together = flat(each(forward(spec, block, x), lambda m: m[1:2]))
    alone = flat(forward(spec, block, each(x, lambda m: m[1:2])))
    require(
        together.shape == alone.shape and torch.allclose(together, alone, rtol=1e-7, atol=1e-7),
        f"{spec.name}: in eval mode an image's output changes by {_change(together, alone):.2g} with the other images "
        "of its batch. Reduce over (2, 3), never over dimension 0, and use no batch statistics in eval mode",
    )


def leaves_its_input_alone(spec: BlockSpec, training: bool) -> None:
    """Check that forward does not write into its input: other layers read the same map."""
    x = an_input(spec)
    before = copy.deepcopy(x)
    forward(spec, make(spec).train(training), x, on_a_copy=False)
    require(
        all(torch.equal(a, b) for a, b in zip(maps_of(x), maps_of(before), strict=True)),
        f"{spec.name}: forward changes its input, which other layers of the model read too. Do not use operations "
        "that end in _ (mul_, add_), x *= ..., or inplace=True on the input",
    )


def copies_agree(spec: BlockSpec) -> None:
    """Check that a used block can be copied, pickled, saved and filled from a state_dict, with equal outputs."""
    block = randomised(make(spec), 0.2).eval()
    x = an_input(spec)
    y = flat(forward(spec, block.train(), x)).mean()
    if y.requires_grad:
        torch.autograd.backward(y)  # a used block, not only a fresh one
    block.eval().zero_grad()
    want = flat(forward(spec, block, x))

    def filled() -> Any:
        fresh = make(spec).eval()
        fresh.load_state_dict(block.state_dict(), strict=True)
        return fresh

    ways: dict[str, Callable[[], Any]] = {
        "copy.deepcopy": lambda: copy.deepcopy(block),
        "pickle": lambda: pickle.loads(pickle.dumps(block)),
        "torch.save": lambda: _saved_and_loaded(block),
        "state_dict": filled,
    }
    advice = {
        "copy.deepcopy": "Ultralytics copies the model for its weight average; keep no results of forward on self",
        "state_dict": "create all parameters and buffers in __init__, and keep no tensors as plain attributes",
    }
    checkpoint = (
        "a checkpoint is a pickle; keep no lambda, local function, open file or hook on the block, and define its "
        "classes at the top level of a module"
    )
    for way, twin in ways.items():
        try:
            got = flat(forward(spec, twin(), x))
        except Exception as error:
            require(False, f"{spec.name}: {way} fails with {error}. What to do: {advice.get(way, checkpoint)}")
            raise
        require(
            torch.equal(got, want),
            f"{spec.name}: the copy made by {way} gives another output (by {_change(got, want):.2g}). What to do: "
            f"{advice.get(way, checkpoint)}",
        )


def _saved_and_loaded(block: Any) -> Any:
    file = io.BytesIO()
    torch.save(block, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def is_deterministic_in_eval(spec: BlockSpec) -> None:
    """Check that the output in eval mode depends on no random numbers and on no earlier call."""
    block = randomised(make(spec), 0.2).eval()
    x = an_input(spec)
    outputs = []
    for seed in (1, 2, 2):
        torch.manual_seed(seed)
        outputs.append(flat(forward(spec, block, x)))
    forward(spec, block, an_input(spec, size=(5, 6)))
    outputs.append(flat(forward(spec, block, x)))
    require(
        all(torch.equal(outputs[0], other) for other in outputs[1:]),
        f"{spec.name}: equal inputs give different outputs in eval mode. Draw random numbers only if self.training "
        "(nn.Dropout does), and let no call change what the next one computes",
    )


def works_after_inplace_is_set(spec: BlockSpec) -> None:
    """Check the block after loading a checkpoint, which sets ``inplace = True`` wherever there is such an attribute."""
    block = randomised(make(spec), 0.2).eval()
    x = an_input(spec)
    want = flat(forward(spec, block, x))
    before = copy.deepcopy(x)
    for module in block.modules():
        if hasattr(module, "inplace"):
            module.inplace = True
    got = flat(forward(spec, block, x, "with inplace=True on all activations", on_a_copy=False))
    require(
        torch.equal(got, want) and all(torch.equal(a, b) for a, b in zip(maps_of(x), maps_of(before), strict=True)),
        f"{spec.name}: its output or its input changes when its activations work in place. Ultralytics sets "
        "inplace=True on every module when it loads a checkpoint; where an activation's input is needed again, as the "
        "input of the block always is, call torch.nn.functional.relu",
    )


def keeps_nothing_from_forward(spec: BlockSpec) -> None:
    """Check that forward stores nothing on the block, and that no tensor is a plain attribute."""
    block = make(spec).eval()
    before = {id(m): set(vars(m)) for m in block.modules()}
    forward(spec, block, an_input(spec))
    after = {id(m): set(vars(m)) for m in block.modules()}
    new = sorted({name for module, names in after.items() for name in names ^ before.get(module, set())})
    require(
        after == before,
        f"{spec.name}: forward stores {joined(new) or 'new layers'} on the block; such a value goes into checkpoints "
        "and exported graphs. Use a local variable, and create layers in __init__",
    )
    plain = [f"{n}.{k}".strip(".") for n, m in block.named_modules() for k, v in vars(m).items() if _is_tensor(v)]
    require(
        not plain,
        f"{spec.name}: {joined(plain)} is a plain tensor, which .half() and .to(device) leave where it is; write "
        "self.register_buffer(name, tensor)",
    )


def _is_tensor(value: object) -> bool:
    return isinstance(value, torch.Tensor)


def takes_no_reserved_name(spec: BlockSpec) -> None:
    """Check that no part of the block has a name that Ultralytics uses, and that the parser's attributes do no harm."""
    block = make(spec)
    for module in block.modules():
        taken = RESERVED_ATTRIBUTES & {*vars(module), *module._modules, *module._parameters, *module._buffers}
        require(
            not taken,
            f"{spec.name}: self.{joined(sorted(taken))} of {type(module).__name__} is overwritten by Ultralytics, "
            "which sets i, f, type and np on every layer; choose another name",
        )
    parts = RESERVED_PARTS & {part for n, _ in block.named_modules() for part in n.split(".")}
    require(
        not parts,
        f"{spec.name}: a part is called {joined(sorted(parts))}, and Ultralytics treats parameters with that name in "
        "its own way; choose another name",
    )
    x = an_input(spec)
    want = flat(forward(spec, block.eval(), x))
    block.i, block.f, block.type, block.np = 3, -1, spec.name, 17  # as the parser does
    got = flat(forward(spec, block, x, "with the attributes i, f, type and np that Ultralytics sets"))
    require(torch.equal(got, want), f"{spec.name}: the attributes i, f, type and np of Ultralytics change its output")


def starts_as_the_identity(spec: BlockSpec) -> None:
    """Check that ``residual=True``, where the block has that option, changes nothing before training."""
    if "residual" not in spec.options():
        return
    for training in (False, True):
        x = an_input(spec)
        ys = maps_of(forward(spec, make(spec, residual=True).train(training), x))
        same = zip(ys, matching_maps(spec, x), strict=True)
        require(
            all(y.shape == m.shape and torch.equal(y, m) for y, m in same),
            f"{spec.name}: residual=True changes the map before training. In this package the option means x + gamma * "
            "(block(x) - x) with a learnable gamma that starts at 0; start so, or give the option another name",
        )


def _change(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return the largest difference; nan if the shapes differ."""
    return float((a - b).detach().abs().max()) if a.shape == b.shape else float("nan")
