"""Putting the layers into Ultralytics and taking them out again."""

import inspect
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from sample_layers import Plain, Wide, parse, tiny
from support import ROOT
from torch import nn
from ultralytics.nn import tasks

import yolo_attn
from yolo_attn.errors import ArgumentError, LayerError
from yolo_attn.integration.patches import generate_ddp_file, import_hook
from yolo_attn.integration.queries import layer_types

pytestmark = pytest.mark.fast


def wrapped_names():
    """Every attribute of a loaded module of Ultralytics, and of the wrapped classes, that is one of our wrappers."""
    modules = {k: m for k, m in sys.modules.items() if k.partition(".")[0] == "ultralytics"}
    classes = {f"{k}.{n}": c for k, m in modules.items() for n, c in vars(m).items() if inspect.isclass(c)}
    return {
        f"{where}.{name}": value
        for where, owner in {**modules, **classes}.items()
        for name, value in list(vars(owner).items())
        if inspect.isfunction(value) and not name.startswith("_yolo_attn") and is_ours(value)
    }


def is_ours(function):
    return function.__code__.co_filename.startswith(str(ROOT / "yolo_attn"))


def test_install_twice_and_uninstall(known):
    import ultralytics.engine.trainer
    import ultralytics.models.yolo.detect
    import ultralytics.nn

    yolo_attn.uninstall()  # other tests may have built models; their classes are in the namespace then
    yolo_attn.install()
    before = wrapped_names()
    assert {f"ultralytics.nn.{k}" for k in ("tasks.parse_model", "parse_model", "tasks.torch_safe_load")} <= set(before)
    assert {"ultralytics.utils.checks.check_file", "ultralytics.nn.tasks.check_file"} <= set(before)
    assert "ultralytics.models.yolo.detect.train.DetectionTrainer.build_dataset" in before
    yolo_attn.install()
    assert wrapped_names() == before
    parse(tiny([-1, 1, "Plain", []]))
    assert tasks.Plain is Plain
    original = tasks.parse_model.__wrapped__
    try:
        yolo_attn.uninstall()
        assert wrapped_names() == {}
        assert tasks.parse_model is ultralytics.nn.parse_model is original
        assert not [name for name in vars(tasks) if name == "Plain" or name.startswith("_yolo_attn")]
        assert import_hook.Finder not in sys.meta_path
        with pytest.raises(KeyError, match="Plain"):
            parse(tiny([-1, 1, "Plain", []]))
        yolo_attn.uninstall()
        assert tasks.parse_model is original
    finally:
        yolo_attn.install()
    assert wrapped_names().keys() == before.keys()
    assert tasks.parse_model.__wrapped__ is original
    assert type(parse(tiny([-1, 1, "Plain", []]))[2]) is Plain


def test_a_name_given_to_another_class(known):
    parse(tiny([-1, 1, "Plain", []]))
    del known.BLOCKS["Plain"]
    with pytest.raises(LayerError, match=r"\(Plain\): unknown"):
        parse(tiny([-1, 1, "Plain", []]))
    yolo_attn.register("Plain")(Wide)
    del known.BLOCKS["Plain"]
    yolo_attn.register("Plain")(known.BLOCKS["Once"].cls)
    assert type(parse(tiny([-1, 1, "Plain", []]))[2]) is known.BLOCKS["Once"].cls


def test_a_name_that_ultralytics_gets_later(known, monkeypatch):
    monkeypatch.setattr(tasks, "Plain", nn.Identity, raising=False)
    monkeypatch.setattr(layer_types, "INJECTED", set())
    with pytest.raises(LayerError, match=r"layer 2 \(Plain\): .* both torch\..* and sample_layers\.Plain;"):
        parse(tiny([-1, 1, "Plain", []]))


@pytest.mark.parametrize("built", [True, False])
def test_a_layer_of_the_script_is_refused_before_several_processes_start(built, own_layers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = type("Here", (nn.Identity,), {"__module__": "__main__", "__init__": lambda self, channels: None})
    own_layers.register("Here")(here)
    text = (ROOT / "model_yamls" / "yolo11-ema.yaml").read_text(encoding="utf-8").replace("EMA, []", "Here, []")
    (tmp_path / "yolo11-here.yaml").write_text(text)
    model = nn.Sequential(nn.Identity()) if built else "yolo11n-here.yaml"
    if built:
        model[0].__class__ = here
    called = []
    with pytest.raises(LayerError, match=r"the layer Here is defined in the script .*in a module"):
        generate_ddp_file.replacement(called.append, SimpleNamespace(model=model))
    assert not called


def test_no_embedding_of_a_list_of_maps(tmp_path, monkeypatch):
    from ultralytics import YOLO

    monkeypatch.chdir(tmp_path)
    yolo_attn.install()
    model = YOLO("yolo11n-afpn.yaml")
    index = next(i for i, m in enumerate(model.model.model) if type(m).__name__ == "AttentionFPN")
    image = np.zeros((64, 64, 3), np.uint8)
    for given in ([index], [2, index], [index - len(model.model.model)]):
        with pytest.raises(ArgumentError, match=r"layer -?\d+ \(AttentionFPN\) outputs several maps.*PyramidLevel"):
            model.predict(image, embed=given, imgsz=64, verbose=False)
    assert model.predict(image, embed=[index + 1], imgsz=64, verbose=False)[0].ndim == 1
