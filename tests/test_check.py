"""``yolo-attn check``: how it describes a model's layers, and each finding beside a model that does not have it."""

import re

import pytest
from shipped import one_scale
from support import ROOT
from ultralytics.cfg import TASKS

import yolo_attn
from yolo_attn.cli import main
from yolo_attn.errors import LayerError
from yolo_attn.integration.queries.lint import file_name
from yolo_attn.integration.queries.yaml_text import row_lines
from yolo_attn.model_yaml.check_report import check

yolo_attn.install()

MODEL = """\
nc: 80
scales:
  n: [0.5, 0.25, 1024]
  s: [0.5, 0.5, 1024]

backbone:
  - [-1, 1, Conv, [64, 3, 2]]  # 0
  - [-1, 1, Conv, [128, 3, 2]]  # 1
  - [-1, 1, Conv, [256, 3, 2]]  # 2
  - [-1, 1, C2f, [256]]  # 3, P3
  - [-1, 1, EMA, [{factor: 8}]]  # 4
  - [-1, 1, Conv, [512, 3, 2]]  # 5
  - [-1, 1, C2f, [512]]  # 6, P4

head:
  - [-1, 1, nn.Upsample, [None, 2, nearest]]  # 7
  - [[-1, 4], 1, Concat, [1]]  # 8
  - [-1, 1, C2f, [256]]  # 9, P3
  - [[9, 6], 1, Detect, [nc]]  # 10
"""
CONCAT, DETECT = "[[-1, 4], 1, Concat, [1]]", "[[9, 6], 1, Detect, [nc]]"
C2F = "[-1, 1, C2f, [256]]  # 9, P3\n"


@pytest.fixture
def look(tmp_path):
    """Return a function that checks the model above with texts replaced."""

    def look(*changes, name="yolov8-mine.yaml", scale="", text=MODEL):
        for old, new in changes:
            assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
            text = text.replace(old, new)
        (tmp_path / name).write_text(text)
        return check(tmp_path / name, scale)

    return look


def only(report):
    """Return the one finding of a report as (line, layer, text)."""
    (finding,) = report.findings
    return finding.line, finding.layer, finding.text


def line_of(text, wanted):
    return 1 + [wanted in line for line in text.splitlines()].index(True)


@pytest.mark.fast
def test_a_layer_is_described_by_its_inputs_and_consumers(look):
    report = look()
    assert (report.findings, report.task, report.scales) == ((), "detect", ("n", "s"))
    assert report.descriptions == (
        "layer 4 EMA (factor=8) in the backbone: reads layer 3 (C2f, 64 channels, stride 8 = P3); "
        "consumers: 5 (Conv) and 8 (Concat).",
    )
    assert "128 channels, stride 8 = P3" in look(scale="s").descriptions[0]


def test_layers_with_several_maps_are_described(tmp_path):
    (tmp_path / "yolo11-afpn.yaml").write_text(one_scale((ROOT / "model_yamls" / "yolo11-afpn.yaml").read_text()))
    first, level, *_ = check(tmp_path / "yolo11-afpn.yaml").descriptions
    assert re.search(r"layers 4 \(.*stride 8 = P3\), 6 \(.*\) and 10 \(.*stride 32 = P5\); output: 3 maps", first)
    assert "reads layer 11 (AttentionFPN, 3 maps); output: 128 channels, stride 8 = P3" in level


BYPASSED = r"layer 3 \(C2f\).*layer 4 \(EMA\).*64 channels, stride 8 = P3.* 5 \(Conv\) .*layer 4\b.*"
FINDINGS = {  # old and new text; a text in the finding's line, its layer, what it says
    "bypass": (CONCAT, "[[-1, 3], 1, Concat, [1]]", "Concat", 8, f"{BYPASSED}write 4 instead of 3$"),
    "relative bypass": (CONCAT, "[[-1, -5], 1, Concat, [1]]", "Concat", 8, f"{BYPASSED}write -4 instead of -5$"),
    "unused": (C2F, f"{C2F}  - [-1, 1, EMA, []]\n", "EMA, []", 10, r"11 \(Detect\) .*9 \(C2f\).*write 10 there"),
    "stage": (DETECT, "[[9, 5], 1, Detect, [nc]]", "Detect", 10, r"5 \(Conv.*6 \(C2f\) \(stride 16.*6 instead of 5$"),
    "one stride": (DETECT, "[[4, 9, 6], 1, Detect, [nc]]", "Detect", 10, r"4 \(EMA\) and 9 \(C2f\).*stride 8"),
    "classes": (DETECT, "[[9, 6], 1, Detect, [80]]", "Detect", 10, r"80.*\[nc\]"),
    "no head": (f"  - {DETECT}  # 10\n", "", "9, P3", 9, r"Detect, \[nc\]"),
    "letter": ("  s: [", "  b: [", None, None, "scale b "),
}  # fmt: skip


@pytest.mark.fast
@pytest.mark.parametrize(("old", "new", "place", "layer", "said"), FINDINGS.values(), ids=FINDINGS)
def test_findings(look, old, new, place, layer, said):
    (finding,) = look((old, new)).findings
    assert (finding.line, finding.layer) == (place and line_of(MODEL.replace(old, new), place), layer)
    assert re.search(said, finding.text)


def test_a_head_that_bypasses_attention(look):
    """``--reroute path`` makes such a model on purpose: a finding, not an error."""
    rows = "  - [-1, 1, EMA, []]  # 10\n  - [-1, 1, Conv, [256, 3, 2]]  # 11\n"
    right = [(C2F, C2F + rows), (DETECT, "[[10, 6, 11], 1, Detect, [nc]]")]
    assert ["stride 16" in f.text for f in look(*right).findings] == [True]
    bypassing = look(right[0], (DETECT, "[[9, 11], 1, Detect, [nc]]")).findings
    assert [f.layer for f in bypassing if "write 10 instead of 9" in f.text] == [12]


def test_models_without_a_mistake(look):
    assert look((CONCAT, "[[-1, 3, 4], 1, Concat, [1]]")).findings == ()  # reads attention and its input
    branch = "  - [3, 1, Conv, [256, 1]]  # 5\n  - [[4, 5], 1, Concat, [1]]  # 6\n"
    moved = [("[{factor: 8}]]  # 4\n", "[{factor: 8}]]  # 4\n" + branch), (CONCAT, "[[-1, 6], 1, Concat, [1]]")]
    assert look(*moved, (DETECT, "[[11, 8], 1, Detect, [nc]]")).findings == ()  # a branch beside attention
    lonely = look(*moved, (DETECT, "[[11, 5], 1, Detect, [nc]]")).findings
    assert not [f for f in lonely if "(EMA)" in f.text]


def test_two_blocks_in_a_row_name_the_end_of_the_chain(look):
    twice = ("[{factor: 8}]]  # 4\n", "[{factor: 8}]]  # 4\n  - [-1, 1, EMA, []]  # 5\n")
    detect = (DETECT, "[[10, 7], 1, Detect, [nc]]")
    assert look(twice, detect, (CONCAT, "[[-1, 5], 1, Concat, [1]]")).findings == ()
    for number in (3, 4):
        found = look(twice, detect, (CONCAT, f"[[-1, {number}], 1, Concat, [1]]")).findings
        assert [f.text for f in found if f.text.endswith(f"write 5 instead of {number}")], found


def test_a_list_block_and_a_pyramid_level_can_be_passed_by(tmp_path):
    for base, old, new in (("yolo11-pmfs.yaml", 11, 10), ("yolo11-afpn.yaml", 12, 4)):
        text = one_scale((ROOT / "model_yamls" / base).read_text())
        row = f"[[-1, {old}], 1, Concat, [1]]"
        assert text.count(row) == 1
        (tmp_path / "yolo11-passed.yaml").write_text(text.replace(row, row.replace(str(old), str(new))))
        texts = [f.text for f in check(tmp_path / "yolo11-passed.yaml").findings]
        assert any(f"write {old} instead of {new}" in t or f"write {old} there" in t for t in texts), texts


@pytest.mark.fast
def test_layers_without_consumers(look):
    for row in ("EMA, []", "Conv, [64, 1]"):
        extra = (C2F, C2F + f"  - [-1, 1, {row}]  # 10\n")
        assert look(extra, (DETECT, "[[10, 6], 1, Detect, [nc]]")).findings == ()
    assert re.search("write 10 .*by 1", only(look(extra))[2])


@pytest.mark.fast
def test_row_lines_follow_the_text():
    assert row_lines(MODEL) == [k for k, line in enumerate(MODEL.splitlines(), 1) if line.startswith("  - [")]
    assert row_lines("backbone:\n  -\n    - -1\n    - 1\nhead: [[-1, 1, Detect, [nc]],\n  [1]]\n") == [3, 5, 6]
    assert row_lines("backbone: [\n") == []


def test_no_layer_follows_the_head(look):
    with pytest.raises(LayerError, match=rf"line {line_of(MODEL, 'Detect')}: layer 10 \(Detect\).*layer 11 \(EMA\)"):
        look(("Detect, [nc]]  # 10\n", "Detect, [nc]]  # 10\n  - [9, 1, EMA, []]\n"))


def test_channel_counts_of_a_single_scale(look):
    """At n the stage has 64 channels, at s 128."""
    conv = ("[{factor: 8}]]  # 4\n", "[{factor: 8}]]  # 4\n  - [-1, 1, nn.Conv2d, [64, 64, 1]]  # 5\n")
    rest = [(CONCAT, "[[-1, 5], 1, Concat, [1]]"), (DETECT, "[[10, 7], 1, Detect, [nc]]")]
    line, layer, text = only(look(conv, *rest))
    assert (line, layer) == (line_of(MODEL, "factor") + 1, 5)
    assert re.search(r"scale s: layer 5 \(nn.Conv2d\) .*layer 5 \(nn.Conv2d\).*\[64, 64, 1\]", text)
    with pytest.raises(LayerError, match=rf"line {line}: layer 5 .*\[64, 64, 1\]"):
        look(conv, *rest, scale="s")
    with pytest.raises(LayerError, match=rf"line {line - 1}: layer 5 .*\[64, 64, 1\]"):
        look(conv, *rest, text=MODEL.replace("  n: [0.5, 0.25, 1024]\n", ""))
    scaled = (conv[0], conv[1].replace("nn.Conv2d, [64, 64, 1]", "Conv, [256, 1]"))
    assert look(scaled, *rest).findings == ()
    with pytest.raises(LayerError, match=rf"line {line - 1}: layer 4 \(EMA\).*\[64\]"):
        look(("EMA, [{factor: 8}]", "EMA, [64]"))


@pytest.mark.fast
def test_strides_that_do_not_fit_name_layers_that_do(look):
    wanted = (
        rf"line {line_of(MODEL, 'Concat')}: layer 8 \(Concat\) .*layer 5 \(Conv\) has stride 16, layer 7 "
        r"\(nn.Upsample\) has stride 8; layers of stride 8: 2, 3, 4\)"
    )
    with pytest.raises(LayerError, match=wanted):
        look((CONCAT, "[[-1, 5], 1, Concat, [1]]"))


@pytest.mark.fast
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("yolov8-mine", None),
        ("yolov8n-mine", None),
        ("yolov8n", None),
        ("yolov8n6", None),  # Ultralytics looks for yolov8n-p6.yaml, which it ships
        ("yolov8small", r"'s' .*yolov8small\.yaml .*yolov8-small\.yaml"),
        ("mine", r"mine\.yaml .*scale n, never s\. .*yolo11s-mine\.yaml"),
    ],
)
def test_file_names(name, said):
    texts = [f.text for f in file_name(name, ["n", "s"])]
    assert bool(texts) == (said is not None)
    assert all(re.search(said, text) for text in texts)
    assert not list(file_name(name, ["n"]))  # one scale needs no letter


@pytest.mark.fast
def test_a_single_scale_and_unknown_scales(look):
    assert look(("  s: [0.5, 0.5, 1024]\n", ""), name="mine.yaml").findings == ()
    with pytest.raises(LayerError, match=r"'x'; .*n, s"):
        look(scale="x")


def run(capsys, *given):
    status = main(["check", *map(str, given)])
    return status, *capsys.readouterr()


@pytest.mark.fast
def test_the_command_prints_lines_that_fit(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    status, out, err = run(capsys, "yolo11n-pmfs.yaml", "--strict")
    assert (status, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert not any(line != line.rstrip() for line in out.splitlines())
    text = " ".join(out.split())
    assert "layer 11 PMFS in the head: reads layers 4 (C3k2, 128 channels, stride 8 = P3), 6 (C3k2, " in text
    assert "layers, detect, scale n (of n, s, m, l, x)." in text


@pytest.mark.parametrize("name", ["rtdetr-l.yaml", "yolov9t.yaml", "yolo11n-seg.yaml", "yolo11n-cls.yaml"])
def test_the_task_is_one_of_ultralytics(name, capsys):
    assert main(["check", name]) == 0
    assert re.search(r"layers, (\w+)", capsys.readouterr().out)[1] in TASKS


def test_strict_turns_a_finding_into_status_1(look, capsys, tmp_path):
    look((CONCAT, "[[-1, 3], 1, Concat, [1]]"))
    file = tmp_path / "yolov8-mine.yaml"
    status, out, _ = run(capsys, file)
    assert status == 0
    assert f"line {line_of(MODEL, 'Concat')}, layer 8 (Concat): reads layer 3 (C2f)" in " ".join(out.split())
    for given in ((file, "--strict"), ("--strict", file), (f"model={file}", "strict=True")):
        assert run(capsys, *given)[0] == 1
    assert run(capsys, f"model={file}", "strict=False")[0] == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["nowhere.yaml"], "'nowhere.yaml'"),
        (["yolo11n.pt"], "'yolo11n.pt'"),
        (["yolov8.yaml", "scale=q"], "'q'.* n, s, m, l, x"),
        *(([text], "broken.yaml") for text in ("- 1\n", "nc: 80\n", "nc: [\n", "backbone: 3\nhead: 4\n")),
    ],
)
def test_mistakes_are_one_line(given, said, capsys, tmp_path):
    if "\n" in given[0]:
        (tmp_path / "broken.yaml").write_text(given[0])
        given = [tmp_path / "broken.yaml"]
    status, out, err = run(capsys, *given)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert re.search(said, err)
