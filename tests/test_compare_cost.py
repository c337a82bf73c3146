"""Parameters, GFLOPs and latency."""

from __future__ import annotations

import pytest

from yolo_attn.compare import cost


@pytest.mark.parametrize("name", ["yolo11n.yaml", "yolov8n.yaml"])
def test_costs_agree_with_ultralytics(name):
    from ultralytics import YOLO

    opened = YOLO(name)
    _, count, _, theirs = opened.info()
    model = opened.model.eval()
    assert cost.parameters(model) == count
    ours = cost.gflops(model)
    assert ours == pytest.approx(theirs, rel=0.04)  # thop counts the norms
    assert ours < theirs


def test_attention_is_counted():
    import torch
    from torch import nn

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = nn.Conv2d(3, 8, 1, bias=False)

        def forward(self, x):
            x = self.one(x).flatten(2).transpose(1, 2)
            return torch.nn.functional.scaled_dot_product_attention(x, x, x)

    tokens = 16 * 16
    multiply_adds = tokens * 3 * 8 + 2 * tokens * tokens * 8
    assert cost.gflops(Attention().eval(), 16) == pytest.approx(2 * multiply_adds / 1e9)


def test_latencies_are_taken_in_turn():
    from torch import nn

    order = []

    class Spy(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name, self.layer = name, nn.Conv2d(3, 4, 1)

        def forward(self, x):
            order.append((self.name, tuple(x.shape), self.training))
            return self.layer(x)

        def __deepcopy__(self, memo):
            return Spy(self.name)

    models = {name: Spy(name) for name in "abc"}
    times = cost.latencies(models, 32, min_rounds=4, max_rounds=4, seconds=0)
    assert {name: len(values) for name, values in times.items()} == {"a": 4, "b": 4, "c": 4}
    assert "".join(name for name, *_ in order[3 * cost.WARMUP :]) == "abccbaabccba"
    assert {(shape, training) for _, shape, training in order} == {((1, 3, 32, 32), False)}


def test_ratio_is_taken_round_by_round():
    base = [10.0, 10.0, 1000.0, 10.0, 10.0]  # the machine stalls in the third round, for both
    mine = [11.0, 11.0, 1100.0, 11.0, 11.0]
    assert cost.ratios(mine, base)["median"] == pytest.approx(1.1)
    assert cost.ratios(mine, base)["p90"] == pytest.approx(1.1)
    assert cost.spread([1.0, 2.0, 3.0])["median"] == 2


def test_device_and_size_as_ultralytics_reads_them():
    assert cost.torch_device("cpu") == "cpu"
    assert cost.torch_device(0) == cost.torch_device("0,1") == cost.torch_device("cuda:0") == "cuda:0"
    assert cost.torch_device([1, 2]) == "cuda:1"
    assert cost.largest([320, 640]) == cost.largest(640) == 640
