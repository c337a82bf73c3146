"""Every model YAML of the project trains: three steps of the trainer that ``yolo train`` uses."""

import pytest
import torch
from support import ROOT, tiny_data
from ultralytics import YOLO

import yolo_attn
from yolo_attn.integration.queries import layer_types

FILES = sorted((ROOT / "model_yamls").glob("*.yaml"))
yolo_attn.install()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny_data(tmp_path_factory.mktemp("steps") / "data", images=6, size=128)


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_three_steps(file, data, tmp_path):
    before: dict[str, torch.Tensor] = {}
    losses = []
    model = YOLO(file.name.replace("-", "n-", 1))

    def ours(trainer):
        attention = [m for m in trainer.model.model if layer_types.spec_of(type(m))]
        return {f"{m.i}.{n}": p for m in attention for n, p in m.named_parameters()}

    def start(trainer):
        before.update({n: p.detach().clone() for n, p in ours(trainer).items()})

    def step(trainer):
        losses.append(trainer.loss.detach().clone())

    def end(trainer):
        parameters = ours(trainer)
        assert before
        assert before.keys() == parameters.keys()
        seen = {n: trainer.optimizer.state[p].get("momentum_buffer") for n, p in parameters.items()}
        stuck = [n for n, m in seen.items() if m is None or not m.any()]
        assert not [n for n in stuck if "bias" not in n]  # biases in front of a norm get no gradient
        assert sum(not torch.equal(p, before[n]) for n, p in parameters.items()) > len(parameters) / 2
        assert all(p.isfinite().all() for p in parameters.values())

    model.add_callback("on_train_start", start)
    model.add_callback("on_train_batch_end", step)
    model.add_callback("on_train_epoch_end", end)
    options = {"epochs": 1, "imgsz": 128, "batch": 2, "workers": 0, "device": "cpu", "optimizer": "SGD", "nbs": 2}
    options |= {"warmup_epochs": 0, "lr0": 0.01, "weight_decay": 0}  # what moves is moved by gradients
    model.train(
        data=str(data), project=str(tmp_path), plots=False, verbose=False, val=False, save=False, seed=0, **options
    )
    assert len(losses) == 3
    assert torch.stack(losses).isfinite().all()
