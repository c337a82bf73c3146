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
from yolo_attn.integration.queries import layer_types
from yolo_attn.model_yaml.header_comment import fingerprint

FOLDER = Path(__file__).parents[1] / "model_yamls"
FILES = sorted(FOLDER.glob("*.yaml"))
NECK, BACKBONE = ("neck.P3", "neck.P4", "neck.P5"), ("backbone.P3", "backbone.P4", "backbone.P5")
# Per family: the layer types of its rows, in order, and where README.md says that the block is.
ROWS = {
    "ema": (["EMA"] * 3, NECK),
    "gsop": (["GSoP"], ("backbone.end",)),
    "pmfs": (["PMFS"], ("before_neck",)),
    "harm": (["HarmAttn"] * 3, NECK),
    "soft": (["SoftAttn"] * 3, NECK),
    "gla": (["GlobalLocalAttention"], ("backbone.end",)),
    "gc": (["GlobalContext"] * 3, BACKBONE),
    "aac": (["AttentionAugmentedConv"], ("backbone.end",)),
    "afpn": (["AttentionFPN", *["PyramidLevel"] * 3], ("before_neck",)),
}
BASES = ("yolo26", "yolo11", "yolov8")
FIRST = ("ema", "gsop", "pmfs")  # there for YOLOv8 too
every_file = pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
yolo_attn.install()


@pytest.mark.fast
def test_all_are_there_and_in_the_readme():
    assert {f.stem for f in FILES} == {f"{b}-{k}" for b in BASES for k in ROWS if k in FIRST or b != "yolov8"}
    rows = [line for line in (FOLDER / "README.md").read_text().splitlines() if line.startswith("| `")]
    assert {n for row in rows for n in re.findall(r"`(yolo\w+-\w+\.yaml)`", row)} == {f.name for f in FILES}


@pytest.mark.parametrize("scale", "nsmlx")
@every_file
def test_builds_and_runs_forward_and_backward(file, scale):
    base, kind = file.stem.split("-")
    model = YOLO(f"{base}{scale}-{kind}.yaml").model.train()
    ours = [m for m in model.model if layer_types.spec_of(type(m)) is not None]
    assert [type(m).__name__ for m in ours] == ROWS[kind][0]
    out = model(torch.rand(2, 3, 64, 64))
    tensors = [t for t in shipped.tensors(out) if t.requires_grad]
    sum(t.float().square().mean() for t in tensors).backward()
    for module in ours:
        grads = [p.grad for p in module.parameters()]
        assert all(g is not None and g.isfinite().all() for g in grads)
        assert not grads or any(g.abs().sum() > 0 for g in grads)


@every_file
def test_the_command_at_the_top_makes_the_file(file):
    """With the tests of place: only the attention rows are new, at these places, and index comments are right."""
    text = file.read_text(encoding="utf-8")
    command = re.search(r"^#   (yolo-attn place .*)$", text, re.MULTILINE)[1]
    call = call_of(shlex.split(command)[1:])
    base, insertions = call.args
    assert call.keywords == {"output": file.name}
    (insertion,) = insertions
    types, at = ROWS[file.stem.partition("-")[2]]
    assert (base, insertion.block, insertion.at) == (f"{file.stem.partition('-')[0]}.yaml", types[0], at)
    assert insertion.sources == (BACKBONE if at == ("before_neck",) else ())
    made = place(base, insertions, output=None).text
    assert yaml.safe_load(made) == yaml.safe_load(text)
    original = (Path(ultralytics.__file__).parent / "cfg" / "models").rglob(base)
    if f"sha256 {fingerprint(next(original).read_text(encoding='utf-8'))}." in text:  # the base has not changed since
        released = re.compile(r"of Ultralytics [\d.]+")
        assert released.sub("", made).replace(f"-o {base}", f"-o {file.name}") == released.sub("", text)
