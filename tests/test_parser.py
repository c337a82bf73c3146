"""Rows of a model YAML become the right layers, and wrong rows an error that names them."""

import copy
import importlib.util
import inspect
import logging
import re
import sys
import threading
from pathlib import Path

import pytest
import torch
import ultralytics
from support import ROOT, model_yaml
from torch import nn
from ultralytics import YOLO
from ultralytics.nn import tasks
from ultralytics.utils import LOGGER, YAML

import yolo_attn
from yolo_attn.errors import LayerError, UnsupportedUltralyticsError
from yolo_attn.integration import hook, layers, parser

PAPER = "https://arxiv.org/abs/0000.00000"


class Plain(nn.Module):
    """Reads one map, keeps the channels."""

    def __init__(self, channels, reduction=2, mode="max", eps=1e-3):
        super().__init__()
        if reduction < 1:
            raise ValueError(f"Plain: reduction={reduction} must be at least 1")
        self.channels, self.reduction, self.mode, self.eps = channels, reduction, mode, eps
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        return self.conv(x)


class Wide(nn.Module):
    """Puts out what the row says."""

    def __init__(self, channels, out, kernel=1):
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel)

    def forward(self, x):
        return self.conv(x)


class Deep(nn.Module):
    """Takes the repeat count; a class for the place of C3k2."""

    def __init__(self, channels, out, n=1, kernel=1):
        super().__init__()
        self.n, self.kernel = n, kernel
        self.convs = nn.Sequential(nn.Conv2d(channels, out, 1), *(nn.Conv2d(out, out, 1) for _ in range(n - 1)))

    def forward(self, x):
        return self.convs(x)


class Lists(nn.Module):
    """Reads a list of maps."""

    def __init__(self, channels, kernel=1):
        super().__init__()
        self.channels, self.kernel = channels, kernel
        self.conv = nn.Conv2d(channels[-1], channels[-1], kernel)

    def forward(self, maps):
        return self.conv(maps[-1])


class Gather(nn.Module):
    """Reads a list of maps, puts out what the row says."""

    def __init__(self, channels, out):
        super().__init__()
        self.channels = channels
        self.conv = nn.Conv2d(sum(channels), out, 1)

    def forward(self, maps):
        return self.conv(torch.cat(maps, 1))


@pytest.fixture
def known(own_layers):
    add = own_layers.register
    add("Plain", paper=PAPER)(Plain)
    add("ByPlace", paper=PAPER, positional=("mode", "eps"))(type("ByPlace", (Plain,), {}))
    add("Once", paper=PAPER, repeats="never")(type("Once", (Plain,), {}))
    add("Wide", paper=PAPER, output="argument")(Wide)
    add("Deep", paper=PAPER, output="argument", repeats="argument", positional=("kernel",))(Deep)
    add("Csp", paper=PAPER, output="argument", repeats="argument", replaces_csp=True)(type("Csp", (Deep,), {}))
    add("Lists", paper=PAPER, inputs="list")(Lists)
    add("First", paper=PAPER, inputs="list", output=0)(type("First", (Lists,), {}))
    add("Third", paper=PAPER, inputs="list", output=2)(type("Third", (Lists,), {}))
    add("Gather", paper=PAPER, inputs="list", output="argument")(Gather)
    return own_layers


def tiny(row, scale="n", **more):
    """A model of 5 layers with ``row`` as layer 2; layers 0 and 1 put out 16 and 32 channels at n, 64 and 128 at l."""
    return {
        "nc": 3,
        "scales": {"n": [0.5, 0.25, 1024], "l": [1.0, 1.0, 512]},
        "scale": scale,
        "yaml_file": f"yolo11{scale}-tiny.yaml",
        "backbone": [[-1, 1, "Conv", [64, 3, 2]], [-1, 1, "Conv", [128, 3, 1]], row],
        "head": [[-1, 1, "Conv", [64, 1]], [[1, 3], 1, "Detect", ["nc"]]],
        **more,
    }


def parse(d):
    return tasks.parse_model(copy.deepcopy(d), ch=3, verbose=False)[0]


# What a row becomes


def test_one_map(known):
    layer = parse(tiny([-1, 1, "Plain", [{"reduction": 8}]]))[2]
    assert type(layer) is Plain
    assert (layer.channels, layer.reduction, layer.mode) == (32, 8, "max")
    assert (layer.i, layer.f, layer.type) == (2, -1, "test_parser.Plain")


@pytest.mark.parametrize(("f", "channels"), [(-1, 32), (-2, 16), (0, 16), (1, 32)])
def test_from(known, f, channels):
    model = parse(tiny([f, 1, "Plain", []]))
    assert (model[2].f, model[2].channels, model[3].conv.in_channels) == (f, channels, channels)


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


@pytest.mark.parametrize("wanted", [7, 100, 130, 1000, 2048])
@pytest.mark.parametrize("scale", ["n", "l"])
def test_output_channels_are_those_of_a_conv(known, wanted, scale):
    ours, theirs = (parse(tiny([-1, 1, layer, [wanted]], scale))[2].conv.out_channels for layer in ("Wide", "Conv"))
    assert ours == theirs


def test_output_without_scales_uses_width_multiple(known):
    d = tiny([-1, 1, "Wide", [192]], scales=None, width_multiple=0.5)
    assert parse(d)[2].conv.out_channels == 96


@pytest.mark.parametrize(
    ("row", "cls", "channels", "out"),
    [
        ([[0, 1], 1, "Lists", []], "Lists", [16, 32], 32),
        ([[1, 0], 1, "Lists", []], "Lists", [32, 16], 16),
        ([[-1], 1, "Lists", []], "Lists", [32], 32),
        ([[0, 1], 1, "First", []], "First", [16, 32], 16),
        ([[-1, 1, 0], 1, "Third", []], "Third", [32, 32, 16], 16),
        ([[0, 1], 1, "Gather", [64]], "Gather", [16, 32], 16),
    ],
)
def test_lists(known, row, cls, channels, out):
    model = parse(tiny(row))
    assert (type(model[2]).__name__, model[2].channels, model[2].f) == (cls, channels, row[0])
    assert model[3].conv.in_channels == out


@pytest.mark.parametrize(("scale", "count"), [("n", 2), ("l", 4)])
def test_repeats(known, scale, count):
    stacked = parse(tiny([-1, 4, "Plain", [{"reduction": 8}]], scale))[2]
    assert type(stacked) is nn.Sequential
    assert [(type(p), p.reduction) for p in stacked] == [(Plain, 8)] * count
    assert len({id(p) for p in stacked}) == count
    deep = parse(tiny([-1, 4, "Deep", [64]], scale))[2]
    assert (type(deep), deep.n, len(deep.convs)) == (Deep, count, count)
    assert type(parse(tiny([-1, 1, "Once", []], scale))[2]).__name__ == "Once"


def test_an_even_smaller_count_is_one_layer(known):
    assert type(parse(tiny([-1, 2, "Plain", []]))[2]) is Plain  # 2 * 0.5


def test_options_by_position_go_to_their_names(known):
    layer = parse(tiny([-1, 1, "ByPlace", ["avg", 0.5, {"reduction": 8}]]))[2]
    assert (layer.channels, layer.mode, layer.eps, layer.reduction) == (32, "avg", 0.5, 8)
    deep = parse(tiny([-1, 4, "Deep", [64, 1]]))[2]  # n stands before kernel in the constructor
    assert (deep.n, deep.kernel, deep.convs[0].out_channels) == (2, 1, 16)


@pytest.mark.parametrize("text", ["n", "n_", "scale", "act", "d", "ch", "m", "legacy", "depth", "max", "3x3", "1+", ""])
@pytest.mark.parametrize("positional", [True, False])
def test_strings_stay_what_they_are(known, text, positional):
    row = [-1, 1, "ByPlace", [text] if positional else [{"mode": text}]]
    assert parse(tiny(row))[2].mode == text


def test_none_and_numbers_that_yaml_reads_as_text(known):
    layer = parse(tiny([-1, 1, "ByPlace", ["None", "1e-5"]]))[2]
    assert (layer.mode, layer.eps) == (None, 1e-5)
    assert parse(tiny([-1, 1, "Plain", [{"eps": "1E-4", "mode": None}]]))[2].eps == 1e-4


def test_tuples_are_lists(known):
    assert parse(tiny(((0, 1), 1, "Lists", ())))[2].channels == [16, 32]


def test_the_model_yaml_is_left_as_it_was(known):
    d = tiny([-1, 4, "ByPlace", ["None", {"reduction": 8}]])
    before = copy.deepcopy(d)
    tasks.parse_model(d, ch=3, verbose=False)
    assert d["backbone"][2] == before["backbone"][2]


def test_parse_twice(known):
    d = tiny([-1, 4, "Deep", [64]])
    assert str(parse(d)) == str(parse(d))


@pytest.mark.parametrize(
    "name", [f"{base}{{}}-{what}.yaml" for base in ("yolo11", "yolo26", "yolov8") for what in ("ema", "gsop", "pmfs")]
)
def test_our_model_yamls_at_every_scale(name):
    attention = {"ema": "EMA", "gsop": "GSoP", "pmfs": "PMFS"}[Path(name).stem.partition("-")[2]]
    for scale in "nsmlx":
        d = tasks.yaml_model_load(name.format(scale))
        assert d["scale"] == scale
        with torch.device("meta"):
            model = parse(d)
        plain = [m for m in d["backbone"] + d["head"] if m[2] != attention]
        found = [m for m in model if type(m).__name__ == attention]
        assert found
        assert len(plain) + len(found) == len(model)
        theirs = tasks.yaml_model_load(re.sub(r"(-\w+)?\.yaml", ".yaml", name.format(scale)))
        rows = [row[1:] for row in theirs["backbone"] + theirs["head"]]
        assert [row[1:] for row in plain] == rows  # the base model with rows added, nothing else changed


# What is printed


def printed(function):
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.extend(record.getMessage().splitlines())
    level = LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    try:
        function()
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)
    return lines


def test_printed_table(known):
    d = tiny([[0, 1], 1, "Gather", [64]])
    d["head"][0:0] = [[-1, 4, "Plain", [{"reduction": 8, "mode": "n"}]], [-1, 4, "ByPlace", ["d", 2]]]
    d["head"][-1][0] = [1, 5]
    lines = [line.split() for line in printed(lambda: tasks.parse_model(d, ch=3, verbose=True))]
    rows = {line[0]: " ".join(line[1:]) for line in lines if line and line[0].isdigit()}
    assert rows["2"] == "[0, 1] 1 784 test_parser.Gather [[16, 32], 16]"
    assert rows["3"] == "-1 2 544 test_parser.Plain [16, {'reduction': 8, 'mode': 'n'}]"
    assert rows["4"] == "-1 2 544 test_parser.ByPlace [16, {'mode': 'd', 'eps': 2}]"
    assert rows["1"].startswith("-1 1 4672 ultralytics.nn.modules.conv.Conv")
    assert len(rows) == 7


def test_model_info(known, tmp_path):
    model_yaml(tmp_path, "EMA, [{factor: 32}]", "Plain, []")
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
    assert calls == [wrapper.__code__, original.__code__]
    assert set(vars(tasks)) == names


def test_two_threads(known):
    built, errors = {"Wide": [], "Deep": []}, []

    def work(name):
        try:
            for _ in range(20):
                built[name].append(str(parse(tiny([-1, 2, name, [64]], "n"))))
        except Exception as error:
            errors.append(error)

    yolo_attn.unregister()  # so that both have to compile and to put the names in
    yolo_attn.register()
    threads = [threading.Thread(target=work, args=(name,)) for name in built]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for name, texts in built.items():
        assert len(texts) == 20
        assert set(texts) == {str(parse(tiny([-1, 2, name, [64]], "n")))}


# In and out


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
    import ultralytics.nn

    yolo_attn.register()
    before = wrapped_names()
    assert {f"ultralytics.nn.{k}" for k in ("tasks.parse_model", "parse_model", "tasks.torch_safe_load")} <= set(before)
    assert {"ultralytics.utils.checks.check_file", "ultralytics.nn.tasks.check_file"} <= set(before)
    assert "ultralytics.models.yolo.detect.train.DetectionTrainer.build_dataset" in before
    yolo_attn.register()
    assert wrapped_names() == before
    parse(tiny([-1, 1, "Plain", []]))
    assert tasks.Plain is Plain
    original = tasks.parse_model.__wrapped__
    try:
        yolo_attn.unregister()
        assert wrapped_names() == {}
        assert tasks.parse_model is ultralytics.nn.parse_model is original
        assert not [name for name in vars(tasks) if name == "Plain" or name.startswith("_yolo_attn")]
        assert hook.Finder not in sys.meta_path
        with pytest.raises(KeyError, match="Plain"):
            parse(tiny([-1, 1, "Plain", []]))
        yolo_attn.unregister()
        assert tasks.parse_model is original
    finally:
        yolo_attn.register()
    assert wrapped_names().keys() == before.keys()
    assert tasks.parse_model.__wrapped__ is original
    assert type(parse(tiny([-1, 1, "Plain", []]))[2]) is Plain


def test_a_name_given_to_another_class(known):
    parse(tiny([-1, 1, "Plain", []]))
    known.unregister("Plain")
    with pytest.raises(LayerError, match="unknown layer 'Plain'"):
        parse(tiny([-1, 1, "Plain", []]))
    yolo_attn.register("Plain", paper=PAPER)(Wide)
    known.unregister("Plain")
    yolo_attn.register("Plain", paper=PAPER)(known.get("Once").cls)
    assert type(parse(tiny([-1, 1, "Plain", []]))[2]) is known.get("Once").cls


def test_a_name_that_ultralytics_gets_later(known, monkeypatch):
    monkeypatch.setattr(tasks, "Plain", nn.Identity, raising=False)
    monkeypatch.setattr(layers, "INJECTED", set())
    with pytest.raises(LayerError, match=r"layer 2 \(Plain\): Plain is both torch\..* and test_parser\.Plain;"):
        parse(tiny([-1, 1, "Plain", []]))


# Rows that are wrong


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ([-1, 1, "Plian", []], r"\(Plian\): unknown layer 'Plian'\. Did you mean 'Plain'\? Layers of yolo-attn: .*"),
        ([-1, 1, "nn.Idenity", []], r"unknown layer 'nn\.Idenity'\. Did you mean 'nn\.Identity'\?"),
        (
            [-1, 1, "Plain", [64]],
            r"arguments \[64\]: a channel count is not typed .*\(32 channels\).*\{reduction: 2",
        ),
        ([-1, 1, "Plain", [32, 8]], r"arguments \[32, 8\]: a channel count is not typed here"),
        ([-1, 1, "Plain", [{"channels": 64}]], r"option 'channels' is filled in .*\[32\].*Plain takes reduction"),
        ([-1, 1, "Wide", [64, {"out_channels": 64}]], "option 'out_channels' is filled in"),
        (
            [[0, 1], 1, "Lists", [[16, 32]]],
            r"arguments \[\[16, 32\]\]: a channel count .*\(\[16, 32\] channels\)",
        ),
        ([[0, 1], 1, "Gather", [64, 8]], r"arguments \[64, 8\].*Gather has no options, write \[\]"),
        ([-1, 1, "Wide", []], r"\(Wide\): the first argument must be the output's channels; write e\.g\. \[32\]"),
        ([-1, 1, "Wide", [{"kernel": 3}]], "the first argument must be the output's channels; write"),
        ([-1, 1, "Wide", ["64"]], "the first argument must be the output's channels before scaling, got '64'"),
        ([-1, 1, "Wide", [True]], "output's channels before scaling, got True"),
        ([-1, 1, "Wide", [0]], "output's channels before scaling, got 0"),
        ([2, 1, "Plain", []], r"'from' is 2, a layer that does not exist here; layers 0 to 1 do"),
        ([40, 1, "Plain", []], r"'from' is 40, a layer that does not exist here; layers 0 to 1 do"),
        ([-3, 1, "Plain", []], r"'from' is -3, a layer that does not exist here; layers 0 to 1 do"),
        ([[0, 7], 1, "Lists", []], r"'from' is 7, a layer that does not exist here"),
        (["1", 1, "Plain", []], r"'from' must be a layer number or a list of them, got '1'"),
        ([1.0, 1, "Plain", []], r"'from' must be a layer number or a list of them, got 1\.0"),
        ([None, 1, "Plain", []], r"'from' must be a layer number or a list of them, got None"),
        ([-1, 1, "Lists", []], r"'from' is -1, but Lists reads a list of maps; write e\.g\. \[-1\]"),
        ([[], 1, "Lists", []], r"'from' is an empty list, but Lists reads at least one map"),
        ([[0, 1], 1, "Plain", []], r"'from' is \[0, 1\], but Plain reads one map; write one layer number"),
        ([[-1], 1, "Plain", []], r"'from' is \[-1\], but Plain reads one map"),
        ([[0, 1], 1, "Third", []], r"'from' is \[0, 1\], but Third puts out the channels of input 2; write more"),
        (
            [-1, 1, "Plain", [{"reducton": 8}]],
            r"Plain has no option 'reducton'\. Did you mean 'reduction'\?",
        ),
        ([-1, 1, "Plain", [{3: 8}]], "option 3 is filled in"),
        ([-1, 1, "Deep", [64, {"n": 3}]], r"Deep has no option 'n'.*Deep takes kernel"),
        ([-1, 1, "ByPlace", ["avg", {"mode": "max"}]], "option 'mode' is given by position and by name; write it once"),
        ([-1, 1, "ByPlace", ["avg", 1, 2]], r"arguments \['avg', 1, 2\]: a channel count is not typed here"),
        ([-1, 4, "Once", []], r"\(Once\): Once cannot be repeated 2 times; write 1"),
        ([-1, 4, "Wide", [64]], r"Wide cannot be stacked 2 times: it turns \[32\] channels into 16; write 1"),
        ([[0, 1], 4, "Lists", []], r"Lists cannot be stacked 2 times"),
        ([-1, "two", "Plain", []], r"\(Plain\): cannot be built .*TypeError"),
        ([-1, 1, "Plain", [{"reduction": 0}]], r"\(Plain\): Plain: reduction=0 must be at least 1$"),
        ([-1, 1, "Plain", [{"reduction": "many"}]], r"cannot be built from -1 .*'reduction': 'many'.*TypeError"),
        ([-1, 1, "EMA", [{"factor": 5}]], r"\(EMA\): EMA: factor=5 must divide channels=32; divisors of 32: \[1, 2, 4"),
    ],
    ids=lambda x: None if isinstance(x, str) else str(x[2:]),
)
def test_bad_rows(known, row, match):
    d = tiny(row)
    with pytest.raises(LayerError, match=match) as caught:
        parse(d)
    name = row[2]
    assert str(caught.value).startswith(f"yolo11n-tiny.yaml: layer 2 ({name}): ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("layer", ["Plain", "Conv"])
@pytest.mark.parametrize(
    "row", [[-1, 1, "{}"], [-1, "{}", []], [-1, 1, "{}", [], {}], [], "{}", 7, None, [-1, 1, 7, []], {"Plain": 1}]
)
def test_bad_row_shapes(known, row, layer):
    row = [layer if x == "{}" else x for x in row] if isinstance(row, list) else row
    with pytest.raises(LayerError, match=r"^yolo11n-tiny\.yaml: layer 2: a row must be \[from, repeats, layer") as e:
        parse(tiny(row))
    assert str(e.value).endswith(f"got {row!r}")


@pytest.mark.parametrize("given", [8, "8", None, {"reduction": 8}])
def test_arguments_that_are_no_list(known, given):
    with pytest.raises(LayerError, match=rf"2 \(Plain\): arguments must be a list, got {re.escape(repr(given))}"):
        parse(tiny([-1, 1, "Plain", given]))


@pytest.mark.parametrize("part", ["backbone", "head"])
@pytest.mark.parametrize("layer", ["Plain", "Conv"])
def test_missing_parts(known, part, layer):
    d = tiny([-1, 1, layer, [] if layer == "Plain" else [64]])
    del d[part]
    with pytest.raises(LayerError, match=r"^yolo11n-tiny\.yaml: a model YAML needs the lists 'backbone' and 'head'"):
        parse(d)


@pytest.mark.parametrize(
    ("index", "row", "match"),
    [
        (
            3,
            [-1, 1, "Conv", [64, 1, 1, None, 1, 1, 1, 1, 1]],
            r"3 \(Conv\): cannot be built .*\[32, 16, 1.*TypeError",
        ),
        (3, [-1, 1, "Conv", []], r"3 \(Conv\): cannot be built from -1 with arguments \[\]: IndexError"),
        (3, [-1, 1, "SPPF", ["3x3"]], r"3 \(SPPF\): cannot be built from -1 with arguments \['3x3'\]: SyntaxError"),
        (3, [9, 1, "Conv", [64]], r"3 \(Conv\): 'from' is 9"),
        (3, [[1, 5], 1, "Concat", [1]], r"3 \(Concat\): 'from' is 5"),
        (3, [-1, 1, "Cnov", [64]], r"3 \(Cnov\): unknown layer 'Cnov'\. Did you mean 'Conv'\?"),
        (3, [-1, 1, "nn.Conv2d", [16, 16]], r"3 \(Conv2d\): cannot be built .*kernel_size"),
    ],
)
def test_bad_stock_rows_in_a_model_with_ours(known, index, row, match):
    d = tiny([-1, 1, "Plain", []])
    d["head"][0] = row
    with pytest.raises(LayerError, match=rf"^yolo11n-tiny\.yaml: layer {match}"):
        parse(d)


def test_bad_rows_in_a_model_without_ours(known):
    for row, match in [
        ([-1, 1, "Cnov", [64]], r"layer 2 \(Cnov\): unknown layer 'Cnov'\. Did you mean 'Conv'\?"),
        ([9, 1, "Conv", [64]], r"layer 2 \(Conv\): 'from' is 9"),
        ([-1, 1, "Conv", 64], r"layer 2 \(Conv\): arguments must be a list, got 64"),
    ]:
        with pytest.raises(LayerError, match=rf"^yolo11n-tiny\.yaml: {match}"):
            parse(tiny(row))
    with pytest.raises(TypeError, match="positional arguments"):  # where we cannot say more, the error is Ultralytics'
        parse(tiny([-1, 1, "Conv", [64, 1, 1, None, 1, 1, 1, 1, 1]]))


def test_the_error_names_the_file_that_was_asked_for(known, tmp_path):
    model_yaml(tmp_path, "EMA, [{factor: 32}]", "Plain, [{reduction: 0}]")
    with pytest.raises(LayerError, match=r"^yolo11s-own\.yaml: layer 17 \(Plain\): Plain: reduction=0"):
        YOLO(str(tmp_path / "yolo11s-own.yaml"))
    with pytest.raises(LayerError, match=r"^model YAML: layer 2 \(Plian\)"):
        parse({k: v for k, v in tiny([-1, 1, "Plian", []]).items() if k != "yaml_file"})


# Ultralytics' own models


def shipped():
    return sorted(Path(tasks.__file__).parents[1].glob("cfg/models/**/*.yaml"))


def attempt(function, file):
    d = {**YAML.load(file), "yaml_file": str(file)}
    d["scale"] = next(iter(d.get("scales") or [""]))
    try:
        with torch.device("meta"):
            model, save = function(d, ch=3, verbose=False)
        return str(model), save
    except Exception as error:
        return type(error), None


@pytest.mark.parametrize("file", shipped(), ids=lambda f: f.stem)
def test_shipped_yamls_build_as_before(file):
    ours, theirs = attempt(tasks.parse_model, file), attempt(tasks.parse_model.__wrapped__, file)
    assert ours == theirs


# What a later version of parse_model may look like

LOOP = 'for i, (f, n, m, args) in enumerate(d["backbone"] + d["head"]):'
CHAIN = "        if m in base_modules:"
BUILD = "m_ = torch.nn.Sequential(*(m(*args) for _ in range(n))) if n > 1 else m(*args)"
WORKS = "; versions 8.3.0 to 8.4.190 work"


def refactored(monkeypatch, tmp_path, change):
    """Load ``ultralytics.nn.tasks`` with a changed ``parse_model`` in place of the real one; return its wrapper."""
    source = Path(tasks.__file__).read_text(encoding="utf-8")
    function = inspect.getsource(tasks.parse_model.__wrapped__)
    changed = change(function)
    assert changed != function, "the change does not apply to this version's source"
    file = tmp_path / "tasks.py"
    file.write_text(source.replace(function, changed), encoding="utf-8")
    spec = importlib.util.spec_from_file_location(layers.TASKS, file)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, layers.TASKS, module)
    monkeypatch.setattr(layers, "INJECTED", set())
    spec.loader.exec_module(module)
    return parser.extended(module.parse_model)


def swap(*pairs):
    def change(text):
        for old, new in pairs:
            assert old in text, old
            text = text.replace(old, new)
        return text

    return change


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda t: re.sub(r"\bc2\b", "cout", t), "expected one if-chain that sets c2 in parse_model, found 0"),
        (swap((CHAIN, f"        if m is Index:\n            c2 = 1\n{CHAIN}")), "expected one if-chain .*, found 2"),
        (
            swap((LOOP, LOOP.replace("(f, n, m, args)", "row") + "\n        f, n, m, args = row")),
            r"expected one loop over rows \(from, n, module, args\) in parse_model, found 0",
        ),
        (swap((LOOP, f"{LOOP}\n        pass\n    {LOOP}")), "expected one loop over rows .*, found 2"),
        (lambda t: re.sub(r"\bch\b", "widths", t), "parse_model has no argument ch$"),
        (lambda t: re.sub(r"\bd\b", "cfg", t), "parse_model has no argument d$"),
        (swap(("ch = [ch]", "chs = [ch]"), ("ch.append", "chs.append"), ("ch = []", "chs = []")), "append c2 to ch"),
        (swap((BUILD, "build = lambda m, args: m(*args)\n        m_ = build(m, args)")), None),
        (swap((BUILD, "m_ = build(m, args)")), r"parse_model does not build m\(\*args\) and append c2"),
        (swap((BUILD, "m_ = m(args)")), r"parse_model does not build m\(\*args\) and append c2"),
        (
            swap(("        ch.append(c2)", "        c2 *= 2\n        ch.append(c2)")),
            "append c2 to ch after",
        ),
        (swap(("layers.append(m_)", "layers.append(torch.nn.Identity())")), "parse_model made Identity"),
        (swap(("layers.append(m_)", "layers.extend([m_, m_])")), "parse_model made 10 layers of 5 rows"),
        (lambda t: re.sub(r"(?<!\.)\blegacy\b", "old", t), "parse_model has no variable 'legacy'"),
        (swap(("m_.i, m_.f, m_.type = i, f, t", "m_.i, m_.f, m_.type = i, 0, t")), r"reading -1, but parse_model made"),
    ],
)
def test_parse_model_refactored_too_far(known, monkeypatch, tmp_path, change, why):
    wrapper = refactored(monkeypatch, tmp_path, change)
    d = tiny([-1, 4, "Deep", [64]])
    if why is None:  # odd, but it does build m(*args)
        assert str(wrapper(d, ch=3, verbose=False)[0]) == str(tasks.parse_model(d, ch=3, verbose=False)[0])
        return
    with pytest.raises(UnsupportedUltralyticsError) as caught:
        wrapper(d, ch=3, verbose=False)
    start, end = f"cannot add layers to Ultralytics {ultralytics.__version__}: ", WORKS
    text = str(caught.value)
    assert text.startswith(start)
    assert text.endswith(end)
    assert re.search(why, text.removeprefix(start).removesuffix(end))


@pytest.mark.parametrize(
    "change",
    [
        swap((CHAIN, f"        if m is Index:\n            pass\n{CHAIN}")),
        swap((CHAIN, "        if m is Index:\n            c2 = 1\n        elif m in base_modules:")),
        swap(("enumerate(d", "list(enumerate(d"), ('d["head"]):', 'd["head"])):')),
        swap(("            if m is C3k2:", "            if m.__name__ == 'C3k2':")),
        swap(("def parse_model(d, ch, verbose=True)", "def parse_model(d, ch, verbose=True, *, strict=True)")),
        swap(("verbose=True", "verbose: bool = True")),
        swap(("        else:\n            c2 = ch[f]", "        else:\n            raise NotImplementedError(m)")),
    ],
)
def test_parse_model_refactored_a_little(known, monkeypatch, tmp_path, change):
    rows = [-1, 4, "Deep", [64]], [-1, 4, "ByPlace", ["n"]], [[0, 1], 1, "Gather", [64]], [-1, 1, "Csp", [64]]
    wanted = [str(parse(tiny(row))) for row in rows]
    wrapper = refactored(monkeypatch, tmp_path, change)
    assert [str(wrapper(tiny(row), ch=3, verbose=False)[0]) for row in rows] == wanted


def test_parse_model_replaced_by_somebody_else(known, monkeypatch, tmp_path):
    stock, ours = tiny([-1, 1, "Conv", [64]]), tiny([-1, 1, "Plain", []])
    original = tasks.parse_model.__wrapped__

    class Callable:
        def __call__(self, *args, **kwargs):
            return original(*args, **kwargs)

    for other in (lambda *args, **kwargs: original(*args, **kwargs)), Callable():
        wrapper = parser.extended(other)
        assert len(wrapper(copy.deepcopy(stock), ch=3, verbose=False)[0]) == 5
        with pytest.raises(UnsupportedUltralyticsError, match=rf"was already replaced by .*{WORKS}"):
            wrapper(ours, ch=3, verbose=False)


def test_parse_model_without_source(known, monkeypatch, tmp_path):
    wrapper = refactored(monkeypatch, tmp_path, swap(("import ast", "import ast  # changed")))
    (tmp_path / "tasks.py").unlink()
    with pytest.raises(UnsupportedUltralyticsError, match=rf"the source of parse_model cannot be read{WORKS}"):
        wrapper(tiny([-1, 1, "Plain", []]), ch=3, verbose=False)
    assert len(wrapper(tiny([-1, 1, "Conv", [64]]), ch=3, verbose=False)[0]) == 5
