"""``yolo-attn convert``: rows as public model YAMLs write them become ours, and nothing else changes."""

import re

import pytest

from yolo_attn.cli import main
from yolo_attn.integration.queries import foreign_rows, layer_types, model_graph
from yolo_attn.messages import nearest

THEIRS = """# Backbone with attention
nc: 80 # classes
anchors:
  - [10, 13, 16, 30]
  - [30, 61, 62, 45]
scales: # depth, width, channels
  n: [0.33, 0.25, 1024]

backbone:
  - [-1, 1, Conv, [64, 3, 2]]  # 0-P1/2
  - [-1, 1, Conv, [128, 3, 2]]
  - [-1, 1, EMA_attention, [128, 8]]   # 2
  - [-1, 1, Conv, [256, 3, 2]]
  - [[-1], 1, EMA, [256]]
  - [-1, 1, GCBlock, [256, 16]]
  - [-1, 1\uff0c GSoP_Block]
head:
  - [-1, 1, nn.Upsample, [None, 2, 'nearest']]
  - [-1, 3, C2f, [128]]
  - [[8, 6], 1, Detect, [nc, anchors]]
"""
OURS = """# Backbone with attention
nc: 80 # classes
scales: # depth, width, channels
  n: [0.33, 0.25, 1024]

backbone:
  - [-1, 1, Conv, [64, 3, 2]]  # 0-P1/2
  - [-1, 1, Conv, [128, 3, 2]]
  - [-1, 1, EMA, [{factor: 8}]]   # 2
  - [-1, 1, Conv, [256, 3, 2]]
  - [-1, 1, EMA, []]
  - [-1, 1, GlobalContext, [{ratio: 0.0625}]]
  - [-1, 1, GSoP, []]
head:
  - [-1, 1, nn.Upsample, [None, 2, 'nearest']]
  - [-1, 3, C2f, [128]]
  - [[8, 6], 1, Detect, [nc]]
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.fast
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_it_rewrites_what_it_knows_and_says_so(newline, here, capfd):
    (here / "theirs.yaml").write_bytes(THEIRS.replace("\n", newline).encode("utf-8-sig"))
    assert main(["convert", "theirs.yaml", "-o", "yolov8-ours.yaml"]) == 0
    assert (here / "yolov8-ours.yaml").read_text(encoding="utf-8") == OURS
    out = " ".join(capfd.readouterr().out.split())
    for line, words in {
        3: "anchors: -> (deleted)",
        12: "EMA_attention -> EMA",
        14: "[-1] -> -1",
        15: "GCBlock -> GlobalContext",
        16: "GSoP_Block -> GSoP",
        20: "[nc, anchors] -> [nc]",
    }.items():
        assert f"line {line}: {words}" in out
    for words in ("[128, 8] -> [{factor: 8}]", "8 is the factor", "[256] -> []", "256 is the number of channels"):
        assert words in out
    assert "10 layers, detect" in out  # of check
    graph = model_graph.build(model_graph.load("yolov8n-ours.yaml"))
    assert [layer.args for layer in graph.layers if layer.name == "EMA"] == [({"factor": 8},), ()]


@pytest.mark.fast
def test_what_it_does_not_know_stays_and_check_names_it(here, capfd):
    (here / "theirs.yaml").write_text(THEIRS.replace("- [-1, 1, GCBlock, [256, 16]]", "- [-1, 1, CoTAttention, [256]]"))
    assert main(["convert", "theirs.yaml", "-o", "yolov8-ours.yaml"]) == 2
    line = capfd.readouterr().err
    assert re.fullmatch(
        r"yolo-attn: yolov8-ours\.yaml, line 12: layer 5 \(CoTAttention\): unknown layer type.*\n", line
    )
    assert "[-1, 1, CoTAttention, [256]]" in (here / "yolov8-ours.yaml").read_text()


@pytest.mark.fast
def test_a_file_of_ours_stays_as_it_is(here, capfd):
    (here / "yolov8-a.yaml").write_text(OURS)
    for name in ("yolov8-a.yaml", "yolov8n-a.yaml"):  # with a scale, as every command takes it
        assert main(["convert", name, "-o", "yolov8-b.yaml", "--force"]) == 0
        assert (here / "yolov8-b.yaml").read_text() == OURS
        assert "0 changes" in capfd.readouterr().out


@pytest.mark.fast
@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["nowhere.yaml", "-o", "b.yaml"], r"nowhere\.yaml does not exist"),
        (["theirs.yaml", "-o", "theirs.yaml"], r"theirs\.yaml.* exists"),
        (["theirs.yaml", "-o", "b.txt"], r"b\.txt.*\.yaml"),
        (["theirs.yaml"], "--output"),
        (["no.yaml", "-o", "b.yaml"], r"no\.yaml: .*'backbone'"),
    ],
)
def test_mistakes_write_nothing(arguments, match, here, capfd):
    (here / "theirs.yaml").write_text(THEIRS)
    (here / "no.yaml").write_text("train: images")
    assert main(["convert", *arguments]) == 2
    assert re.search(match, line := capfd.readouterr().err), line
    assert sorted(path.name for path in here.iterdir()) == ["no.yaml", "theirs.yaml"]
    assert (here / "theirs.yaml").read_text() == THEIRS


@pytest.mark.fast
@pytest.mark.parametrize(
    ("block", "args", "options"),
    [
        ("EMA", [8], {"factor": 8}),
        ("EMA", [256], {}),
        ("EMA", [1024, 8], {"factor": 8}),
        ("EMA", [256, 256], {}),
        ("EMA", [256, 256, 16], {"factor": 16}),
        ("EMA", [256, {"residual": True}], {"residual": True}),
        ("GSoP", [1024, 128], {"reduced_channels": 128}),
        ("GlobalContext", [0.25], {"ratio": 0.25}),
        ("GlobalContext", [16], {"ratio": 0.0625}),
        ("SoftAttn", [4], {"reduction": 4}),
        ("HardAttn", [512], {}),
    ],
)
def test_bare_numbers_have_a_meaning(block, args, options):
    reading = foreign_rows.read(layer_types.installed()[block], args)
    assert (reading.arguments[0] if reading.arguments else {}) == options
    assert len(reading.meanings) == len([a for a in args if not isinstance(a, dict)])


@pytest.mark.fast
@pytest.mark.parametrize("args", [[], [{"factor": 8}], ["abc"], [8, 16], [True], [-1], [[8]]])
def test_arguments_of_unknown_meaning_stay(args):
    assert foreign_rows.read(layer_types.installed()["EMA"], args) is None
    assert foreign_rows.read(layer_types.installed()["AttentionAugmentedConv"], [64]) is None


TYPOS = {
    "EMAA": "EMA", "EAM": "EMA", "ema": "EMA", "GSop": "GSoP", "PMSF": "PMFS", "SpatialAtn": "SpatialAttn",
    "HarmAtn": "HarmAttn", "Detet": "Detect", "Cov": "Conv", "C2ff": "C2f", "C3K2": "C3k2", "c2psa": "C2PSA",
    "Concta": "Concat", "SPPFF": "SPPF", "GlobalLocalAttn": "GlobalLocalAttention", "PyramidLevle": "PyramidLevel",
}  # fmt: skip
OTHERS = (
    "SimAM ECA CA CoordAtt SKAttention ShuffleAttention SelfAttention CBAM SE GAM GAM_Attention NAMAttention "
    "BiFormer MHSA CoTAttention TripletAttention iRMB DAttention LSKBlock MLCA CPCA DySample C2f_EMA C3k2_EMA "
    "C2fCBAM RFAConv SPDConv BiFPN_Concat2 ACmix ParNet S2Attention CrissCrossAttention ODConv DCNv2 PSAModule "
    "LinearAttention AFNO "
)


@pytest.mark.fast
def test_a_suggestion_is_the_misspelt_name_or_none():
    known = [*layer_types.installed(), *layer_types.ultralytics_layers()]
    assert {typo: nearest(typo, known) for typo in TYPOS} == {t: f" Did you mean {n!r}?" for t, n in TYPOS.items()}
    assert {name: hint for name in OTHERS.split() if (hint := nearest(name, known))} == {}
