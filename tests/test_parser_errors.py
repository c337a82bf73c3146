"""Rows that are wrong: an error that names the file, the layer and what would work."""

import re

import pytest
from sample_layers import parse, tiny
from support import model_yaml
from ultralytics import YOLO

from yolo_attn.errors import LayerError


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
        (
            [-1, 1, "Wide", []],
            r"\(Wide\): the first argument must be the output's channels before scaling; write e\.g\. \[128\]$",
        ),
        ([-1, 1, "Wide", [{"kernel": 3}]], "the first argument must be the output's channels before scaling; write"),
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
        ([-1, 1, "Switched", [{"apply": False}]], r"Switched has no option 'apply'\. Switched takes reduction$"),
        ([-1, 1, "Level", []], r"\(Level\): 'from' is -1, a layer with one map, but Level reads a list that one layer"),
        (
            [[0, 1], 1, "Level", []],
            r"'from' is \[0, 1\], but Level reads the maps of one layer; write one layer number",
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


@pytest.mark.parametrize(
    "reader", [[-1, 1, "Conv", [64]], [-1, 1, "Plain", []], [[1, -1], 1, "Concat", [1]], [2, 1, "nn.Identity", []]]
)
def test_a_pyramid_is_no_map(known, reader):
    d = tiny([[0, 1], 1, "Pyramid", []])
    d["head"] = [reader, [[1, 3], 1, "Detect", ["nc"]]]
    match = rf"layer 3 \({reader[2]}\): 'from' is (-1|2), Pyramid, which puts out a list of maps; .* through Level"
    with pytest.raises(LayerError, match=match):
        parse(d)


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
    model_yaml(tmp_path, "EMA, []", "Plain, [{reduction: 0}]")
    with pytest.raises(LayerError, match=r"^yolo11s-own\.yaml: layer 17 \(Plain\): Plain: reduction=0"):
        YOLO(str(tmp_path / "yolo11s-own.yaml"))
    with pytest.raises(LayerError, match=r"^model YAML: layer 2 \(Plian\)"):
        parse({k: v for k, v in tiny([-1, 1, "Plian", []]).items() if k != "yaml_file"})
