"""``yolo-attn diagram``: the drawing has the graph's layers, edges and sizes, whoever draws it, and can be read."""

import pathlib
import re
import shutil
import sys
import xml.etree.ElementTree as ET

import pytest
import ultralytics
from support import ROOT, run
from yolo_attn.model_yaml.diagram.drawing.style import COLOURS, size

import yolo_attn
from yolo_attn.cli import main
from yolo_attn.errors import ArgumentError, LayerError
from yolo_attn.integration.queries import model_graph as graphs
from yolo_attn.model_yaml.diagram.drawing import drawing, graph_layout, graphviz
from yolo_attn.registry import BLOCKS

yolo_attn.install()

SHIPPED = pathlib.Path(ultralytics.__file__).parent / "cfg" / "models"
MODELS = [
    *(f for f in sorted(SHIPPED.rglob("*.yaml")) if "resnet" not in f.name),  # those fetch weights when built
    *sorted((ROOT / "model_yamls").glob("*.yaml")),
]
DRAWN = [
    "yolo11n-ema.yaml",
    "yolo11n-afpn.yaml",
    "yolov9e.yaml",
    "yolo11n-cls.yaml",
    "rtdetr-l.yaml",
    "yolov8n-p6.yaml",
]
SVG = "{http://www.w3.org/2000/svg}"
FAKE = """\
#!{python}
import sys
text = sys.stdin.buffer.read().decode()
assert text.startswith("digraph model {{") and text.rstrip().endswith("}}"), text
if {fails}:
    sys.exit("Format: svg not recognized")
open({log!r}, "w").write(repr(sys.argv[1:]))
sys.stdout.write("<svg>" + str(text.count(" -> ")) + "</svg>")
"""


@pytest.fixture(autouse=True)
def _without_graphviz(monkeypatch, tmp_path_factory):
    """An empty PATH: what is installed on this machine does not decide which engine is tested."""
    monkeypatch.setenv("PATH", str(tmp_path_factory.mktemp("empty")))


def built(name):
    return graphs.build(graphs.load(name))


def edges(graph):
    return {(x, layer.index) for layer in graph.layers for x in layer.reads}


def drawn(tmp_path, graph, **words):
    """Draw a model as SVG; return its root."""
    drawing.draw(graph, tmp_path / "model.svg", **words)
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


def test_sizes_are_channels_height_and_width_at_the_image_size(tmp_path):
    graph = built("yolo11n-ema.yaml")
    assert (graph.layers[17].channels, graph.layers[17].stride) == (64, 8)
    assert "64x80x80" in texts(drawn(tmp_path, graph))
    larger = texts(drawn(tmp_path, graph, imgsz=1280, force=True))
    assert "64x160x160" in larger
    assert "16x320x320" not in larger
    assert size(built("yolov9e.yaml").layers[12], 640) == "64+128+256x80x80"
    assert size(built("yolo11-afpn.yaml").layers[11], 640).startswith("3 maps: ")


def test_attention_is_marked_by_colour_border_and_word(tmp_path):
    graph = built("yolo11n-ema.yaml")
    root = drawn(tmp_path, graph)
    styles = {
        n.get("id"): n.find(f".//{SVG}path").get("style") for n in root.iter() if n.get("id") in ids(root, "layer")
    }
    for layer in graph.layers:
        style = styles[f"layer-{layer.index}"].replace(" ", "")
        assert (f"fill:{COLOURS['attended']}" in style) == (layer.name == "EMA")
        assert float(re.search(r"stroke-width:([\d.]+)", style)[1]) == (2.6 if layer.name == "EMA" else 0.8)
    assert [t.startswith("attention") for t in texts(root)].count(True) == 3
    assert "layer of yolo-attn" in texts(root)
    stock = texts(drawn(tmp_path, built("yolo11n.yaml"), force=True))
    assert "layer of yolo-attn" not in stock
    assert not any(t.startswith("attention") for t in stock)


def test_options_stand_in_the_box(tmp_path):
    file = tmp_path / "yolo11n-mine.yaml"
    shutil.copy(SHIPPED / "11" / "yolo11.yaml", file)
    text = file.read_text().replace("head:\n", "head:\n  - [-1, 1, EMA, [{factor: 8}]]\n")
    file.write_text(re.sub(r"\[\[16, 19, 22\]", "[[17, 20, 23]", text))
    assert "attention: factor=8" in texts(drawn(tmp_path, built(file)))


def luminance(colour):
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_and_lines_can_be_told_from_what_is_behind_them():
    def contrast(a, b):
        high, low = sorted((luminance(COLOURS.get(a, a)), luminance(COLOURS.get(b, b))), reverse=True)
        return (high + 0.05) / (low + 0.05)

    for fill in ("backbone", "neck", "head", "attended", "band", "#ffffff"):
        assert contrast("text", fill) > 7
        assert contrast("attention", fill) > 3
        assert contrast("line", fill) > 3


@pytest.mark.parametrize("file", MODELS, ids=lambda f: f.stem)
def test_boxes_and_lines_keep_out_of_each_others_way(file):
    """No box on another, no line through a box, no two lines of different sources on each other."""
    graph = built(file)
    count = len(graph.layers)
    layout = graph_layout.lay_out(graph, [1.2] * count, [0.6] * count)
    boxes = list(layout.boxes.values())
    assert {(line.source, line.target) for line in layout.lines} == {e for e in edges(graph) if e[0] >= 0}
    for k, a in enumerate(boxes):
        for b in boxes[:k]:
            apart = abs(a.y - b.y) > (a.height + b.height) / 2 or abs(a.x - b.x) >= (a.width + b.width) / 2
            assert apart, (a.layer.index, b.layer.index)
    segments = []
    for line in layout.lines:
        for (x0, y0), (x1, y1) in zip(line.points, line.points[1:], strict=False):
            assert x0 == pytest.approx(x1) or y0 == pytest.approx(y1), "lines run along the axes"
            segments.append((line, *sorted((x0, x1)), *sorted((y0, y1))))
    for line, x0, x1, y0, y1 in segments:
        for box in boxes:
            inside = x0 < box.x + box.width - 1e-6 and x1 > box.x + 1e-6
            inside = inside and y0 < box.y + box.height / 2 - 1e-6 and y1 > box.y - box.height / 2 + 1e-6
            assert not inside, f"line {line.source} to {line.target} runs through {box.layer.index}"
    for k, (a, ax0, ax1, ay0, ay1) in enumerate(segments):
        for b, bx0, bx1, by0, by1 in segments[:k]:
            if a.source == b.source:
                continue
            across = ay1 - ay0 < 1e-6 and by1 - by0 < 1e-6 and abs(ay0 - by0) < 0.01
            along = ax1 - ax0 < 1e-6 and bx1 - bx0 < 1e-6 and abs(ax0 - bx0) < 0.01
            shared = min(ax1, bx1) - max(ax0, bx0) if across else min(ay1, by1) - max(ay0, by0) if along else 0
            assert shared < 0.01, f"{a.source} to {a.target} lies on {b.source} to {b.target}"
    for line in layout.lines:
        box = layout.boxes[line.target]
        x, y = line.points[-1]
        assert box.x - 1e-6 <= x <= box.x + box.width + 1e-6
        assert abs(y - box.y) <= box.height / 2 + 1e-6
    read = {x for x, _ in edges(graph) if x >= 0}
    assert {label.source for label in layout.labels} == read
    for box in boxes:
        assert box.y - box.height / 2 >= 0
        assert box.y + box.height / 2 <= layout.height
        assert box.x + box.width <= layout.width


def test_bands_are_the_strides_from_the_largest_map_down():
    graph = built("yolov8n-p6.yaml")
    layout = graph_layout.lay_out(graph, [1.0] * 31, [0.5] * 31)
    assert [band.stride for band in layout.bands] == [2, 4, 8, 16, 32, 64]
    for box in layout.boxes.values():
        if box.layer.stride:
            band = next(b for b in layout.bands if b.stride == box.layer.stride)
            assert band.top < box.y < band.bottom
    head = layout.boxes[30]
    assert (head.top * layout.ROW, head.column) == (pytest.approx(layout.bands[2].top), 3)


@pytest.mark.parametrize(("suffix", "starts"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_the_same_model_gives_the_same_file(suffix, starts, tmp_path):
    graph = built("yolo11n-ema.yaml")
    for k in (1, 2):
        assert drawing.draw(graph, tmp_path / f"{k}.{suffix}") == "matplotlib"
    first = (tmp_path / f"1.{suffix}").read_bytes()
    assert first == (tmp_path / f"2.{suffix}").read_bytes()
    assert first.startswith(starts)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"1.{suffix}", f"2.{suffix}"]


# ---- graphviz


def fake_dot(monkeypatch, folder, *, fails=False):
    """Put a program ``dot`` on PATH that checks its input; return the file with its arguments."""
    folder.mkdir()
    program, log = folder / "dot", folder / "arguments"
    program.write_text(FAKE.format(python=sys.executable, fails=fails, log=str(log)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return log


@pytest.mark.parametrize("name", DRAWN)
def test_the_dot_text_is_the_graph(name):
    graph = built(name)
    text = graphviz.dot_text(graph, 640)
    assert text.count("{") == text.count("}")
    nodes = dict(re.findall(r'^ *(\d+) \[id="layer-\d+", label="([^"]*)"', text, re.MULTILINE))
    assert {int(k): v.split("\\n")[0] for k, v in nodes.items()} == {
        la.index: f"{la.index} {la.name}" for la in graph.layers
    }
    found = re.findall(r'^  (\w+) -> (\d+) \[id="edge-(\w+)-(\d+)"(?:, label=" ([^"]*) ")?', text, re.MULTILINE)
    assert {(-1 if a == "image" else int(a), int(b)) for a, b, _, _, _ in found} == edges(graph)
    assert len(found) == len(edges(graph))
    for a, b, a_, b_, label in found:
        assert (a, b) == (a_, b_)
        assert a == "image" or label == size(graph.layers[int(a)], 640)
    thick = re.findall(rf'^ *(\d+) \[.*fillcolor="{COLOURS["attended"]}".*penwidth=2.6\]', text, re.MULTILINE)
    assert [int(k) for k in thick] == [la.index for la in graph.layers if la.name in BLOCKS]
    assert text == graphviz.dot_text(built(name), 640)


def test_graphviz_is_used_where_it_is(tmp_path, monkeypatch):
    log = fake_dot(monkeypatch, tmp_path / "bin")
    graph = built("yolo11n-ema.yaml")
    assert drawing.draw(graph, tmp_path / "model.svg") == "graphviz"
    arrows = (tmp_path / "model.svg").read_text()
    stages = graphviz.dot_text(graph, 640).count("subgraph cluster_")
    assert arrows == f"<svg>{len(edges(graph)) + stages}</svg>"
    assert log.read_text() == "['-Tsvg']"
    assert drawing.draw(graph, tmp_path / "model.png", engine="graphviz") == "graphviz"
    assert "-Tpng" in log.read_text()
    assert drawing.draw(graph, tmp_path / "other.svg", engine="matplotlib") == "matplotlib"


def test_a_graphviz_that_fails_is_done_without_unless_it_was_asked_for(tmp_path, monkeypatch):
    fake_dot(monkeypatch, tmp_path / "bin", fails=True)
    graph = built("yolo11n-cls.yaml")
    assert drawing.draw(graph, tmp_path / "model.svg") == "matplotlib"
    with pytest.raises(LayerError, match=r"graphviz \(.*dot\) failed: Format: svg not recognized; engine=matplotlib"):
        drawing.draw(graph, tmp_path / "other.svg", engine="graphviz")
    assert not (tmp_path / "other.svg").exists()


def test_graphviz_that_is_not_there(tmp_path):
    with pytest.raises(LayerError, match=r"graphviz is not installed \(no program 'dot' on PATH\)"):
        drawing.draw(built("yolo11n-cls.yaml"), tmp_path / "model.svg", engine="graphviz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["yolo11n-ema.yaml", "yolov9e.yaml"])
def test_the_real_graphviz_draws_it(name, tmp_path, monkeypatch):
    monkeypatch.undo()
    if not shutil.which("dot"):
        pytest.skip("needs graphviz' program dot on PATH")
    graph = built(name)
    root = drawn(tmp_path, graph, engine="graphviz")
    found = texts(root)
    assert {f"{layer.index} {layer.name}" for layer in graph.layers} <= set(found)
    assert sorted(ids(root, "layer")) == sorted(f"layer-{layer.index}" for layer in graph.layers)
    assert len(ids(root, "edge")) == len(edges(graph))


# ---- the command, and what is refused


def test_the_command(tmp_path, capsys):
    file = tmp_path / "model.svg"
    assert main(["diagram", "yolo11s-ema.yaml", "-o", str(file)]) == 0
    assert capsys.readouterr().out == f"Written: {file} (yolo11s-ema.yaml, scale s, by matplotlib)\n"
    assert "yolo11s-ema.yaml, scale s" in texts(ET.parse(file).getroot())
    words = [
        f"model={'yolo11-ema.yaml'}",
        f"output={file}",
        "scale=m",
        "imgsz=320",
        "--force",
        "--engine",
        "matplotlib",
    ]
    assert main(["diagram", *words]) == 0
    found = texts(ET.parse(file).getroot())
    assert "yolo11-ema.yaml, scale m" in found
    assert "image 3x320x320" in found


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_the_command_explains_itself(words, capsys):
    assert main(["diagram", *words]) == 0
    assert "yolo-attn diagram yolo11n-ema.yaml -o yolo11n-ema.svg" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["yolo11n.yaml"], "where to? write e.g. yolo-attn diagram"),
        (["-o", "a.svg"], "which model?"),
        (["yolo11n.yaml", "-o", "a.gif"], "output 'a.gif' must end in .svg or .png or .pdf"),
        (["yolo11n.yaml", "-o", "a"], "output 'a' must end in .svg or .png or .pdf"),
        (["yolo11n.yaml", "-o", "nowhere/a.svg"], "the folder 'nowhere' does not exist"),
        (["yolo11n.yaml", "-o", "there.svg"], "output 'there.svg' exists; give another name, or --force"),
        (["yolo11n.yaml", "-o", "a.svg", "--imgsz", "650"], "imgsz=650 must be a multiple of 32, .* e.g. 640"),
        (["yolo11n.yaml", "-o", "a.svg", "imgsz=0"], "imgsz='0' must be a number of pixels"),
        (["yolo11n.yaml", "-o", "a.svg", "imgsz=large"], "imgsz='large' must be a number of pixels"),
        (["yolo11n.yaml", "-o", "a.svg", "--scale", "q"], "no scale 'q'; it has n, s, m, l, x"),
        (["yolo11n.yaml", "-o", "a.svg", "engine=graphvis"], "engine='graphvis' must be one of .*mean 'graphviz'"),
        (["yolo11n.yaml", "-o", "a.svg", "--imgs", "64"], "unknown word '--imgs'. Did you mean 'imgsz'"),
        (["yolo11q.yaml", "-o", "a.svg"], "model 'yolo11q.yaml' does not exist"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.svg").write_text("mine")
    assert main(["diagram", *words]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert re.search(said.replace("?", r"\?"), err), err
    assert [p.name for p in tmp_path.iterdir()] == ["there.svg"]
    assert (tmp_path / "there.svg").read_text() == "mine"


def test_a_drawing_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    (tmp_path / "model.svg").write_text("old")
    monkeypatch.setattr("yolo_attn.model_yaml.diagram.drawing.matplotlib_figure.save", lambda *a: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        drawing.draw(built("yolo11n-cls.yaml"), tmp_path / "model.svg", force=True)
    assert (tmp_path / "model.svg").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(ArgumentError, match="exists"):
        drawing.draw(built("yolo11n-cls.yaml"), tmp_path / "model.svg")


def test_drawing_needs_neither_torch_nor_pyplot(tmp_path):
    out = run(
        """
        import sys
        from yolo_attn.integration.queries.model_graph import Graph, Layer
        from yolo_attn.model_yaml.diagram.drawing import draw
        rows = [("Conv", (-1,), 8, 2), ("Conv", (0,), 16, 4), ("Detect", (0, 1), None, None)]
        layers = [Layer(i, name, "head", reads, (), c, s) for i, (name, reads, c, s) in enumerate(rows)]
        draw(Graph(tuple(layers), "tiny.yaml", ""), "tiny.svg", imgsz=64, engine="matplotlib")
        print([m for m in ("torch", "matplotlib.pyplot", "ultralytics") if m in sys.modules])
        """,
        tmp_path,
    )
    assert out == "[]\n"
    assert "16x16x16" in texts(ET.parse(tmp_path / "tiny.svg").getroot())
