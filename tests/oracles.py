"""What the tests of single blocks share: comparison with a loop, and how large tensors get."""

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode


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
