"""The model YAMLs of the project: every scale builds and runs, and the blocks are where the README says."""

import re
import shlex
from pathlib import Path

import pytest
import shipped
import torch
import ultralytics
import yaml
from ultralytics import YOLO

import yolo_attn
from yolo_attn import place
from yolo_attn.cli.main import call_of
from yolo_attn.integration.queries import layer_types, model_graph
from yolo_attn.model_yaml.header_comment import fingerprint

FOLDER = Path(__file__).parents[1] / "model_yamls"
FILES = sorted(FOLDER.glob("*.yaml"))
# Per family: the layer types of its rows, in order.
ROWS = {
    "ema": ["EMA"] * 3,
    "gsop": ["GSoP"],
    "pmfs": ["PMFS"],
    "harm": ["HarmAttn"] * 3,
    "soft": ["SoftAttn"] * 3,
    "gla": ["GlobalLocalAttention"],
    "gc": ["GlobalContext"] * 3,
    "aac": ["AttentionAugmentedConv"],
    "afpn": ["AttentionFPN", *["PyramidLevel"] * 3],
}
FIRST = ("ema", "gsop", "pmfs")  # there for YOLOv8 too
BACKBONE_END = {"yolo26": 10, "yolo11": 10, "yolov8": 9}
yolo_attn.install()


def split(file):
    base, _, kind = file.stem.partition("-")
    return base, kind


def test_all_are_there():
    wanted = {f"{b}-{k}" for b in BACKBONE_END for k in ROWS if k in FIRST or b != "yolov8"}
    assert {f.stem for f in FILES} == wanted


@pytest.mark.parametrize("scale", "nsmlx")
@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_builds_and_runs_forward_and_backward(file, scale):
    base, kind = split(file)
    model = YOLO(f"{base}{scale}-{kind}.yaml").model.train()
    ours = [m for m in model.model if layer_types.spec_of(type(m)) is not None]
    assert [type(m).__name__ for m in ours] == ROWS[kind]
    out = model(torch.rand(2, 3, 64, 64))
    tensors = [t for t in shipped.tensors(out) if t.requires_grad]
    sum(t.float().square().mean() for t in tensors).backward()
    for module in ours:
        grads = [p.grad for p in module.parameters()]
        assert all(g is not None and g.isfinite().all() for g in grads)
        assert not grads or any(g.abs().sum() > 0 for g in grads)


@pytest.mark.fast
@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_is_the_base_model_with_the_attention_rows_added(file):
    base, kind = split(file)
    mine = yaml.safe_load(file.read_text())
    theirs = model_graph.load(f"{base}n.yaml")
    rows = mine["backbone"] + mine["head"]
    kept = [i for i, row in enumerate(rows) if row[2] not in ROWS[kind]]
    number = {new: old for old, new in enumerate(kept)}  # number here -> number in the base

    def source(i, x):
        """Return the base layer that row ``i`` reads through ``x``, skipping the attention rows."""
        x = x + i if x < 0 else x
        while x not in number and x >= 0:
            f, _, name, args = rows[x]
            if name == "PyramidLevel":  # this level replaces the pyramid's input of that level
                x = rows[x + f if f < 0 else f][0][args[0]]
                continue
            f = f[-1] if isinstance(f, list) else f
            x = f + x if f < 0 else f
        return number.get(x, -1)

    wanted = theirs["backbone"] + theirs["head"]
    assert len(kept) == len(wanted)
    for old, new in enumerate(kept):
        f, n, name, args = rows[new]
        f0, n0, name0, args0 = wanted[old]
        assert (n, name, args) == (n0, name0, args0)
        read = [source(new, x) for x in (f if isinstance(f, list) else [f])]
        assert read == [x + old if x < 0 else x for x in (f0 if isinstance(f0, list) else [f0])]
    assert mine["scales"] == theirs["scales"]


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_the_block_is_where_the_readme_says(file):
    base, kind = split(file)
    graph, end = model_graph.build(model_graph.load(file)), BACKBONE_END[base]
    ours = [layer for layer in graph.layers if layer.name in ROWS[kind]]
    reads = [(layer.index, layer.reads) for layer in ours]
    if kind in ("ema", "harm", "soft"):
        assert reads == [(x, (x - 1,)) for x in graph.head.reads]
    elif kind in ("gsop", "gla", "aac"):
        assert reads == [(end + 1, (end,))]
    elif kind == "gc":
        assert reads == [(5, (4,)), (8, (7,)), (13, (12,))]
        assert [layer.stride for layer in ours] == [8, 16, 32]
    else:
        assert reads[0] == (end + 1, (4, 6, end))
        assert reads[1:] == ([] if kind == "pmfs" else [(end + k, (end + 1,)) for k in (2, 3, 4)])
        assert [layer.args for layer in ours[1:]] == [(k,) for k in range(len(ours) - 1)]
    assert all(graph.readers(layer.index) for layer in ours)


@pytest.mark.fast
@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_index_comments_are_right(file):
    text = file.read_text(encoding="utf-8")
    rows = re.findall(r"^  - \[.*\](?: *# *(.*))?$", text, re.MULTILINE)
    content = yaml.safe_load(text)
    assert len(rows) == len(content["backbone"] + content["head"])
    numbers = {i: int(m[1]) for i, comment in enumerate(rows) if (m := re.match(r"(\d+)", comment))}
    assert all(i == number for i, number in numbers.items())
    new = [i for i, row in enumerate(content["backbone"] + content["head"]) if row[2] in ROWS[split(file)[1]]]
    assert set(new) <= set(numbers)


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_the_command_in_the_head_makes_the_file(file):
    text = file.read_text(encoding="utf-8")
    command = re.search(r"^#   (yolo-attn place .*)$", text, re.MULTILINE)[1]
    call = call_of(shlex.split(command)[1:])
    base, insertions = call.args
    assert call.keywords == {"output": file.name}
    made = place(base, insertions, output=None).text
    assert yaml.safe_load(made) == yaml.safe_load(text)
    original = (Path(ultralytics.__file__).parent / "cfg" / "models").rglob(base)
    if f"sha256 {fingerprint(next(original).read_text(encoding='utf-8'))}." in text:  # the base has not changed since
        released = re.compile(r"of Ultralytics [\d.]+")
        assert released.sub("", made).replace(f"-o {base}", f"-o {file.name}") == released.sub("", text)


def test_the_readme_names_every_file():
    text = (FOLDER / "README.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert {n for row in rows for n in re.findall(r"`(yolo\w+-\w+\.yaml)`", row)} == {f.name for f in FILES}
