"""Identities at five places of every model YAML that Ultralytics ships: the model computes the same, bit by bit."""

import pytest
import shipped
import torch

import yolo_attn
from yolo_attn.integration.queries import model_graph
from yolo_attn.integration.weights.loading import load_quietly
from yolo_attn.model_yaml import places

yolo_attn.install()
WANTED = ("backbone.end", "before_head", "neck.P4", "backbone.P3", "backbone.P2", "backbone.P4", "before_neck")


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
