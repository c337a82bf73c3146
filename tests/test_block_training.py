"""Each block trains for 200 steps at ten times Ultralytics' learning rate, in bfloat16 under autocast."""

import pytest
import torch
from export_cases import CASES, CHANNELS, OneMap


@pytest.mark.parametrize("name", sorted(CASES.keys() - {"PyramidLevel"}))
def test_stays_finite_over_200_steps(name):
    block = OneMap(*CASES[name]).train()
    optimizer = torch.optim.SGD(block.parameters(), lr=0.1, momentum=0.937, nesterov=True)  # lr0 is 0.01
    losses = []
    for _ in range(200):
        with torch.autocast("cpu", torch.bfloat16):
            y = block(torch.randn(2, CHANNELS, 8, 12))
        loss = (y.float() - 0.1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(block.parameters(), 10.0)  # as Ultralytics
        optimizer.step()
        losses.append(loss.item())
    assert all(map(torch.isfinite, torch.tensor(losses)))
    assert all(p.isfinite().all() for p in block.parameters())
