"""Rows that are wrong: an error that names the file, the layer and what would work."""

import re

import pytest
import torch
from sample_layers import Plain, parse, tiny
from support import model_yaml
from ultralytics import YOLO

from yolo_attn.errors import LayerError
from yolo_attn.integration.queries import model_graph
from yolo_attn.integration.strict_mode import strict
from yolo_attn.registry import register

pytestmark = pytest.mark.fast


@pytest.fixture(autouse=True)
def strict_mode():
    """A plain process gives rows without our layers Ultralytics' own errors: ``test_stock_models.py``."""
    with strict():
        yield


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ([-1, 1, "Plian", []], "'Plain'"),
        ([-1, 1, "nn.Idenity", []], r"'nn\.Identity'"),
        ([-1, 1, "Plain", [64]], r"\[64\].*32 channels.*\{reduction: 2"),
        ([-1, 1, "Plain", [32, 8]], r"\[32, 8\].*32 channels"),
        ([-1, 1, "Plain", [{"channels": 64}]], r"'channels'.*\[32\].*reduction, mode, eps$"),
        ([-1, 1, "Wide", [64, {"out_channels": 64}]], "'out_channels'"),
        ([[0, 1], 1, "Lists", [[16, 32]]], r"\[\[16, 32\]\].*\[16, 32\] channels"),
        ([[0, 1], 1, "Gather", [64, 8]], r"\[64, 8\].*no options, write \[\]"),
        ([-1, 1, "Wide", []], r"first argument.*\[128\]$"),
        ([-1, 1, "Wide", [{"kernel": 3}]], r"first argument.*\[128\]$"),
        ([-1, 1, "Wide", ["64"]], "first argument.*'64'"),
        ([-1, 1, "Wide", [True]], "first argument.*True"),
        ([-1, 1, "Wide", [0]], "first argument.*0"),
        ([2, 1, "Plain", []], "'from' is 2.*0 to 1"),
        ([40, 1, "Plain", []], "'from' is 40.*0 to 1"),
        ([-3, 1, "Plain", []], "'from' is -3.*0 to 1"),
        ([[0, 7], 1, "Lists", []], "'from' is 7.*0 to 1"),
        (["1", 1, "Plain", []], "'from'.*'1'"),
        ([1.0, 1, "Plain", []], r"'from'.*1\.0"),
        ([None, 1, "Plain", []], "'from'.*None"),
        ([-1, 1, "Lists", []], r"'from' is -1, .*list.*\[-1\]"),
        ([[], 1, "Lists", []], r"'from'.*empty list, .*\[4, 6, 10\]"),
        ([[0, 1], 1, "Plain", []], r"'from' is \[0, 1\], .*one map.*-1"),
        ([[-1], 1, "Plain", []], r"'from' is \[-1\], .*one map"),
        ([[0, 1], 1, "Third", []], r"'from' is \[0, 1\], .*input 2"),
        ([-1, 1, "Plain", [{"reducton": 8}]], "'reducton'.*'reduction'"),
        ([-1, 1, "Switched", [{"apply": False}]], "'apply'.* reduction$"),
        ([-1, 1, "Level", []], "'from' is -1.*list of maps"),
        ([[0, 1], 1, "Level", []], r"'from' is \[0, 1\], .*one layer"),
        ([-1, 1, "Plain", [{3: 8}]], "option 3 "),
        ([-1, 1, "Deep", [64, {"n": 3}]], "'n'.* kernel$"),
        ([-1, 1, "ByPlace", ["avg", {"mode": "max"}]], "option 'mode'"),
        ([-1, 1, "ByPlace", ["avg", 1, 2]], r"\['avg', 1, 2\]"),
        ([-1, 4, "Once", []], " 2 times; write 1$"),
        ([-1, 4, "Wide", [64]], r"2 times.*\[32\].*16"),
        ([[0, 1], 4, "Lists", []], "2 times"),
        ([-1, "two", "Plain", []], "'two'"),
        ([-1, 1, "Plain", [{"reduction": 0}]], "reduction=0 must be at least 1$"),
        ([-1, 1, "Plain", [{"reduction": "many"}]], "-1.*'reduction': 'many'.*TypeError"),
        ([-1, 1, "EMA", [{"factor": 5}]], r"factor=5.*32.*\[1, 2, 4"),
    ],
    ids=lambda x: None if isinstance(x, str) else str(x[2:]),
)
def test_bad_rows(known, row, match):
    d = tiny(row)
    with pytest.raises(LayerError, match=match) as caught:
        parse(d)
    start, text = f"yolo11n-tiny.yaml: layer 2 ({row[2]}): ", str(caught.value)
    assert text.startswith(start)
    assert not re.search(rf"\b{row[2]}\b|\n", text.removeprefix(start))  # the layer type is named once


def test_a_layer_that_refuses_its_input(known, monkeypatch):
    def refuse(self, x):
        raise ValueError(f"Plain: {len(x)} must be even")

    monkeypatch.setattr(Plain, "forward", refuse)
    with pytest.raises(LayerError, match=r"layer 2 \(Plain\) .* -1 .*32x128x128\): 1 must be even$"):
        model_graph.build(tiny([-1, 1, "Plain", []]))


@pytest.mark.parametrize(
    "reader", [[-1, 1, "Conv", [64]], [-1, 1, "Plain", []], [[1, -1], 1, "Concat", [1]], [2, 1, "nn.Identity", []]]
)
def test_a_pyramid_is_no_map(known, reader):
    d = tiny([[0, 1], 1, "Pyramid", []])
    d["head"] = [reader, [[1, 3], 1, "Detect", ["nc"]]]
    with pytest.raises(LayerError, match=rf"layer 3 \({reader[2]}\): 'from' is 2, Pyramid.*Level"):
        parse(d)


@pytest.mark.parametrize("layer", ["Plain", "Conv"])
@pytest.mark.parametrize(
    "row",
    [[-1, 1, "{}"], [-1, "{}", []], [-1, 1, "{}", [], {}], [], "{}", 7, None, [-1, 1, 7, []], {"Plain": 1}]
    + [[-1, 1, "{}", arguments] for arguments in (8, "8", None, {"reduction": 8})],
)
def test_bad_row_shapes(known, row, layer):
    row = [layer if x == "{}" else x for x in row] if isinstance(row, list) else row
    is_row = isinstance(row, list) and len(row) == 4 and row[2] == layer
    where, wrong = (rf"2 \({layer}\)", row[3]) if is_row else ("2", row)
    with pytest.raises(LayerError, match=rf"^yolo11n-tiny\.yaml: layer {where}: .*got {re.escape(repr(wrong))}(; |$)"):
        parse(tiny(row))


@pytest.mark.parametrize("part", ["backbone", "head"])
@pytest.mark.parametrize("layer", ["Plain", "Conv"])
def test_missing_parts(known, part, layer):
    d = tiny([-1, 1, layer, [] if layer == "Plain" else [64]])
    del d[part]
    with pytest.raises(LayerError, match=r"^yolo11n-tiny\.yaml: .*'backbone' and 'head'"):
        parse(d)


@pytest.mark.parametrize(
    ("index", "row", "match"),
    [
        (3, [-1, 1, "Conv", [64, 1, 1, None, 1, 1, 1, 1, 1]], r"3 \(Conv\): .*\[32, 16, 1.*TypeError"),
        (3, [-1, 1, "Conv", []], r"3 \(Conv\): .*-1.*\[\]: IndexError"),
        (3, [-1, 1, "SPPF", ["3x3"]], r"3 \(SPPF\): .*-1.*\['3x3'\]: SyntaxError"),
        (3, [9, 1, "Conv", [64]], r"3 \(Conv\): 'from' is 9"),
        (3, [[1, 5], 1, "Concat", [1]], r"3 \(Concat\): 'from' is 5"),
        (3, [-1, 1, "Cnov", [64]], r"3 \(Cnov\): .*'Conv'"),
        (3, [-1, 1, "nn.Conv2d", [16, 16]], r"3 \(Conv2d\): .*kernel_size"),
    ],
)
def test_bad_stock_rows_in_a_model_with_ours(known, index, row, match):
    d = tiny([-1, 1, "Plain", []])
    d["head"][0] = row
    with pytest.raises(LayerError, match=rf"^yolo11n-tiny\.yaml: layer {match}"):
        parse(d)


def test_bad_rows_in_a_model_without_ours(known):
    for row, match in [
        ([-1, 1, "Cnov", [64]], r"layer 2 \(Cnov\): .*'Conv'"),
        ([9, 1, "Conv", [64]], r"layer 2 \(Conv\): 'from' is 9"),
        ([-1, 1, "Conv", 64], r"layer 2 \(Conv\): .* 64"),
    ]:
        with pytest.raises(LayerError, match=rf"^yolo11n-tiny\.yaml: {match}"):
            parse(tiny(row))
    with pytest.raises(LayerError, match=r"layer 2 \(Conv\): .*TypeError: .*positional arguments"):
        parse(tiny([-1, 1, "Conv", [64, 1, 1, None, 1, 1, 1, 1, 1]]))


def test_the_error_names_the_file_and_the_line(known, tmp_path):
    model_yaml(tmp_path, "EMA, []", "Plain, [{reduction: 0}]")
    with pytest.raises(LayerError, match=r"^yolo11-own\.yaml, line 48: layer 17 \(Plain\): reduction=0"):
        YOLO(str(tmp_path / "yolo11s-own.yaml"))
    with pytest.raises(LayerError, match=r"^model YAML: layer 2 \(Plian\)"):
        parse({k: v for k, v in tiny([-1, 1, "Plian", []]).items() if k != "yaml_file"})


@pytest.mark.parametrize("first", ["c1", "inp", "in_channels"])
def test_a_class_of_your_own_that_takes_its_output_channels(first, own_layers):
    """As CoordAtt and many others: ``__init__(self, c1, c2, reduction=32)``."""
    space = {"nn": torch.nn}
    exec(f"class Coord(nn.Module):\n  def __init__(self, {first}, oup, reduction=32): super().__init__()", space)
    register("Coord")(space["Coord"])
    with pytest.raises(LayerError, match=r"layer 2 \(Coord\): .*'oup'.*output=\"argument\""):
        parse(tiny([-1, 1, "Coord", []]))


def test_a_class_of_ultralytics_can_be_registered(own_layers):
    from ultralytics.nn.modules import CBAM

    with pytest.raises(LayerError, match=r"layer 2 \(CBAM\): .*register\('CBAM'\)\(ultralytics\.nn\.modules\.CBAM\)"):
        parse(tiny([-1, 1, "CBAM", []]))
    register("CBAM")(CBAM)
    model = parse(tiny([-1, 1, "CBAM", [{"kernel_size": 3}]]))
    assert type(model[2]) is CBAM
