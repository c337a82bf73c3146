"""``ULTRALYTICS_SAFE_LOAD=1`` rebuilds registered blocks with all their parts, and nothing else."""

import inspect
import os
import sys
import textwrap
import types

import pytest
import torch
from export_cases import CHANNELS
from support import run
from torch import nn
from ultralytics.nn import tasks

import yolo_attn
from yolo_attn.registry import BLOCKS, SHIPPED, BlockSpec

KNOWN = "safe_only" in inspect.signature(tasks.torch_safe_load).parameters
SCANS = hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint")
pytestmark = [
    pytest.mark.fast,
    pytest.mark.skipif(not KNOWN, reason="this Ultralytics has no restricted loading"),
    pytest.mark.skipif(not SCANS, reason="restricted loading needs torch 2.6"),
]
RESIDUAL = [name for name in SHIPPED if "residual" in BLOCKS[name].options()]


def restricted(file):
    yolo_attn.install()
    return tasks.torch_safe_load(str(file), safe_only=True)[0]["model"]


def saved(content, folder):
    torch.save({"model": content, "train_args": {}}, folder / "x.pt")
    return folder / "x.pt"


@pytest.mark.parametrize("options", [{}, {"residual": True}], ids=["default", "residual"])
@pytest.mark.parametrize("name", SHIPPED)
def test_every_block(name, options, tmp_path):
    if options and name not in RESIDUAL:
        assert name == "PyramidLevel"
        return
    spec = BLOCKS[name]
    arguments = (CHANNELS,) if spec.output == "argument" else ()
    options = {**options, **({"factor": 4} if name == "EMA" else {})}
    block = spec.build(CHANNELS if spec.inputs == "one" else [CHANNELS, CHANNELS], *arguments, **options)
    again = restricted(saved(nn.Sequential(block), tmp_path))[0]
    assert type(again) is spec.cls
    assert {type(m) for m in again.modules()} == {type(m) for m in block.modules()}


BLOCK = """
    import torch
    from torch import nn
    import yolo_attn
    from . import deeper
    from .parts import Scale

    @yolo_attn.register("AcmeScale")
    class AcmeScale(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.scale, self.shift = Scale(channels), deeper.Shift(channels)

        def forward(self, x):
            return self.shift(self.scale(x))
"""
PART = """
    import torch
    from torch import nn

    class {name}(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(channels, 1, 1))

        def forward(self, x):
            return x * self.weight
"""
SESSION = """
    import torch, yolo_attn
    yolo_attn.install()
    from ultralytics.nn import tasks
    from acme import blocks, other
    for layer in (blocks.AcmeScale(4), other.Unrelated(4)):
        torch.save({"model": torch.nn.Sequential(layer), "train_args": {}}, "x.pt")
        try:
            tasks.torch_safe_load("x.pt", safe_only=True)
            print("loaded")
        except Exception as error:
            print("outside the supported" in str(error))
"""


def test_parts_in_other_files_of_a_package(tmp_path):
    (tmp_path / "acme").mkdir()
    for file, text in {
        "__init__": "",
        "blocks": BLOCK,
        "parts": PART.format(name="Scale"),
        "deeper": PART.format(name="Shift"),
        "other": PART.format(name="Unrelated"),
    }.items():
        (tmp_path / "acme" / f"{file}.py").write_text(textwrap.dedent(text))
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    assert run(SESSION, tmp_path, PYTHONPATH=path).splitlines()[-2:] == ["loaded", "True"]


class Reducing:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Foreign(nn.Module):
    """A module class that no block uses."""


def foreign_package(monkeypatch):
    module = types.ModuleType("foreign_package")
    module.Layer = type("Layer", (nn.Module,), {"__module__": "foreign_package", "__qualname__": "Layer"})
    monkeypatch.setitem(sys.modules, "foreign_package", module)
    return module.Layer()


PLANTED = ["os.system", "exec", "our function", "our class", "a module", "a package", "__reduce__"]


@pytest.mark.parametrize("planted", PLANTED)
def test_nothing_else(planted, tmp_path, monkeypatch):
    trace = tmp_path / "trace"
    content = {
        "os.system": lambda: Reducing(os.system, f"touch {trace}"),
        "exec": lambda: Reducing(exec, f"open({str(trace)!r}, 'w')"),
        "our function": lambda: Reducing(yolo_attn.install),
        "our class": lambda: BlockSpec(name="EMA", cls=BLOCKS["EMA"].cls),
        "a module": Foreign,
        "a package": lambda: foreign_package(monkeypatch),
        "__reduce__": lambda: Reducing(Foreign),
    }[planted]()
    block = BLOCKS["EMA"].build(CHANNELS, factor=4)
    block.planted = content
    with pytest.raises(TypeError, match="types outside the supported"):
        restricted(saved(nn.Sequential(block), tmp_path))
    assert not trace.exists()
