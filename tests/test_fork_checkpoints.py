"""Checkpoints that forks of Ultralytics wrote: one line, and ``transfer --alias`` for a class that is ours."""

import re
import sys
import types

import pytest
import torch
from ultralytics import YOLO
from ultralytics.nn.modules import block as stock_blocks

import yolo_attn
from yolo_attn.blocks import EMA
from yolo_attn.cli import main
from yolo_attn.errors import CheckpointError
from yolo_attn.integration.queries import checkpoints

pytestmark = pytest.mark.fast


@pytest.fixture
def fork(tmp_path, monkeypatch):
    """A checkpoint of yolo11n with EMA, as a fork would write it with its own class of that name."""
    monkeypatch.chdir(tmp_path)
    yolo_attn.install()
    monkeypatch.setattr(checkpoints, "MOVED_CLASSES", {})

    def write(path):
        module_name, _, name = path.rpartition(".")
        torch.manual_seed(1)
        model = YOLO("yolo11n-ema.yaml").model
        cls = type(name, (EMA,), {"__module__": module_name, "__qualname__": name})
        with monkeypatch.context() as patch:
            if module_name not in sys.modules:
                patch.setitem(sys.modules, module_name, types.ModuleType(module_name))
            patch.setattr(sys.modules[module_name], name, cls, raising=False)
            for module in model.modules():
                if type(module) is EMA:
                    module.__class__ = cls
                    del module.yolo_attn_layer
            torch.save({"model": model, "train_args": {}, "ema": None}, tmp_path / "fork.pt")
        return model

    yield write
    for name in [n for n in sys.modules if n.startswith("ultralytics.nn.EMA")]:
        del sys.modules[name]
    for name in ("DSC3k2", "ema"):
        if hasattr(stock_blocks, name):
            delattr(stock_blocks, name)


@pytest.mark.parametrize("path", ["ultralytics.nn.EMA.EMA", "ultralytics.nn.modules.block.DSC3k2"])
def test_one_line_that_names_the_class(path, fork, capfd):
    fork(path)
    with pytest.raises(CheckpointError, match=rf"fork\.pt: made with a fork or a later version .*{re.escape(path)}"):
        YOLO("fork.pt")
    assert main(["info", "fork.pt"]) == 2
    err = capfd.readouterr().err
    assert len([line for line in err.splitlines() if line.startswith("yolo-attn:")]) == 1
    assert ("--alias ultralytics.nn.EMA.EMA=EMA" in err) == path.endswith("EMA")


@pytest.mark.parametrize("path", ["ultralytics.nn.EMA.EMA", "ultralytics.nn.modules.block.ema"])
def test_alias_reads_the_weights(path, fork, capfd):
    model = fork(path)
    assert main(["transfer", "fork.pt", "yolo11n-ema.yaml", "-o", "ours.pt", "--alias", f"{path}=EMA"]) == 0
    ours = YOLO("ours.pt").model
    layers = [i for i, m in enumerate(ours.model) if type(m) is EMA]
    assert layers
    for index in layers:
        for key, tensor in ours.model[index].state_dict().items():
            torch.testing.assert_close(
                tensor.float(), model.model[index].state_dict()[key].half().float(), atol=1e-3, rtol=1e-3
            )


@pytest.mark.parametrize(
    ("alias", "said"),
    [
        ("EMA", "pairs class=layer"),
        ("ultralytics.nn.EMA.EMA=EMMA", "no layer type 'EMMA'.*EMA"),
        ("os.system=EMA", "'os.system'"),
    ],
)
def test_wrong_aliases(alias, said, fork, capfd):
    fork("ultralytics.nn.EMA.EMA")
    assert main(["transfer", "fork.pt", "yolo11n-ema.yaml", "-o", "ours.pt", "--alias", alias]) == 2
    assert re.search(said, capfd.readouterr().err)


def test_official_checkpoints_are_not_taken_for_a_forks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    YOLO("yolo11n.yaml").save("stock.pt")
    assert checkpoints.fork_layers(tmp_path / "stock.pt") == []
