"""``yolo-attn diagram``: each output has the graph's layers, edges and sizes, and is readable."""

import functools
import re
import shutil
import xml.etree.ElementTree as ET

import pytest
from matplotlib import font_manager
from support import run

import yolo_attn
from yolo_attn.cli import main
from yolo_attn.integration.queries import model_graph as graphs
from yolo_attn.integration.queries.layer_text import size
from yolo_attn.model_yaml.diagram import drawing, matplotlib_figure
from yolo_attn.model_yaml.diagram.style import COLOURS, box_text
from yolo_attn.registry import BLOCKS

yolo_attn.install()
DRAWN = ["yolo11n-ema.yaml", "yolo11n-afpn.yaml", "yolov9e.yaml", "yolo11n-cls.yaml", "rtdetr-l.yaml"]
SVG = "{http://www.w3.org/2000/svg}"


@functools.cache
def built(name):
    return graphs.build(graphs.load(name))


def edges(graph):
    return {(x, layer.index) for layer in graph.layers for x in layer.reads}


def drawn(tmp_path, graph, **options):
    """Draw a model as SVG; return its root."""
    assert drawing.draw(graph, tmp_path / "model.svg", **options) == ""
    return ET.parse(tmp_path / "model.svg").getroot()


def texts(root):
    return [" ".join("".join(node.itertext()).split()) for node in root.iter(f"{SVG}text")]


def ids(root, kind):
    return [node.get("id") for node in root.iter() if (node.get("id") or "").startswith(f"{kind}-")]


@pytest.mark.parametrize("name", DRAWN)
def test_every_layer_edge_and_size_is_in_the_drawing(name, tmp_path):
    graph = built(name)
    root = drawn(tmp_path, graph)
    found = texts(root)
    for layer in graph.layers:
        assert found.count(f"{layer.index} {layer.name}") == 1
        if graph.readers(layer.index) and layer is not graph.head:
            assert size(layer, 640) in found
    wanted = {f"edge-{'image' if x < 0 else x}-{i}" for x, i in edges(graph)}
    assert sorted(ids(root, "edge")) == sorted(wanted)
    assert sorted(ids(root, "layer")) == sorted(f"layer-{layer.index}" for layer in graph.layers)
    assert found.count(f"{name}, scale {graph.scale}" if graph.scale else name) == 1
    strides = {layer.stride for layer in graph.layers if layer.stride}
    assert {f"stride {s}" for s in strides} <= set(found)


@pytest.mark.fast
@pytest.mark.parametrize("name", DRAWN)
def test_dot_and_mermaid_have_the_graph(name, tmp_path):
    graph = built(name)
    attention = {layer.index for layer in graph.layers if layer.name in BLOCKS}
    for suffix, node, edge in (
        (".dot", r'^ *(\d+) \[label="([^"\\]*)', r'^ *(\w+) -> (\d+) \[label="([^"]*)"\];$'),
        (".mmd", r'^ *(\d+)\["([^"<]*)', r'^ *(\w+) -->(?:\|"([^"]*)"\|)? (\d+)$'),
    ):
        drawing.draw(graph, tmp_path / f"a{suffix}")
        text = (tmp_path / f"a{suffix}").read_text(encoding="utf-8")
        assert [text.count(a) for a in "{[("] == [text.count(b) for b in "}])"]
        assert dict(re.findall(node, text, re.MULTILINE)) == {
            str(la.index): f"{la.index} {la.name}" for la in graph.layers
        }
        found = [
            (a, *sorted(rest, key=lambda r: not r.isdecimal())) for a, *rest in re.findall(edge, text, re.MULTILINE)
        ]
        assert {(-1 if a == "image" else int(a), int(b)) for a, b, _ in found} == edges(graph)
        assert all(label == ("" if a == "image" else size(graph.layers[int(a)], 640)) for a, _, label in found)
        if suffix == ".dot":
            marked = re.findall(
                rf'^ *(\d+) \[.*fillcolor="{COLOURS["attended"]}".*penwidth=2.6\];$', text, re.MULTILINE
            )
        else:
            marked = re.findall(r"^  class ([\d,]+) attention$", text, re.MULTILINE)
        assert {int(k) for line in marked for k in line.split(",")} == attention


@pytest.mark.fast
def test_sizes_are_channels_height_and_width_at_the_image_size(tmp_path):
    graph = built("yolo11n-ema.yaml")
    assert (graph.layers[17].channels, graph.layers[17].stride) == (64, 8)
    found = texts(drawn(tmp_path, graph, imgsz=1280))
    assert "64x160x160" in found
    assert "16x320x320" not in found
    assert size(built("yolov9e.yaml").layers[12], 640) == "64+128+256x80x80"
    assert size(built("yolo11n-afpn.yaml").layers[11], 640).startswith("3 maps: ")


@pytest.mark.fast
def test_attention_has_its_own_colour_border_and_text(tmp_path):
    file = tmp_path / "yolo11n-mine.yaml"
    text = graphs.locate("yolo11n-ema.yaml").read_text("utf-8").replace("EMA, []", "EMA, [{factor: 8}]", 1)
    file.write_text(text, "utf-8")
    graph = built(str(file))
    root = drawn(tmp_path, graph)
    styles = {
        n.get("id"): n.find(f".//{SVG}path").get("style") for n in root.iter() if n.get("id") in ids(root, "layer")
    }
    for layer in graph.layers:
        style = styles[f"layer-{layer.index}"].replace(" ", "")
        assert (f"fill:{COLOURS['attended']}" in style) == (layer.name == "EMA")
        assert float(re.search(r"stroke-width:([\d.]+)", style)[1]) == (2.6 if layer.name == "EMA" else 0.8)
    found = texts(root)
    assert sorted(t for t in found if t.startswith("attention")) == [
        "attention", "attention", "attention layer", "attention: factor=8",
    ]  # fmt: skip
    assert not any(t.startswith("attention") for t in texts(drawn(tmp_path, built("yolo11n.yaml"), force=True)))


def luminance(colour):
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.fast
def test_text_and_lines_contrast_with_the_background():
    def contrast(a, b):
        high, low = sorted((luminance(COLOURS.get(a, a)), luminance(COLOURS.get(b, b))), reverse=True)
        return (high + 0.05) / (low + 0.05)

    for fill in ("backbone", "neck", "head", "attended", "band", "#ffffff"):
        assert contrast("text", fill) > 7
        assert contrast("attention", fill) > 3
        assert contrast("line", fill) > 3


@pytest.mark.fast
@pytest.mark.parametrize(("suffix", "starts"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_the_same_model_gives_the_same_file(suffix, starts, tmp_path):
    for k in (1, 2):
        drawing.draw(built("yolo11n-cls.yaml"), tmp_path / f"{k}.{suffix}")
    first = (tmp_path / f"1.{suffix}").read_bytes()
    assert first == (tmp_path / f"2.{suffix}").read_bytes()
    assert first.startswith(starts)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"1.{suffix}", f"2.{suffix}"]


@pytest.mark.fast
def test_characters_outside_the_font(tmp_path, monkeypatch):
    """Another font that has them is added; without one, a warning names them."""
    file = tmp_path / "yolo11n-cls-模型Ω.yaml"
    shutil.copy(graphs.locate("yolo11n-cls.yaml"), file)
    graph = built(str(file))
    fonts = [f for f in font_manager.fontManager.ttflist if f.name in ("DejaVu Sans", "STIXGeneral")]  # Matplotlib's
    monkeypatch.setattr(font_manager.fontManager, "ttflist", fonts)
    warning = drawing.draw(graph, tmp_path / "a.png")
    assert re.search(r"型模;? .*a\.png", warning)
    assert drawing.draw(graph, tmp_path / "a.pdf")
    assert "Ω" not in warning
    assert any("模型Ω" in t for t in texts(drawn(tmp_path, graph)))  # the viewer's fonts decide
    assert matplotlib_figure._families("a⌚型") == (["DejaVu Sans", "STIXGeneral", "sans-serif"], "型")


@pytest.mark.fast
@pytest.mark.parametrize("suffix", ["svg", "dot", "mmd"])
def test_every_argument_is_in_the_boxes(tmp_path, suffix):
    options = "mode: sum, reduced_channels: 16, position_covariance: authors, unpool: authors, residual: true"
    file = tmp_path / "yolo11n-mine.yaml"
    text = graphs.locate("yolo11n-gsop.yaml").read_text("utf-8")
    text, changed = re.subn(r"GSoP, \[.*?\]\]", f"GSoP, [{{{options}}}]]", text)
    assert changed == 1
    file.write_text(text, "utf-8")
    graph = built(str(file))
    drawing.draw(graph, tmp_path / f"model.{suffix}")
    if suffix == "svg":
        found = " ".join(texts(ET.parse(tmp_path / "model.svg").getroot()))
    else:
        found = (tmp_path / f"model.{suffix}").read_text("utf-8").replace("\\n", " ").replace("<br>", " ")
    assert f"11 GSoP attention: {options.replace(': ', '=').replace('true', 'True')}" in found
    assert "0 Conv [64, 3, 2]" in found
    assert "2 C3k2 [256, False, 0.25]" in found
    assert ("[ ] arguments in the YAML" in found) == (suffix == "svg")
    assert all(len(lines) <= 3 for lines in map(box_text, graph.layers))


@pytest.mark.fast
@pytest.mark.parametrize("suffix", ["svg", "dot", "mmd"])
def test_no_title_leaves_out_the_title_alone(tmp_path, suffix):
    files = {flag: tmp_path / f"model{flag}.{suffix}" for flag in ("", "--no-title")}
    for flag, file in files.items():
        assert main(["diagram", "yolo11n-ema.yaml", "-o", str(file), *filter(None, [flag])]) == 0
    assert "yolo11n-ema.yaml, scale n" in files[""].read_text()
    text = files["--no-title"].read_text()
    assert "yolo11n-ema.yaml" not in text
    assert "attention: 1" not in text
    assert "image 3x640x640" in text
    assert " EMA" in text


@pytest.mark.fast
def test_the_command(tmp_path, capsys):
    file = tmp_path / "model.svg"
    assert main(["diagram", "yolo11s-cls.yaml", "-o", str(file)]) == 0
    assert str(file) in capsys.readouterr().out
    assert "yolo11s-cls.yaml, scale s" in texts(ET.parse(file).getroot())
    assert main(["diagram", "model=yolo11-cls.yaml", f"output={file}", "scale=m", "imgsz=320", "--force"]) == 0
    found = texts(ET.parse(file).getroot())
    assert {"yolo11-cls.yaml, scale m", "image 3x320x320"} <= set(found)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["yolo11n.yaml", "-o", "a.gif"], r"a\.gif.*\.svg or \.png or \.pdf or \.dot or \.mmd"),
        (["yolo11n.yaml", "-o", "a"], r"'a'.*\.svg"),
        (["yolo11n.yaml", "-o", "nowhere/a.svg"], "'nowhere'"),
        (["yolo11n.yaml", "-o", "there.svg"], r"there\.svg.*--force"),
        (["yolo11n.yaml", "-o", "a.svg", "--imgsz", "650"], "imgsz=650 .*32.* 640"),
        (["yolo11n.yaml", "-o", "a.svg", "--imgsz", "0"], "imgsz=0 .*32"),
        (["yolo11n.yaml", "-o", "a.svg", "--scale", "q"], "'q'.* n, s, m, l, x"),
        (["yolo11q.yaml", "-o", "a.svg"], r"'yolo11q\.yaml'"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(given, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.svg").write_text("mine")
    assert main(["diagram", *given]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert re.search(said, err), err
    assert [p.name for p in tmp_path.iterdir()] == ["there.svg"]
    assert (tmp_path / "there.svg").read_text() == "mine"


@pytest.mark.fast
def test_a_drawing_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    (tmp_path / "model.svg").write_text("old")
    monkeypatch.setattr(matplotlib_figure, "save", lambda *a: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        drawing.draw(built("yolo11n-cls.yaml"), tmp_path / "model.svg", force=True)
    assert (tmp_path / "model.svg").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_drawing_needs_neither_torch_nor_pyplot(tmp_path):
    out = run(
        """
        import sys
        from yolo_attn.integration.queries.model_graph import Graph, Layer
        from yolo_attn.model_yaml.diagram.drawing import draw
        rows = [("Conv", (-1,), 8, 2), ("Conv", (0,), 16, 4), ("Detect", (0, 1), None, None)]
        layers = [Layer(i, name, "head", reads, (), c, s) for i, (name, reads, c, s) in enumerate(rows)]
        draw(Graph(tuple(layers), "tiny.yaml", ""), "tiny.svg", imgsz=64)
        print([m for m in ("torch", "matplotlib.pyplot", "ultralytics") if m in sys.modules])
        """,
        tmp_path,
    )
    assert out == "[]\n"
    assert "16x16x16" in texts(ET.parse(tmp_path / "tiny.svg").getroot())
