"""What happens to a model with our layers on its way into a file and out of it."""

import copy
import sys
import types

import pytest
import torch
from support import gate_module, model_yaml, run
from torch import nn
from ultralytics import YOLO

from yolo_attn.integration.queries import checkpoints, layer_types

NAMES = ("yolo11n-ema.yaml", "yolo11n-gsop.yaml", "yolo11n-pmfs.yaml")


def output(net, x):
    with torch.no_grad():
        return net(x)[0]


def trained(name):
    """A model whose norms have seen data, with the rounding of a file, in eval mode."""
    model = YOLO(name)
    net = model.model.train()
    with torch.no_grad():
        for _ in range(3):
            net(torch.rand(2, 3, 64, 64))
    net.half().float().eval()
    return model


@pytest.fixture(scope="module")
def models():
    torch.manual_seed(0)
    return {name: trained(name) for name in NAMES}


@pytest.fixture(scope="module")
def image():
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def saved(models, image, tmp_path_factory):
    """A folder with each model's file, the image and each model's output."""
    folder = tmp_path_factory.mktemp("saved")
    torch.save(image, folder / "image")
    for name, model in models.items():
        torch.save(output(model.model, image), folder / f"{name}.output")
        model.save(folder / f"{name}.pt")
    return folder


LOAD = f"""
    import torch
    from ultralytics import YOLO
    for name in {NAMES}:
        net = YOLO(f"{{name}}.pt").model.float().eval()
        block = next(m for m in net.modules() if hasattr(m, "yolo_attn_layer"))
        assert {{m.inplace for m in net.modules() if hasattr(m, "inplace")}} <= {{True}}
        with torch.no_grad():
            found, wanted = net(torch.load("image"))[0], torch.load(f"{{name}}.output")
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
        print(block.yolo_attn_layer, type(block).__module__)
"""
LOADED = "EMA yolo_attn.blocks.ema\nGSoP yolo_attn.blocks.gsop\nPMFS yolo_attn.blocks.pmfs\n"


def test_restricted_loading_in_a_fresh_process(saved):
    """Loading without the restriction: ``test_yolo_workflow.py``."""
    assert run(LOAD, saved, ULTRALYTICS_SAFE_LOAD="1") == LOADED
    error = run(LOAD, saved, fails=True, ULTRALYTICS_SAFE_LOAD="1", YOLO_ATTN_AUTOLOAD="0")
    assert "references types outside the supported Ultralytics checkpoint format" in error


@pytest.mark.parametrize("name", NAMES)
def test_deepcopy_fuse_and_channels_last(models, image, name):
    net = models[name].model
    wanted = output(net, image)
    copied = copy.deepcopy(net)
    torch.testing.assert_close(output(copied, image), wanted, rtol=0, atol=0)
    last = image.to(memory_format=torch.channels_last)
    torch.testing.assert_close(output(copied.to(memory_format=torch.channels_last), last), wanted, rtol=1e-4, atol=1e-4)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in copied.fuse(verbose=False).model[0].modules())
    torch.testing.assert_close(output(copied, image), wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(output(net, image), wanted, rtol=0, atol=0)  # the copy was one


@pytest.mark.export
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit.*deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit.*deprecated:FutureWarning")
@pytest.mark.parametrize("name", NAMES)
def test_torchscript_equals_eager(saved, tmp_path, image, name):
    file = tmp_path / f"{name}.pt"
    file.write_bytes((saved / f"{name}.pt").read_bytes())
    exported = YOLO(file).export(format="torchscript", imgsz=64, device="cpu")
    wanted = output(YOLO(file).model.float().eval(), image[:1])
    found = torch.jit.load(exported)(image[:1])
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


# Layers that are not there any more

SAVE = """
    import sys
    sys.path.insert(0, "layers")
    import my_layers
    from ultralytics import YOLO
    YOLO("yolo11n-own.yaml").save("own.pt")

    import torch
    from yolo_attn import register
    @register("Here", paper="")
    class Here(torch.nn.Identity):
        def __init__(self, channels):
            super().__init__()
    YOLO("yolo11n-here.yaml").save("here.pt")
"""
OPEN = """
    import importlib, pathlib
    from ultralytics import YOLO

    def attempt(name):
        try:
            YOLO(name)
        except RuntimeError as error:
            print(f"{type(error).__name__}: {error}")

    attempt("own.pt")
    pathlib.Path("my_layers.py").write_text("")
    importlib.invalidate_caches()
    attempt("own.pt")
    import my_layers
    attempt("own.pt")
    attempt("here.pt")
    import torch
    class Here(torch.nn.Identity): ...
    attempt("here.pt")
"""


def test_a_layer_that_is_not_installed(tmp_path):
    (tmp_path / "layers").mkdir()
    gate_module(tmp_path / "layers")
    model_yaml(tmp_path, "EMA, []", "Gate, [{reduction: 8}]")
    model_yaml(tmp_path, "EMA, []", "Here, []", name="yolo11-here.yaml")
    run(SAVE, tmp_path)
    nobody = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "YOLO_AUTOINSTALL": "1", "YOLO_OFFLINE": "0", "YOLO_VERBOSE": "1"}
    lines = [line for line in run(OPEN, tmp_path, **nobody).splitlines() if "Settings" not in line]
    assert len(lines) == 4  # and nothing about an installation; with the class there, it loads
    values = [("own.pt", "my_layers.Gate", "PYTHONPATH")] * 3 + [("here.pt", "__main__.Here", "script")]
    for line, named in zip(lines, values, strict=True):
        assert line.startswith("CheckpointError: ")
        assert all(value in line for value in named)


def save_gone(monkeypatch, file, *content):
    """Save the content and a class whose package does not exist afterwards."""
    module = types.ModuleType("gone_package")
    module.Gone = type("Gone", (nn.Module,), {"__module__": "gone_package", "__qualname__": "Gone"})
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "gone_package", module)
        torch.save([*content, module.Gone], file)


def test_every_missing_class_is_found_wherever_it_stands_in_the_file(tmp_path, monkeypatch):
    for before in range(80, 120):  # pickle numbers what it saw; one of them is the letter of the next instruction
        seen = [f"{k} gone_package\nGone" for k in range(before)]
        save_gone(monkeypatch, tmp_path / "x.pt", seen, "yolo_attn_layer")
        assert checkpoints.missing_layers(tmp_path / "x.pt") == ["gone_package.Gone"]
    torch.save([["cgone_package\nGone\n"], "yolo_attn_layer", nn.Identity], tmp_path / "x.pt")
    assert checkpoints.missing_layers(tmp_path / "x.pt") == []


def test_stock_checkpoints_are_ultralytics_business(tmp_path, monkeypatch):
    model = YOLO("yolo11n.yaml")
    model.save(tmp_path / "stock.pt")
    assert not checkpoints.holds_our_layers(tmp_path / "stock.pt")
    again = YOLO(tmp_path / "stock.pt").model
    assert not layer_types.has_ours(again)
    save_gone(monkeypatch, tmp_path / "foreign.pt")
    (tmp_path / "broken.pt").write_bytes(b"no checkpoint")
    for name in "foreign.pt", "broken.pt", "nowhere.pt":
        assert checkpoints.missing_layers(tmp_path / name) == []
        assert not checkpoints.holds_our_layers(tmp_path / name)


def test_has_ours(models):
    assert all(layer_types.has_ours(model.model) for model in models.values())
    assert not layer_types.has_ours(None)
    assert not layer_types.has_ours("yolo11n-ema.yaml")
    assert layer_types.spec_of(type(models[NAMES[0]].model.model[17])).name == "EMA"
    assert layer_types.spec_of(nn.Identity) is None
