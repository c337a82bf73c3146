"""``compile=True``: each block compiles to as many graphs as a convolution, over three batch sizes and two sizes.

The batch sizes are on one side of 16: below it torch chooses other convolutions on the CPU, and compiles again.
HardAttn makes four images of each.
"""

import pytest
import torch
from export_cases import CASES, CHANNELS, OneMap
from torch import nn
from torch._dynamo import utils

pytestmark = [
    pytest.mark.export,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"),
]
SIZES = [(batch, CHANNELS, *size) for size in ((12, 16), (20, 28)) for batch in (5, 6, 7)]


def compiled(net):
    """Return the number of graphs in training, and where they break."""
    torch._dynamo.reset()
    utils.counters.clear()
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    run = torch.compile(net.train(), backend=backend)
    for size in SIZES:
        y = run(torch.randn(size))
        if y.requires_grad:
            y.mean().backward()
    return len(graphs), dict(utils.counters["graph_break"])


@pytest.fixture(scope="module")
def most():
    """The number of graphs of a convolution."""
    return compiled(nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 3), nn.BatchNorm2d(CHANNELS), nn.SiLU()))[0]


@pytest.mark.parametrize("name", CASES)
def test_as_many_graphs_as_a_convolution(name, most):
    graphs, breaks = compiled(OneMap(*CASES[name]))
    assert not breaks
    assert graphs <= most
