"""Every model YAML of Ultralytics and of this project: no findings, a readable drawing, unchanged by identities."""

import itertools

import pytest
import shipped
import torch
from support import ROOT

import yolo_attn
from yolo_attn.integration.queries import model_graph
from yolo_attn.integration.weights.loading import load_quietly
from yolo_attn.model_yaml import places
from yolo_attn.model_yaml.check_report import check
from yolo_attn.model_yaml.diagram import graph_layout

yolo_attn.install()
OURS = sorted((ROOT / "model_yamls").glob("*.yaml"))
WANTED = ("backbone.end", "before_head", "neck.P4", "backbone.P3", "backbone.P2", "backbone.P4", "before_neck")


@pytest.mark.parametrize("file", [*(f for f in shipped.FILES if "resnet" not in f.stem), *OURS], ids=lambda f: f.stem)
def test_has_no_findings_and_a_readable_drawing(file):
    """In the drawing no box is on another, no line crosses a box, no two lines of different sources share a way."""
    report = check(file)
    assert report.findings == ()
    assert bool(report.descriptions) == (file in OURS)
    graph = report.graph
    count = len(graph.layers)
    layout = graph_layout.lay_out(graph, [1.2] * count, [0.6] * count)
    boxes = list(layout.boxes.values())
    edges = {(x, layer.index) for layer in graph.layers for x in layer.reads if x >= 0}
    assert {(line.source, line.target) for line in layout.lines} == edges
    for a, b in itertools.combinations(boxes, 2):
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
            assert not inside, f"line {line.source} to {line.target} passes through {box.layer.index}"
    for (a, ax0, ax1, ay0, ay1), (b, bx0, bx1, by0, by1) in itertools.combinations(segments, 2):
        across = ay1 - ay0 < 1e-6 and by1 - by0 < 1e-6 and abs(ay0 - by0) < 0.01
        along = ax1 - ax0 < 1e-6 and bx1 - bx0 < 1e-6 and abs(ax0 - bx0) < 0.01
        shared = min(ax1, bx1) - max(ax0, bx0) if across else min(ay1, by1) - max(ay0, by0) if along else 0
        assert a.source == b.source or shared < 0.01, f"{a.source} to {a.target} lies on {b.source} to {b.target}"
    for line in layout.lines:
        box = layout.boxes[line.target]
        x, y = line.points[-1]
        assert box.x - 1e-6 <= x <= box.x + box.width + 1e-6
        assert abs(y - box.y) <= box.height / 2 + 1e-6
    assert {label.source for label in layout.labels} == {x for x, _ in edges}
    for box in boxes:
        assert box.y - box.height / 2 >= 0
        assert box.y + box.height / 2 <= layout.height
        assert box.x + box.width <= layout.width
    strides = [band.stride for band in layout.bands]  # from the largest map down
    assert strides == sorted(strides)
    for box in boxes:
        own = sorted(graph_layout.strides(box.layer, graph))
        first, last = (layout.bands[strides.index(s)] for s in (own[0], own[-1]))
        assert first.top < box.y - box.height / 2 < first.bottom
        assert last.top < box.y + box.height / 2 < last.bottom


@pytest.mark.parametrize("file", shipped.FILES, ids=lambda f: f.stem)
def test_the_output_is_the_base_models(file, tmp_path):
    base_file = shipped.small(file, tmp_path)
    found = places.named(model_graph.build(model_graph.load(base_file)))
    at = [name for name in WANTED if name in found][:5]
    assert len(at) == 5 or "cls" in file.stem
    (tmp_path / "new").mkdir()
    placed = yolo_attn.place(base_file, "nn.Identity", at=at, output=tmp_path / "new" / file.name)
    assert len(placed.inserted) == len(at) - 1 + len(found["before_head"])
    base, new = shipped.build(base_file), shipped.build(tmp_path / "new" / file.name)
    x = torch.rand(1, 3, *(2 * [128 if "p6" in file.stem else 64]))
    for module in (base, new):  # statistics other than those of a fresh model
        for k, (name, buffer) in enumerate(module.named_buffers()):
            if name.endswith(("running_mean", "running_var")):
                buffer.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(k + 7 * (module is new)))
    load_quietly(new, base)
    if hasattr(base, "txt_feats"):  # stand-ins for text features, random in every open-vocabulary model
        new.txt_feats = base.txt_feats
    with torch.no_grad():
        wanted, got = shipped.tensors(base(x)), shipped.tensors(new(x))
    assert len(wanted) == len(got) > 0
    assert all(torch.equal(a, b) for a, b in zip(wanted, got, strict=True))
    assert len(new.model) == len(base.model) + len(placed.inserted)
