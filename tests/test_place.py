"""Blocks inserted into model YAMLs at named places: inputs and consumers, what is refused, and the command."""

import re
import shlex
from pathlib import Path

import pytest
import torch
import yaml
from support import run
from ultralytics import YOLO

import yolo_attn
from yolo_attn import Insertion, place
from yolo_attn.cli.main import call_of, main
from yolo_attn.cli.place import arguments
from yolo_attn.errors import ArgumentError, DiskFullError, LayerError, UserError
from yolo_attn.integration.queries import layer_types, model_graph
from yolo_attn.model_yaml import places

yolo_attn.install()


def table(text):
    """Return the rows with their inputs as absolute numbers: (inputs, layer type, arguments)."""
    content = yaml.safe_load(text)
    out = []
    for i, (f, _, name, args) in enumerate(content["backbone"] + content["head"]):
        out.append(([x + i if x < 0 and i else x for x in (f if isinstance(f, list) else [f])], name, args))
    return out


def where(text, block):
    """Return the number, inputs and consumers of each row of a block."""
    rows = table(text)
    return [(i, r[0], [j for j, s in enumerate(rows) if i in s[0]]) for i, r in enumerate(rows) if r[1] == block]


NAMES = {  # the layer of each place; None: no such place
    "yolo11.yaml": {"backbone.P3": 4, "backbone.P5": 10, "neck.P3": 16, "neck.P5": 22, "neck.P6": None},
    "yolov8.yaml": {"backbone.P2": 2, "backbone.P5": 9, "before_neck": 9, "neck.P3": 15, "neck.P4": 18, "neck.P5": 21},
    "yolo26.yaml": {"backbone.P3": 4, "backbone.P4": 6, "before_neck": 10, "neck.P3": 16, "neck.P5": 22},
    "yolov8-p2.yaml": {"neck.P2": 18, "neck.P3": 21, "neck.P5": 27},
    "yolo26-p6.yaml": {"backbone.P5": 8, "backbone.P6": 12, "neck.P6": 30},
    "yolov3.yaml": {"backbone.P0": None, "backbone.P5": 10, "neck.P3": 27, "neck.P5": 15},  # layer 0 has stride 1
    "yolov9e.yaml": {"backbone.P3": 22, "backbone.P5": 29, "neck.P3": 35},
    "rtdetr-l.yaml": {"backbone.P2": 1, "backbone.P5": 9, "neck.P3": 21, "neck.P5": 27},
    "yolo11-cls.yaml": {"backbone.P5": 9, "backbone.end": 9, "before_head": 9, "neck.P4": None, "before_neck": None},
    "yolo11-afpn.yaml": {"backbone.P4": 6, "neck.P4": 23},
}  # fmt: skip


@pytest.mark.fast
@pytest.mark.parametrize(("base", "wanted"), NAMES.items())
def test_places_have_names(base, wanted):
    found = places.named(model_graph.build(model_graph.load(base)))
    assert {name: found[name][0].layer if name in found else None for name in wanted} == wanted


BACKBONE = "backbone.P3,backbone.P4,backbone.P5"
# Block, places and more; then number, inputs and consumers of the rows of each type, and the inputs of the head.
PLACED = [
    ("EMA", "neck.P3,neck.P5", {}, {"EMA": [(17, [16], [18, 25]), (24, [23], [25])]}, [17, 20, 24]),
    ("EMA", "neck.P3", {"reroute": "all"}, {"EMA": [(17, [16], [18, 24])]}, [17, 20, 23]),
    ("EMA", "neck.P3", {"reroute": "detect"}, {"EMA": [(17, [16], [24])]}, [17, 20, 23]),
    ("EMA", "neck.P3", {"reroute": "path"}, {"EMA": [(17, [16], [18])]}, [16, 20, 23]),
    ("EMA", "before_head", {}, {"EMA": [(23, [16], [26]), (24, [19], [26]), (25, [22], [26])]}, [23, 24, 25]),
    ("EMA", "backbone.end", {}, {"EMA": [(11, [10], [12, 22])]}, [17, 20, 23]),
    ("EMA", "before_neck", {}, {"EMA": [(11, [10], [12, 22])]}, [17, 20, 23]),
    # Rows at one layer form a chain.
    ("nn.Identity", "before_head,neck.P5,before_neck,backbone.end", {}, {"nn.Identity": [
        (11, [10], [12]), (12, [11], [13, 23]), (25, [24], [28]), (26, [18], [29]), (27, [21], [29]), (28, [25], [29])
    ]}, [26, 27, 28]),
    ("PMFS", "before_neck", {"sources": BACKBONE}, {"PMFS": [(11, [4, 6, 10], [12, 22])]}, [17, 20, 23]),
    ("PMFS", "before_head", {"sources": "neck.P3,neck.P4,neck.P5"}, {"PMFS": [(23, [16, 19, 22], [24])]}, [16, 19, 23]),
    # A pyramid takes over the consumers of each of its inputs.
    ("AttentionFPN", "before_neck", {"sources": BACKBONE}, {
        "AttentionFPN": [(11, [4, 6, 10], [12, 13, 14])],
        "PyramidLevel": [(12, [11], [19]), (13, [11], [16]), (14, [11], [15, 25])],
    }, [20, 23, 26]),
]  # fmt: skip


@pytest.mark.fast
@pytest.mark.parametrize(("block", "at", "more", "wanted", "head"), PLACED)
def test_inputs_and_consumers(block, at, more, wanted, head):
    text = place("yolo11.yaml", block, at=at, **more).text
    assert {name: where(text, name) for name in wanted} == wanted
    assert table(text)[-1][0] == head
    assert len(table(text)) == 24 + sum(map(len, wanted.values()))
    content = yaml.safe_load(text)
    assert len(content["backbone"]) == 11 + ("backbone.end" in at)
    levels = [row[3] for row in content["head"] if row[2] == "PyramidLevel"]
    assert levels == [[k] for k in range(len(wanted.get("PyramidLevel", ())))]


def test_a_layer_type():
    both = where(place("yolo11.yaml", "EMA", at="each:C3k2").text, "EMA")
    assert [r[1] for r in both] == [[2], [5], [8], [11], [17], [21], [25], [29]]
    assert len(where(place("yolo11.yaml", "EMA", at="backbone.each:C3k2").text, "EMA")) == 4
    neck = where(place("yolo11.yaml", "EMA", at="neck.each:C3k2").text, "EMA")
    assert [r[1] for r in neck] == [[13], [17], [21], [25]]


@pytest.mark.parametrize("at", ["backbone.P2", "backbone.P3", "neck.P4", "neck.P5"])
def test_output_channels_are_those_of_the_place_at_every_scale(at):
    text = place("yolo11.yaml", "AttentionAugmentedConv", at=at).text  # place compares all scales
    (number, [source], _) = where(text, "AttentionAugmentedConv")[0]
    for scale in "nx":
        built = model_graph.build(yaml.safe_load(text), scale)
        assert built.layers[number].channels == built.layers[source].channels


def test_several_blocks():
    """Layer numbers are those of the base."""
    placed = place(
        "yolo11.yaml",
        [Insertion("EMA", ("neck.P3", "backbone.end")), Insertion("GSoP", ("neck.P3", "layer:10", "layer:13"))],
    )
    assert where(placed.text, "EMA") == [(11, [10], [12]), (20, [19], [21])]
    assert where(placed.text, "GSoP") == [(12, [11], [13, 26]), (16, [15], [17, 23]), (21, [20], [22, 28])]
    rows = [(k, row[1]) for k, row in enumerate(table(placed.text)) if row[1] in ("EMA", "GSoP")]
    assert [(i.index, i.block) for i in placed.inserted] == rows
    comments = [line.partition("# ")[2] for line in placed.text.splitlines() if re.match(r".*, (EMA|GSoP), ", line)]
    assert comments == [f"{i.index} {i.comment}" for i in placed.inserted]
    twice = place("yolo11.yaml", [Insertion("EMA", "layer:4"), Insertion("EMA", "layer:16")])
    assert where(twice.text, "EMA") == [(5, [4], [6, 16]), (18, [17], [19, 25])]


@pytest.mark.fast
def test_the_result_is_an_ordinary_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    placed = place(
        "yolo11n.yaml", "GSoP", at="backbone.end", options={"reduced_channels": 64}, output="yolo11-own.yaml"
    )
    text = Path("yolo11-own.yaml").read_text(encoding="utf-8")
    assert text == placed.text
    assert [p.name for p in tmp_path.iterdir()] == ["yolo11-own.yaml"]
    base = model_graph.locate("yolo11.yaml").read_text(encoding="utf-8")
    comments = [line for line in base.splitlines() if line.lstrip().startswith("#")]
    assert [line for line in text.splitlines() if line in comments] == comments
    model = YOLO("yolo11s-own.yaml").model
    assert model.yaml["scale"] == "s"
    assert [type(m).__name__ for m in model.model if layer_types.spec_of(type(m))] == ["GSoP"]
    again = place("yolo11-own.yaml", "EMA", at="neck.P3").text  # a result is a base like any other
    assert len(where(again, "GSoP")) == len(where(again, "EMA")) == 1


def test_line_ends_and_what_is_not_text(tmp_path):
    base = model_graph.locate("yolo11.yaml").read_text(encoding="utf-8")
    (tmp_path / "yolo11-dos.yaml").write_bytes(base.replace("\n", "\r\n").encode())
    place(tmp_path / "yolo11-dos.yaml", "EMA", at="neck.P3", output=tmp_path / "yolo11-out.yaml")
    made = (tmp_path / "yolo11-out.yaml").read_bytes()
    assert made.count(b"\r\n") == made.count(b"\n") > base.count("\n")
    assert b"\r\r" not in made
    (tmp_path / "yolo11-latin.yaml").write_bytes(base.encode() + "# Gr\u00f6\u00dfe".encode("latin-1"))
    with pytest.raises(UserError, match=r"yolo11-latin\.yaml"):
        place(tmp_path / "yolo11-latin.yaml", "EMA", at="neck.P3")


def test_looking_at_a_model_leaves_nothing_behind():
    from ultralytics.nn.modules import Conv

    before, act = torch.get_rng_state(), Conv.default_act
    for base in ("yolov6.yaml", "yolo11n-pmfs.yaml"):  # one has an activation of its own, one runs on zeros in part
        model_graph.build(model_graph.load(base))
    place("yolov6.yaml", "EMA", at="neck.P4")
    assert Conv.default_act is act
    assert torch.equal(torch.get_rng_state(), before)


def test_from_python_without_the_start_up_hook(tmp_path):
    """``register()`` need not be called first."""
    out = run(
        """
        import yolo_attn
        print(len(yolo_attn.place("yolo11.yaml", "EMA", at="before_head").inserted))
        from ultralytics import YOLO
        YOLO("yolo11n.yaml").save("source.pt")
        print(yolo_attn.transfer("source.pt", "yolo11n-ema.yaml", "out.pt"))
        """,
        tmp_path,
        YOLO_ATTN_AUTOLOAD="0",
    )
    assert "3" in out.splitlines()
    assert "transferred 499/499 tensors" in out


def test_the_head_has_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = Insertion("PMFS", ("before_neck",), ("backbone.P4", "backbone.P5"), (), {"residual": True})
    detect = Insertion(
        "MultiHeadGlobalAttention", ("neck.P3",), (), (), {"kernel": "linear", "position": "none"}, "detect"
    )
    text = place("yolo11.yaml", [given, detect], output="made.yaml").text
    command = re.search(r"^#   (yolo-attn .*)$", text, re.MULTILINE)[1]
    call = call_of(shlex.split(command)[1:])
    assert (call.args, call.keywords) == (("yolo11.yaml", [given, detect]), {"output": "made.yaml"})
    assert main(shlex.split(command)[1:]) == 2  # it exists
    assert main([*shlex.split(command)[1:], "--force"]) == 0
    assert Path("made.yaml").read_text(encoding="utf-8") == text


LIST = {"block": "PMFS", "at": "before_neck", "sources": "backbone.P3,backbone.P4"}
WRONG = {
    "place that is not there": ({"at": "neck.P6"}, r"yolo11\.yaml .*'neck.P6'.* 'neck.P3'.*neck.P5, before_head"),
    "misspelt place": ({"at": "nek.P3"}, "'nek.P3'.* 'neck.P3'"),
    "no form of a place": ({"at": "lyer:3"}, "'lyer:3'.* 'layer:'"),
    "no place": ({"at": ""}, "EMA: .*neck.P3"),
    "type that is not there": ({"at": "each:C2f"}, r"yolo11\.yaml .*'C2f'.* C2PSA, C3k2, Concat"),
    "type of the other part": ({"at": "backbone.each:Concat"}, r"backbone of yolo11\.yaml .*'Concat'"),
    "number that is not there": ({"at": "layer:40"}, "'40'.* layer:0 to layer:22"),
    "no number": ({"at": "layer:x"}, "'x'"),
    "the head": ({"at": "layer:23"}, r"layer 23 of yolo11\.yaml \(Detect\).*before_head"),
    "twice": ({"at": "neck.P3,layer:16"}, r"layer 16 \(layer:16\)"),
    "unknown layer type": ({"block": "GSop", "at": "neck.P3"}, "layer type 'GSop'.* 'GSoP'.*EMA, GSoP"),
    "unknown option": ({"at": "neck.P3", "options": {"facter": 8}}, "'facter'.* 'factor'"),
    "channels": ({"at": "neck.P3", "options": {"factor": 48}}, "scale n.*layer 17.*factor=48.*64"),
    "channels of one scale": ({"at": "neck.P3", "options": {"factor": 128}}, r"EMA at neck\.P3 .*factor=128"),
    "one map, sources": ({"at": "neck.P3", "sources": "backbone.P3"}, "EMA .*backbone.P3"),
    "list, no sources": (LIST | {"sources": ""}, "PMFS .*backbone.P3"),
    "list, two places": (LIST | {"at": "neck.P3,neck.P4"}, "neck.P3, neck.P4"),
    "sources behind": (LIST | {"sources": "backbone.P4,neck.P5"}, "PMFS at before_neck .*layer 10 .*neck.P5, layer 22"),
    "source of several maps": (LIST | {"at": "before_head", "sources": "neck.P3,before_head"}, "'before_head'"),
    "another size": (LIST, r"128 channels at stride 16.*10 \(C2PSA\) .*256 channels at stride 32"),
    "a stride of its own": ({"block": "Conv", "at": "neck.P3", "args": [256, 3, 2]}, "64 channels at stride 16"),
    "one of a pyramid": ({"block": "PyramidLevel", "at": "neck.P3"}, "PyramidLevel"),
    "no later layer": ({"at": "neck.P5", "reroute": "path"}, r"reroute=path.*22 .*23 \(Detect\)"),
    "not read by the head": ({"at": "backbone.P3", "reroute": "detect"}, r"reroute=detect.*4 .*5 \(Conv\)"),
    "reroute": ({"at": "neck.P3", "reroute": "paths"}, "'paths' .*all, detect, path.* 'path'"),
    "base": ({"base": "yolo111.yaml", "at": "neck.P3"}, "'yolo111.yaml'.*Did you mean"),
    "arguments beside a list": ({"block": [Insertion("EMA", "neck.P3")], "at": "neck.P3"}, "at, sources.*Insertion"),
    "no block": ({"block": []}, "'EMA', at='neck.P3'"),
    "a layer with several maps": ({"base": "yolov9e.yaml", "at": "layer:10"}, r"10 of yolov9e\.yaml \(CBLinear\)"),
    "a type with several maps": ({"base": "yolov9e.yaml", "at": "each:CBLinear"}, "'each:CBLinear': layer 10 "),
    "no YAML": ({"base": "yolo11n.pt", "at": "neck.P3"}, "'yolo11n.pt'"),
}


@pytest.mark.parametrize(("given", "message"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_placed(given, message, tmp_path):
    given = {"base": "yolo11.yaml", "block": "EMA", **given}
    with pytest.raises(UserError, match=message):
        place(given.pop("base"), given.pop("block"), **given, output=tmp_path / "x.yaml")
    assert not list(tmp_path.iterdir())


def test_two_maps_of_one_stride_have_no_name(tmp_path):
    file = tmp_path / "twice.yaml"
    base = model_graph.locate("yolo11.yaml").read_text("utf-8")
    file.write_text(base.replace("[[16, 19, 22]", "[[16, 19, 13]"), "utf-8")
    with pytest.raises(LayerError, match=r"'neck.P4' of twice.yaml .* 2 .*layer:\d+ or layer:\d+"):
        place(file, "EMA", at="neck.P4")


def test_outputs_are_checked_and_written_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "x.yaml"
    file.write_text("mine")
    with pytest.raises(ArgumentError, match=r"x\.yaml.*--force"):
        place("yolo11.yaml", "EMA", at="neck.P3", output=file)
    with pytest.raises(LayerError, match=r"neck\.P9"):
        place("yolo11.yaml", "EMA", at="neck.P9", output=file, force=True)
    for name, message in (("x.txt", r"\.yaml or \.yml"), ("no/x.yaml", "folder '.*no'")):
        with pytest.raises(ArgumentError, match=message):
            place("yolo11.yaml", "EMA", at="neck.P3", output=tmp_path / name)

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("yolo_attn.atomic_files.os.fsync", full)
        with pytest.raises(DiskFullError):
            place("yolo11.yaml", "EMA", at="neck.P3", output=file, force=True)
    assert file.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [file]
    place("yolo11.yaml", "EMA", at="neck.P3", output=file, force=True)
    assert "EMA" in file.read_text("utf-8")


def test_the_command_writes_prints_and_lists(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["place", "yolo11.yaml", "EMA", "--at", "neck.P3", "--args", "factor=8", "-o", "a.yaml"]) == 0
    out = capsys.readouterr().out
    assert all(part in out for part in ("consumers", "17", "neck.P3", "a.yaml"))
    assert main(["place", "yolo11.yaml", "EMA", "at=neck.P3", "args=factor=8", "--output=b.yaml"]) == 0
    assert table(Path("a.yaml").read_text("utf-8")) == table(Path("b.yaml").read_text("utf-8"))
    capsys.readouterr()
    assert main(["place", "yolo11.yaml", "EMA", "--at", "neck.P3"]) == 0
    assert where(capsys.readouterr().out, "EMA") == [(17, [16], [18, 24])]
    assert main(["place", "yolov8-p2.yaml"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in ("consumers", "backbone.P3", "neck.P2", "before_head", "each:TYPE"))
    assert max(map(len, listed.splitlines())) <= 80


@pytest.mark.fast
@pytest.mark.parametrize(
    ("model", "output", "named", "letter"),
    [
        ("yolo11.yaml", "yolo11-mine.yaml", "yolo11n-mine.yaml", "n"),
        ("yolo11s.yaml", "yolo11-mine.yaml", "yolo11s-mine.yaml", "s"),  # the base's
        ("yolo11s.yaml", "my models/yolo11-mine.yaml", "my models/yolo11s-mine.yaml", "s"),
        ("yolo11s.yaml", "yolo11m-mine.yaml", "yolo11m-mine.yaml", "m"),  # the output's own
        ("yolo11s.yaml", "mine.yaml", "mine.yaml", "n"),  # no place for a letter, as a warning says
        ("yolov5-p6.yaml", "yolov5-p6-mine.yaml", "yolov5n-p6-mine.yaml", "n"),
        ("yolov9s.yaml", "yolov9s-mine.yaml", "yolov9s-mine.yaml", ""),  # has no scales
        ("yolo11l-seg.yaml", "yolo11-seg-mine.yaml", "yolo11l-seg-mine.yaml", "l"),
        ("yolo11-cls.yaml", "yolo11-cls-mine.yaml", "yolo11n-cls-mine.yaml", "n"),
        ("yolo11-pose.yaml", "yolo11-pose-mine.yaml", "yolo11n-pose-mine.yaml", "n"),
    ],
)
def test_the_command_to_train_names_the_scale_and_data_of_the_task(
    model, output, named, letter, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path(output).parent.mkdir(exist_ok=True)
    assert main(["place", model, "EMA", "--at", "backbone.end", "-o", output]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "yolo train" in line)
    words = shlex.split(line.partition("Train it: ")[2].partition("(")[0])
    assert words[:3] == ["yolo", "train", f"model={named}"]
    assert (f"{letter} is the scale" in line) == (named != output)
    graph = model_graph.build(model_graph.load(named))
    assert graph.scale == letter
    # the digits are a detection data set
    assert words[3:] == (["data=DATA"] if "-seg" in model or "-cls" in model or "-pose" in model else
                         ["data=digits.yaml", "imgsz=128"])  # fmt: skip


def test_arguments_are_read_as_yaml():
    options = {"heads": 4, "sizes": [3, 5], "residual": True, "kernel": "linear"}
    assert arguments("1024,heads=4,sizes=[3,5],residual=true,kernel=linear", "B") == ([1024], options)
    assert arguments("", "B") == ([], {})
    for wrong in ("a=1,a=2", "3x=1", "a=[1"):
        with pytest.raises(ArgumentError, match="B: --args"):
            arguments(wrong, "B")
