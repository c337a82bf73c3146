"""Rows of a model YAML become the right layers."""

import copy
import sys
import threading

import pytest
import torch
from sample_layers import Deep, Plain, parse, tiny
from support import ROOT, logged, model_yaml
from torch import nn
from ultralytics import YOLO
from ultralytics.nn import tasks
from ultralytics.utils import YAML

import yolo_attn
from yolo_attn.errors import LayerError
from yolo_attn.integration.patches.parse_model import with_branch

SHIELDED = ["n", "n_", "scale", "act", "d", "ch", "m", "legacy", "depth", "max", "3x3", "1+", ""]


@pytest.mark.parametrize(
    ("row", "expected", "out"),
    [
        ([-1, 1, "Plain", [{"reduction": 8}]], {"channels": 32, "reduction": 8, "mode": "max"}, 32),
        ([-1, 1, "Plain", [{"eps": "1E-4", "mode": None}]], {"eps": 1e-4, "mode": None}, 32),
        *(([f, 1, "Plain", []], {"channels": c}, c) for f, c in {-1: 32, -2: 16, 0: 16, 1: 32}.items()),
        ([-1, 1, "Switched", [{"reduction": 4}]], {"reduction": 4, "applied": True}, 32),
        ([-1, 1, "ByPlace", ["avg", 0.5, {"reduction": 8}]], {"mode": "avg", "eps": 0.5, "reduction": 8}, 32),
        ([-1, 1, "ByPlace", ["None", "1e-5"]], {"mode": None, "eps": 1e-5}, 32),
        *(([-1, 1, "ByPlace", [text]], {"mode": text}, 32) for text in SHIELDED),
        *(([-1, 1, "ByPlace", [{"mode": text}]], {"mode": text}, 32) for text in SHIELDED),
        ([-1, 4, "Deep", [64, 1]], {"n": 2, "kernel": 1}, 16),  # n stands before kernel in the constructor
        ([[0, 1], 1, "Lists", []], {"channels": [16, 32]}, 32),
        ([[1, 0], 1, "Lists", []], {"channels": [32, 16]}, 16),
        ([[-1], 1, "Lists", []], {"channels": [32]}, 32),
        ([[0, 1], 1, "First", []], {"channels": [16, 32]}, 16),
        ([[-1, 1, 0], 1, "Third", []], {"channels": [32, 32, 16]}, 16),
        ([[0, 1], 1, "Gather", [64]], {"channels": [16, 32]}, 16),
    ],
    ids=str,
)
def test_a_row(known, row, expected, out):
    model = parse(tiny(row))
    assert (type(model[2]).__name__, model[2].i, model[2].f) == (row[2], 2, row[0])
    assert {name: getattr(model[2], name) for name in expected} == expected
    assert model[3].conv.in_channels == out
    assert model[2].type == f"sample_layers.{row[2]}"


def test_as_the_first_layer(known):
    d = tiny([-1, 1, "Conv", [64, 1]])
    d["backbone"][0] = [-1, 1, "Plain", []]
    model = parse(d)
    assert (model[0].channels, model[1].conv.in_channels) == (3, 3)


def test_saved_layers(known):
    assert tasks.parse_model(tiny([0, 1, "Plain", []]), ch=3, verbose=False)[1] == [0, 1, 3]


@pytest.mark.parametrize(("scale", "inputs", "out"), [("n", 32, 48), ("l", 128, 192)])
def test_output_as_argument_is_scaled_by_the_width(known, scale, inputs, out):
    model = parse(tiny([-1, 1, "Wide", [192, {"kernel": 3}]], scale))
    conv = model[2].conv
    assert (conv.in_channels, conv.out_channels, conv.kernel_size) == (inputs, out, (3, 3))
    assert model[3].conv.in_channels == out
    for wanted in 7, 100, 130, 1000, 2048:
        ours, theirs = (parse(tiny([-1, 1, layer, [wanted]], scale))[2].conv for layer in ("Wide", "Conv"))
        assert ours.out_channels == theirs.out_channels


@pytest.mark.parametrize(("level", "channels"), [([], 24), ([1], 40), ([{"level": -1}], 40)])
def test_one_map_of_a_pyramid(known, level, channels):
    d = tiny([[0, 1], 1, "Pyramid", [{"more": 8}]])
    d["head"] = [[-1, 1, "Level", level], [-1, 1, "Conv", [64, 1]], [[-1, 1], 1, "Detect", ["nc"]]]
    model = parse(d)
    assert (model[3].channels, model[4].conv.in_channels) == ([24, 40], channels)
    built = tasks.DetectionModel(d, verbose=False).eval()
    assert built(torch.zeros(1, 3, 32, 32))[0].shape[1] == 4 + 3


def test_output_without_scales_uses_width_multiple(known):
    d = tiny([-1, 1, "Wide", [192]], scales=None, width_multiple=0.5)
    assert parse(d)[2].conv.out_channels == 96


@pytest.mark.parametrize(("scale", "count"), [("n", 2), ("l", 4)])
def test_repeats(known, scale, count):
    stacked = parse(tiny([-1, 4, "Plain", [{"reduction": 8}]], scale))[2]
    assert type(stacked) is nn.Sequential
    assert [(type(p), p.reduction) for p in stacked] == [(Plain, 8)] * count
    assert len({id(p) for p in stacked}) == count
    deep = parse(tiny([-1, 4, "Deep", [64]], scale))[2]
    assert (type(deep), deep.n, len(deep.convs)) == (Deep, count, count)
    assert type(parse(tiny([-1, 1, "Once", []], scale))[2]).__name__ == "Once"
    assert (type(parse(tiny([-1, 2, "Plain", []], scale))[2]) is Plain) == (scale == "n")  # 2 * 0.5 is one layer


def test_tuples_are_lists(known):
    assert parse(tiny(((0, 1), 1, "Lists", ())))[2].channels == [16, 32]


def test_the_model_yaml_is_left_as_it_was(known):
    for row in [-1, 4, "ByPlace", ["None", {"reduction": 8}]], [-1, 4, "Deep", [64]]:
        d = tiny(copy.deepcopy(row))
        first, again = (str(tasks.parse_model(d, ch=3, verbose=False)[0][2]) for _ in range(2))
        assert (d["backbone"][2], first) == (row, again)


# What is printed


def printed(function):
    with logged() as messages:
        function()
    return [line for message in messages for line in message.splitlines()]


def test_printed_table(known):
    d = tiny([[0, 1], 1, "Gather", [64]])
    d["head"][0:0] = [[-1, 4, "Plain", [{"reduction": 8, "mode": "n"}]], [-1, 4, "ByPlace", ["d", 2]]]
    d["head"][-1][0] = [1, 5]
    lines = [line.split() for line in printed(lambda: tasks.parse_model(d, ch=3, verbose=True))]
    rows = {line[0]: " ".join(line[1:]) for line in lines if line and line[0].isdigit()}
    assert rows["2"] == "[0, 1] 1 784 sample_layers.Gather [[16, 32], 16]"
    assert rows["3"] == "-1 2 544 sample_layers.Plain [16, {'reduction': 8, 'mode': 'n'}]"
    assert rows["4"] == "-1 2 544 sample_layers.ByPlace [16, {'mode': 'd', 'eps': 2}]"
    assert rows["1"].startswith("-1 1 4672 ultralytics.nn.modules.conv.Conv")
    assert len(rows) == 7


def test_model_info(known, tmp_path):
    model_yaml(tmp_path, "EMA, []", "Plain, []")
    model = YOLO(str(tmp_path / "yolo11n-own.yaml"))
    layer_count, parameters, _, flops = model.info(detailed=False)
    stock_count, stock_parameters, _, stock_flops = YOLO("yolo11n.yaml").info()
    plain = sum(p.numel() for m in model.modules() if isinstance(m, Plain) for p in m.parameters())
    assert plain == sum(c * c + c for c in (64, 128, 256))
    assert parameters == stock_parameters + plain
    assert layer_count == stock_count + 3  # convolutions: only modules without parts are counted
    wanted = sum(2 * c * c * (640 // s) ** 2 for c, s in ((64, 8), (128, 16), (256, 32))) / 1e9
    assert flops - stock_flops == pytest.approx(wanted, rel=0.05)
    table = printed(lambda: tasks.model_info(model.model, detailed=True, imgsz=32))
    assert any("model.17.conv.weight" in line for line in table)


# The rest of the model


def test_a_layer_in_the_place_of_c3k2_keeps_detect_s_size(known, tmp_path):
    base = YAML.load(next((ROOT / "model_yamls").glob("yolo11-ema.yaml")))
    sizes = {}
    for name in "C3k2", "Csp", "Deep":
        d = copy.deepcopy({**base, "scale": "n"})
        for row in d["backbone"] + d["head"]:
            if row[2] == "C3k2":
                row[2:] = [name, row[3] if name == "C3k2" else row[3][:1]]
        detect = parse(d)[-1]
        assert type(detect).__name__ == "Detect"
        sizes[name] = sum(p.numel() for p in detect.parameters())
    assert sizes == {"C3k2": 464_912, "Csp": 464_912, "Deep": 897_664}


def test_the_default_activation_is_restored(known):
    before = tasks.Conv.default_act
    model = parse(tiny([-1, 1, "Plain", []], activation="torch.nn.ReLU()"))
    assert isinstance(model[0].act, nn.ReLU)
    assert tasks.Conv.default_act is before
    with pytest.raises(LayerError, match="reduction=0"):
        parse(tiny([-1, 1, "Plain", [{"reduction": 0}]], activation="torch.nn.ReLU()"))
    assert tasks.Conv.default_act is before


def test_a_model_without_our_layers_is_built_by_the_original(monkeypatch):
    wrapper = tasks.parse_model
    original = wrapper.__wrapped__
    assert original.__code__.co_filename == tasks.__file__
    names, calls = set(vars(tasks)), []

    def watch(code, *_):
        if code.co_name == "parse_model":
            calls.append(code)

    sys.setprofile(lambda frame, event, _: watch(frame.f_code) if event == "call" else None)
    try:
        wrapper(tiny([-1, 1, "Conv", [64]]), ch=3, verbose=False)
    finally:
        sys.setprofile(None)
    assert calls == [original.__code__]
    assert set(vars(tasks)) == names


def test_two_threads(known):
    built, errors = {"Wide": [], "Deep": []}, []

    def work(name):
        try:
            for _ in range(20):
                built[name].append(str(parse(tiny([-1, 2, name, [64]], "n"))))
        except Exception as error:
            errors.append(error)

    yolo_attn.uninstall()  # so that both have to compile and to put the names in
    yolo_attn.install()
    with_branch.cache_clear()
    threads = [threading.Thread(target=work, args=(name,)) for name in built]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for name, texts in built.items():
        assert len(texts) == 20
        assert set(texts) == {str(parse(tiny([-1, 2, name, [64]], "n")))}
