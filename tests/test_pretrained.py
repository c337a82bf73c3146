"""Weights follow their layers: Ultralytics' own ``load``, with the two models aligned first."""

import copy
import pickle

import pytest
import torch
from hand_made import inserted, shipped, write
from support import ROOT, logged
from torch import nn
from ultralytics import YOLO
from ultralytics.nn.tasks import BaseModel, ClassificationModel, DetectionModel, SegmentationModel

import yolo_attn
from yolo_attn.alignment.layer_alignment import Alignment
from yolo_attn.errors import CheckpointError
from yolo_attn.integration.queries import model_layers
from yolo_attn.integration.strict_mode import strict
from yolo_attn.integration.weights import loading, weight_sources

yolo_attn.install()
BASES = ("yolov8n", "yolo11n", "yolo26n")
in_part = pytest.mark.skipif(not hasattr(BaseModel, "_remap_cls_by_names"), reason="Ultralytics copies none in part")
FILES = sorted(f.stem for f in (ROOT / "model_yamls").glob("*.yaml"))


@pytest.fixture(scope="module")
def bases():
    """The stock models, with statistics that are not those of a new model."""
    models = {name: DetectionModel(f"{name}.yaml", verbose=False).eval() for name in BASES}
    for model in models.values():
        model.names = {k: f"thing {k}" for k in range(80)}
        for m in model.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.running_mean.normal_(0, 0.1)
                m.running_var.uniform_(0.5, 2)
                m.num_batches_tracked.fill_(7)
    return models


@pytest.fixture
def said():
    """The lines that went to Ultralytics' log."""
    with logged() as lines:
        yield lines


def built(model, **arguments):
    return DetectionModel(model, verbose=False, **arguments).eval()


@pytest.fixture
def aligned():
    """Align stock models too."""
    with loading.options(align_stock=True):
        yield


def tensors(model, layer):
    return model.model[layer].state_dict()


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def result(model, size=64):
    with torch.no_grad():
        return model(torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(3)))[0]


@pytest.mark.parametrize("name", FILES)
def test_every_model_yaml_gets_all_of_its_base(name, bases, said):
    base, _, _ = name.partition("-")
    source = bases[f"{base}n"]
    target = built(name.replace("-", "n-", 1) + ".yaml")
    target.load(source)
    count = len(source.state_dict())
    (line,) = said
    assert line.startswith(f"transferred {count}/{count} tensors of the source (100 %); new: ")
    known = weight_sources.of(target)
    assert sorted(known["layers"]) == list(range(len(source.model)))
    for i, j in known["layers"].items():
        assert same(tensors(target, j), tensors(source, i))
    old = tuple(f"model.{j}." for j in known["layers"].values())
    assert known["new"] == sorted(n for n, _ in target.named_parameters() if not n.startswith(old))
    assert target.names == source.names  # all of the class branch came over


@pytest.mark.parametrize("base", ["v8/yolov8.yaml", "11/yolo11.yaml", "26/yolo26.yaml"])
@pytest.mark.parametrize("after", [0, 4, 9, -2])
def test_a_layer_without_effect_changes_nothing_wherever_it_is(base, after, bases, tmp_path, aligned):
    """A plain model YAML made by hand, without any layer of ours; then with one that starts as an identity."""
    name = base.partition("/")[2].replace(".yaml", "n")
    model = shipped(base)
    after %= len(model["backbone"]) + len(model["head"])
    rows = ["nn.Identity", []], ["EMA", [{"factor": 4, "residual": True}]], ["GSoP", [{"residual": True}]]
    for row in rows if after == 4 else rows[:1]:
        target = built(write(tmp_path, f"{name}-own.yaml", inserted(model, after, [-1, 1, *row])))
        target.load(bases[name])
        assert torch.equal(result(target), result(bases[name]))


def test_loading_by_number(bases, tmp_path, said, aligned):
    """One row without parameters after row 4 of yolo11n: by number 78 of 499 tensors, 12 of them to a wrong layer."""
    file = write(tmp_path, "yolo11n-own.yaml", inserted(shipped(), 4, [-1, 1, "nn.Identity", []]))
    source, naive, target = bases["yolo11n"], built(file), built(file)
    before = copy.deepcopy(naive.state_dict())
    BaseModel.load.__wrapped__(naive, source)
    target.load(source)
    assert said == [
        "Transferred 78/499 items from pretrained weights",
        "aligned yolo11n.yaml with yolo11n-own.yaml: transferred 499/499 tensors of the source (100 %)",
    ]
    there = source.state_dict()
    took = {k for k, v in naive.state_dict().items() if k in there and there[k].shape == v.shape}
    numbers = {k: int(k.split(".")[1]) for k in took}
    wrong = [k for k in took if weight_sources.of(target)["layers"].get(numbers[k]) != numbers[k]]
    assert (len(took), len(wrong)) == (78, 12)
    sizes = {k: v.numel() for k, v in there.items() if "num_batches" not in k}
    assert 0.02 < sum(sizes[k] for k in took - {*wrong} if k in sizes) / sum(sizes.values()) < 0.035
    assert all(torch.equal(before[k], v) for k, v in naive.state_dict().items() if k not in took)


def test_another_number_of_classes_loses_the_class_branch_only(bases, said):
    target = built("yolo11n-ema.yaml", nc=3)
    target.load(bases["yolo11n"])
    new = "new: 18 tensors in layers 17, 21, 25 (EMA)"
    assert f"in the class branch of layer 23 (80 classes there, 3 here); {new}" in said[-1]
    lost = {n for n in weight_sources.of(target)["new"] if n.startswith("model.26.")}
    assert lost
    assert all(n.startswith("model.26.cv3.") for n in lost)
    assert same(tensors(target, 16), tensors(bases["yolo11n"], 16))
    assert target.names == {0: "0", 1: "1", 2: "2"}


@in_part
def test_classes_by_name_are_said_to_come_in_part(bases, said):
    target = built("yolo11n-ema.yaml", nc=3)
    target.names = {0: "thing 5", 1: "unicorn", 2: "Thing 7 "}
    target.load(bases["yolo11n"])
    assert "in part: 6 tensors in layer 23 (Detect) (2 of 3 classes by name)" in said[-1]
    rows = [tensors(m, -1)["cv3.0.2.weight"] for m in (target, bases["yolo11n"])]
    assert torch.equal(rows[0][[0, 2]], rows[1][[5, 7]])
    assert "model.26.cv3.0.2.weight" in weight_sources.of(target)["new"]


@in_part
def test_other_input_channels(bases, said):
    target = built("yolo11n-ema.yaml", ch=4)
    target.load(bases["yolo11n"])
    assert "498/499" in said[-1]
    assert "in part: 1 tensor in layer 0 (Conv) (3 input channels there, 4 here)" in said[-1]
    assert torch.equal(target.model[0].conv.weight[:, :3], bases["yolo11n"].model[0].conv.weight)
    assert weight_sources.of(target)["new"][0] == "model.0.conv.weight"


def test_back_to_a_plain_model_and_to_another_attention(bases, said):
    source = built("yolo11n-ema.yaml")
    source.load(bases["yolo11n"])
    plain, other = built("yolo11n.yaml"), built("yolo11n-gsop.yaml")
    plain.load(source)
    other.load(source)
    assert same(plain.state_dict(), bases["yolo11n"].state_dict())
    gone = "transferred 499/517 tensors of the source (96.5 %); not used: 18 tensors in layers 17, 21, 25 (EMA)"
    assert said[1] == f"{gone}, not in this model"
    assert said[2] == f"{gone}, not in this model; new: 16 tensors in layer 11 (GSoP)"
    assert same(tensors(other, 17), tensors(source, 16))


def test_a_head_of_another_task(bases):
    model = inserted(shipped("11/yolo11-seg.yaml"), 10, [-1, 1, "EMA", [{"factor": 8}]])
    target = SegmentationModel({**model, "scale": "n"}, verbose=False)
    target.load(bases["yolo11n"])
    known = weight_sources.of(target)
    assert known["layers"][23] == 24
    assert not [n for n in known["new"] if n.startswith("model.24.cv2.")]
    assert [n for n in known["new"] if n.startswith("model.24.proto.")]


def test_a_classifier(said):
    source = ClassificationModel("yolo11n-cls.yaml", nc=7, verbose=False).eval()
    model = inserted(shipped("11/yolo11-cls.yaml"), 5, [-1, 1, "EMA", [{"factor": 8, "residual": True}]])
    for nc in 7, 4:
        target = ClassificationModel(copy.deepcopy({**model, "scale": "n"}), nc=nc, verbose=False).eval()
        target.load(source)
        assert (nc == 4) or torch.equal(result(target), result(source))
    assert "not used: 2 tensors in the class branch of layer 10 (7 classes there, 4 here)" in said[-1]


def test_stacked_repeats(bases, tmp_path):
    """A row with a repeat count is one layer; a source with fewer of them gives it those."""
    once = built(write(tmp_path, "yolo11n-a.yaml", inserted(shipped(), 16, [-1, 4, "EMA", [{"factor": 8}]])))
    more = built(write(tmp_path, "yolo11n-b.yaml", inserted(shipped(), 16, [-1, 6, "EMA", [{"factor": 8}]])))
    once.load(bases["yolo11n"])
    more.load(once)
    assert len(once.model[17]) == 2
    assert len(more.model[17]) == 3
    assert weight_sources.of(more)["layers"] == weight_sources.of(once)["layers"]
    for k in range(2):
        assert same(more.model[17][k].state_dict(), once.model[17][k].state_dict())
    assert result(more).isfinite().all()


def test_other_families_and_scales_are_refused(bases):
    target = built("yolo11n-ema.yaml")
    before = copy.deepcopy(target.state_dict())
    with pytest.raises(CheckpointError, match=r"yolov8n.yaml: .* 355 .*\(2\d %\).* yolo11n-ema.yaml .*partial=True"):
        target.load(bases["yolov8n"])
    assert same(target.state_dict(), before)
    assert weight_sources.of(target) is None
    with pytest.raises(CheckpointError, match=r"yolo11n.yaml: .* 499 .*\(45 %\).* yolo11s-ema.yaml"):
        built("yolo11s-ema.yaml").load(bases["yolo11n"])
    with strict(), pytest.raises(CheckpointError, match=r" 355 .* yolo11n.yaml"):
        built("yolo11n.yaml").load(bases["yolov8n"])


def test_partial(bases, said, tmp_path):
    YOLO("yolov8n.yaml").save(tmp_path / "v8.pt")
    model = YOLO("yolo11n-ema.yaml").load(tmp_path / "v8.pt", partial=True)
    assert "not used: 96 tensors in layers 2, 4, 6, 8, 12, 15, 18, 21 (C2f)" in said[-1]
    assert weight_sources.of(model.model)["source"] == "v8.pt"
    with pytest.raises(CheckpointError, match=r"v8.pt: .* 355"):  # it was for that call
        YOLO("yolo11n-ema.yaml").load(tmp_path / "v8.pt")


def test_what_cannot_be_told_apart_is_not_guessed(bases, tmp_path, said, aligned):
    """Layer 6 doubled. The next layer reads both: either could be the old one."""
    double = [-1, 2, "C3k2", [512, True]]
    file = write(tmp_path, "yolo11n-own.yaml", inserted(shipped(), 6, double, {13: [-1, 7]}))
    expected = r"yolo11n.yaml fits yolo11n-own.yaml .*: source layer 6 \(C3k2\) could be layer 6 or 7; .* --map 6=6 "
    with pytest.raises(CheckpointError, match=expected):
        built(file).load(bases["yolo11n"])
    for place in (6, 7):
        target = built(file)
        with loading.options(pins={6: place}):
            target.load(bases["yolo11n"])
        assert same(tensors(target, place), tensors(bases["yolo11n"], 6))
        assert said[-1].endswith(f"(100 %); new: 54 tensors in layer {13 - place} (C3k2)")
    asked = YOLO(str(file)).load(bases["yolo11n"], map="6=7").model
    assert same(tensors(asked, 7), tensors(bases["yolo11n"], 6))
    told = built(write(tmp_path, "yolo11n-told.yaml", inserted(shipped(), 6, double, {13: [-1, 6]})))
    told.load(bases["yolo11n"])
    assert weight_sources.of(told)["layers"][6] == 6
    with pytest.raises(CheckpointError, match=r"layer 6 \(C3k2\) could be source layer 6 or 7"):
        built("yolo11n.yaml").load(built(file))
    with loading.options(pins={6: 5}), pytest.raises(CheckpointError, match=r"yolo11n.yaml: 6=5: "):
        built(file).load(bases["yolo11n"])


def test_a_source_fused_for_inference(bases, said):
    source = copy.deepcopy(bases["yolo11n"]).fuse(verbose=False)
    built("yolo11n-ema.yaml").load(source)
    assert said[-1] == loading.FUSED
    assert " tensors of the source (" in said[-2]
    assert "100 %" not in said[-2]


def test_the_source_stays_usable_and_nothing_is_drawn(bases, said):
    source = copy.deepcopy(bases["yolo11n"]).half()
    names, modules = dict(source.names), [id(m) for m in source.modules()]
    target = built("yolo11n-ema.yaml")
    state = torch.get_rng_state()
    target.load(source, verbose=False)
    assert torch.equal(torch.get_rng_state(), state)
    assert said == []
    assert [id(m) for m in source.modules()] == modules
    assert source.names == names
    assert all(p.dtype == torch.float32 for p in source.parameters())  # as Ultralytics leaves it
    assert type(source.model[17]).__name__ == "Conv"
    assert result(source).isfinite().all()
    target = built("yolo11n-gsop.yaml")
    target.load({"model": None, "ema": source})
    assert same(tensors(target, 17), tensors(source, 16))
    longer = built("yolo11n-ema.yaml").half()
    built("yolo11n.yaml").load(longer)
    assert all(p.dtype == torch.float32 for p in longer.parameters())  # those without a place in the target too
    nowhere = Alignment(model_layers.describe(source), model_layers.describe(target), {})
    assert not loading._rearranged(source, target, nowhere).is_fused()


def test_models_that_are_no_list_of_layers(said):
    source = built("yolo11n-ema.yaml")
    target = ClassificationModel("yolo11n-cls.yaml", verbose=False)
    foreign = nn.Sequential(nn.Conv2d(3, 4, 1))
    target.load(foreign)
    assert said[-1] == f"Transferred 0/{len(target.state_dict())} items from pretrained weights"
    assert weight_sources.of(target) is None
    assert not model_layers.is_list_of_layers(foreign)
    assert not model_layers.is_list_of_layers(None)
    assert model_layers.is_list_of_layers(source)


def test_provenance_goes_along(bases, tmp_path):
    first = built("yolo11n-ema.yaml")
    first.load(bases["yolo11n"])
    kept = pickle.loads(pickle.dumps(first))
    again = built("yolo11n-ema.yaml")
    again.load(kept)  # as train() does with the model that it builds anew
    assert weight_sources.of(again) == weight_sources.of(first)
    fewer = built(copy.deepcopy(first.yaml), nc=3)
    fewer.load(first)
    known = weight_sources.of(fewer)
    assert set(weight_sources.of(first)["new"]) < set(known["new"])
    assert known["source_layers"] == 24
    other = built("yolo11n-gsop.yaml")
    other.load(first)
    known = weight_sources.of(other)
    assert known["layers"][23] == 24
    assert {n.split(".")[1] for n in known["new"]} == {"11"}
    assert known["source"] == "yolo11n.yaml"


def test_a_trainings_checkpoint_is_a_source_in_its_own_right(bases):
    model = built("yolo11n-ema.yaml")
    model.load(bases["yolo11n"])
    known = weight_sources.of(model)
    checkpoint = {"model": None, "ema": copy.deepcopy(model)}
    weight_sources.move_to_checkpoint(checkpoint)
    assert weight_sources.of(checkpoint["ema"]) == known  # not trained: as yolo-attn transfer writes it
    weight_sources.mark_trained(checkpoint["ema"])
    again = built("yolo11n-ema.yaml")
    again.load(checkpoint["ema"])
    assert weight_sources.of(again)["new"] == []
    weight_sources.move_to_checkpoint(checkpoint)
    assert weight_sources.of(checkpoint["ema"]) is None
    again = built("yolo11n-ema.yaml")
    again.load(checkpoint)
    assert weight_sources.of(again)["new"] == []
    weight_sources.restore(again, checkpoint)
    assert weight_sources.of(again) == known
