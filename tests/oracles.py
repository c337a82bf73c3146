"""What the tests of single blocks share: random parameters, comparison with a loop, tensors as large as they get."""

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

C = 64


def make(spec, channels=C, **options):
    """Build the layer as a model has it."""
    torch.manual_seed(0)
    more = [channels] if spec.output == "argument" else []
    return spec.build(channels if spec.inputs == "one" else [channels // 2, channels // 4, channels], *more, **options)


def an_input(spec, batch=2, size=(8, 8), channels=C, dtype=torch.float32):
    """One map, or a larger, a smaller and a last one of ``size``."""
    generator = torch.Generator().manual_seed(1)

    def one(c, h, w):
        return torch.randn(batch, c, h, w, generator=generator, dtype=torch.float64).to(dtype)

    h, w = size
    if spec.inputs == "one":
        return one(channels, h, w)
    return [one(channels // 2, 2 * h, 2 * w), one(channels // 4, -(-h // 2), -(-w // 2)), one(channels, h, w)]


def randomised(module, noise=0.3):
    """Give norms other statistics and weights than the ones they start with, which hide mistakes."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.dtype.is_floating_point:
            with torch.no_grad():
                change = torch.randn_like(tensor) * noise
                tensor.copy_(change.abs() + 0.5 if name.endswith("running_var") else tensor + change)
    return module


def arrays(module):
    return {k: v.detach().numpy() for k, v in module.state_dict().items()}


def assert_same(got, want):
    np.testing.assert_allclose(got.detach().numpy(), want, rtol=1e-9, atol=1e-12)


class LargestTensor(TorchDispatchMode):
    """Notes the most elements of any tensor that an operation returns, in forward and backward."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return out
