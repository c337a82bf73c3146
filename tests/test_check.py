"""``yolo-attn check``: what it says of a model's layers, and each slip beside a model that does not have it."""

import pathlib
import re

import pytest
import ultralytics
from support import ROOT

import yolo_attn
from yolo_attn.cli import main
from yolo_attn.errors import LayerError
from yolo_attn.model_yaml.checking import check
from yolo_attn.model_yaml.written import row_lines, written_twice

yolo_attn.install()

SHIPPED = pathlib.Path(ultralytics.__file__).parent / "cfg" / "models"
DOWNLOADS = "resnet"  # TorchVision rows fetch weights when they are built
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
    """Check the model above with texts replaced; return the report."""

    def look(*changes, name="yolov8-mine.yaml", scale="", text=MODEL):
        for old, new in changes:
            assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
            text = text.replace(old, new)
        (tmp_path / name).write_text(text)
        return check(tmp_path / name, scale)

    return look


def only(report):
    """Return the one slip of a report as (line, layer, text)."""
    assert len(report.slips) == 1, report.slips
    return report.slips[0].line, report.slips[0].layer, report.slips[0].text


def line_of(text, wanted):
    return 1 + [wanted in line for line in text.splitlines()].index(True)


def shipped():
    return [f for f in sorted(SHIPPED.rglob("*.yaml")) if DOWNLOADS not in f.name]


def ours():
    return sorted((ROOT / "model_yamls").glob("*.yaml"))


@pytest.mark.parametrize("file", [*shipped(), *ours()], ids=lambda f: f.stem)
def test_shipped_models_are_without_a_warning(file):
    report = check(file)
    assert report.slips == ()
    assert bool(report.sentences) == (file in ours())


def test_the_model_of_these_tests_has_no_slip(look):
    report = look()
    assert report.slips == ()
    assert report.task == "detect"
    assert report.scales == ("n", "s")


def test_a_layer_is_described_with_what_it_reads_and_who_reads_it(look):
    assert look().sentences == (
        "layer 4 EMA (factor=8) in the backbone: reads layer 3 (C2f, 64 channels, stride 8 = P3); "
        "read by 5 (Conv) and 8 (Concat).",
    )
    assert "128 channels, stride 8 = P3" in look(scale="s").sentences[0]


def one_scale(name):
    """Return the text of one of our model YAMLs without the scales s to x."""
    return re.sub(r"^  [smlx]: \[.*\n", "", (ROOT / "model_yamls" / name).read_text(), flags=re.MULTILINE)


def test_layers_with_several_maps_are_described(tmp_path):
    (tmp_path / "yolo11-afpn.yaml").write_text(one_scale("yolo11-afpn.yaml"))
    first, level, *_ = check(tmp_path / "yolo11-afpn.yaml").sentences
    assert re.search(
        r"reads layers 4 \(.*stride 8 = P3\), 6 \(.*\) and 10 \(.*stride 32 = P5\); puts out 3 maps", first
    )
    assert "reads layer 11 (AttentionFPN, 3 maps); puts out 128 channels, stride 8 = P3" in level


@pytest.mark.parametrize(("row", "write"), [("[[-1, 3],", "4 instead of 3"), ("[[-1, -5],", "-4 instead of -5")])
def test_a_reader_of_the_layer_just_before_attention(look, row, write):
    report = look((CONCAT, f"{row} 1, Concat, [1]]"))
    line, layer, text = only(report)
    assert (line, layer) == (line_of(MODEL, "Concat"), 8)
    assert text.startswith("reads layer 3 (C2f), just before layer 4 (EMA); both have 64 channels, stride 8 = P3, and ")
    assert "5 (Conv) reads layer 4." in text
    assert text.endswith(f"write {write}")


def test_detect_on_the_old_map_while_the_path_reads_attention(look):
    """What --reroute path makes on purpose; said, not refused."""
    rows = "  - [-1, 1, EMA, []]  # 10\n  - [-1, 1, Conv, [256, 3, 2]]  # 11\n"
    right = [(C2F, C2F + rows), (DETECT, "[[10, 6, 11], 1, Detect, [nc]]")]
    slips = look(*right).slips
    assert [s.text for s in slips] == [s.text for s in slips if "both of stride 16" in s.text]
    passed = look(right[0], (DETECT, "[[9, 11], 1, Detect, [nc]]")).slips
    assert ["12" if s.layer == 12 else s.layer for s in passed if "just before" in s.text] == ["12"]
    assert "write 10 instead of 9" in next(s.text for s in passed if "just before" in s.text)


def test_reading_attention_and_what_it_reads_is_no_slip(look):
    assert look((CONCAT, "[[-1, 3, 4], 1, Concat, [1]]")).slips == ()


def test_a_branch_beside_attention_is_no_slip(look):
    branch = "  - [3, 1, Conv, [256, 1]]  # 5\n  - [[4, 5], 1, Concat, [1]]  # 6\n"
    moved = [("[{factor: 8}]]  # 4\n", "[{factor: 8}]]  # 4\n" + branch), (CONCAT, "[[-1, 6], 1, Concat, [1]]")]
    assert look(*moved, (DETECT, "[[11, 8], 1, Detect, [nc]]")).slips == ()
    lonely = look(*moved[:1], (CONCAT, "[[-1, 6], 1, Concat, [1]]"), (DETECT, "[[11, 5], 1, Detect, [nc]]")).slips
    assert not [s for s in lonely if "just before" in s.text]


def test_two_blocks_in_a_row_name_the_end_of_the_chain(look):
    twice = ("[{factor: 8}]]  # 4\n", "[{factor: 8}]]  # 4\n  - [-1, 1, EMA, []]  # 5\n")
    detect = (DETECT, "[[10, 7], 1, Detect, [nc]]")
    assert look(twice, detect, (CONCAT, "[[-1, 5], 1, Concat, [1]]")).slips == ()
    for number in (3, 4):
        slips = look(twice, detect, (CONCAT, f"[[-1, {number}], 1, Concat, [1]]")).slips
        assert [s.text for s in slips if s.text.endswith(f"write 5 instead of {number}")], slips


def test_a_list_block_and_a_pyramid_level_can_be_passed_by(tmp_path):
    for base, old, new in (("yolo11-pmfs.yaml", 11, 10), ("yolo11-afpn.yaml", 12, 4)):
        text = one_scale(base)
        row = f"[[-1, {old}], 1, Concat, [1]]"
        assert text.count(row) == 1
        (tmp_path / "yolo11-passed.yaml").write_text(text.replace(row, row.replace(str(old), str(new))))
        texts = [s.text for s in check(tmp_path / "yolo11-passed.yaml").slips]
        assert any(f"reads layer {new} (" in t or "nobody reads" in t for t in texts), texts
        assert any(f"{old} instead of {new}" in t or f"write {old} there" in t for t in texts), texts


def test_attention_that_nobody_reads(look):
    line, layer, text = only(look((C2F, C2F + "  - [-1, 1, EMA, []]  # 10\n")))
    assert (line, layer) == (line_of(MODEL, "9, P3") + 1, 10)
    assert text == (
        "nobody reads layer 10 (EMA), so it does nothing: 11 (Detect) reads layer 9 (C2f), which has the same shape; "
        "write 10 there"
    )
    read = look((C2F, C2F + "  - [-1, 1, EMA, []]  # 10\n"), (DETECT, "[[10, 6], 1, Detect, [nc]]"))
    assert read.slips == ()


def test_a_layer_of_ultralytics_that_nobody_reads(look):
    extra = (C2F, C2F + "  - [-1, 1, Conv, [64, 1]]  # 10\n")
    assert only(look(extra))[2].startswith("nobody reads layer 10 (Conv), so it does nothing: write 10 in a row behind")
    assert look(extra, (DETECT, "[[10, 6], 1, Detect, [nc]]")).slips == ()


def test_a_reference_into_a_stage(look):
    line, layer, text = only(look((DETECT, "[[9, 5], 1, Detect, [nc]]")))
    assert (line, layer) == (line_of(MODEL, "Detect"), 10)
    assert text == (
        "reads layer 5 (Conv), inside a stage that ends with layer 6 (C2f) (stride 16). If the stage's end was meant, "
        "write 6 instead of 5"
    )


def test_a_head_with_two_maps_of_one_stride(look):
    slips = look((DETECT, "[[4, 9, 6], 1, Detect, [nc]]")).slips
    assert [s.text for s in slips] == [
        "reads layers 4 (EMA) and 9 (C2f), both of stride 8; a head reads one map a stride: one number points to the "
        "wrong layer"
    ]


def test_keys_written_twice(look):
    line, layer, text = only(look(("nc: 80\n", "nc: 80\nnc: 3\n")))
    assert (line, layer) == (2, None)
    assert text == "'nc' is written twice (lines 1 and 2): the last, 3, counts; 80 is ignored; take one out"
    inner = only(look(("  n: [0.5, 0.25, 1024]\n", "  n: [0.5, 0.25, 1024]\n  n: [1.0, 1.0, 512]\n")))
    assert inner[0] == 4
    assert "'n' is written twice (lines 3 and 4)" in inner[2]


def test_keys_of_different_mappings_are_not_twice():
    assert written_twice("a: {b: 1}\nc: {b: 2}\n") == []
    assert [t.key for t in written_twice("a: [{b: 1, b: 2}]\n")] == ["b"]
    assert written_twice("a: [\n") == []


def test_row_lines_follow_the_text():
    assert row_lines(MODEL) == [k for k, line in enumerate(MODEL.splitlines(), 1) if line.startswith("  - [")]
    assert row_lines("backbone:\n  -\n    - -1\n    - 1\nhead: [[-1, 1, Detect, [nc]],\n  [1]]\n") == [3, 5, 6]


@pytest.mark.parametrize(("count", "warns"), [("80", True), ("nc", False)])
def test_a_typed_class_count(look, count, warns):
    report = look((DETECT, f"[[9, 6], 1, Detect, [{count}]]"))
    assert bool(report.slips) == warns
    if warns:
        assert only(report)[1:] == (
            10,
            "the number of classes is typed in, 80: training takes the data set's only where the row says [nc]",
        )


def test_a_last_row_that_is_no_head(look):
    text = only(look(("  - [[9, 6], 1, Detect, [nc]]  # 10\n", "")))[2]
    assert text == (
        "the last row, C2f, is no head, by which Ultralytics tells the task: it takes the model for a detector; put a "
        "head last, e.g. Detect, [nc]"
    )


def test_a_row_behind_the_head(look):
    wanted = rf"line {line_of(MODEL, 'Detect')}: layer 10 \(Detect\) is a head, but layer 11 \(EMA\) stands behind it"
    with pytest.raises(LayerError, match=wanted):
        look(("Detect, [nc]]  # 10\n", "Detect, [nc]]  # 10\n  - [9, 1, EMA, []]\n"))


def test_channel_counts_that_hold_at_one_scale(look):
    """At n the stage has 64 channels, at s 128."""
    conv = ("[{factor: 8}]]  # 4\n", "[{factor: 8}]]  # 4\n  - [-1, 1, nn.Conv2d, [64, 64, 1]]  # 5\n")
    rest = [(CONCAT, "[[-1, 5], 1, Concat, [1]]"), (DETECT, "[[10, 7], 1, Detect, [nc]]")]
    line, layer, text = only(look(conv, *rest))
    assert (line, layer) == (line_of(MODEL, "factor") + 1, 5)
    assert text.startswith("does not build at scale s: layer 5 (nn.Conv2d) cannot read -1")
    assert "layer 5 (nn.Conv2d) has channel counts typed in, [64, 64, 1], which no scale changes" in text
    with pytest.raises(LayerError, match=f"line {line}: layer 5 .*typed in"):
        look(conv, *rest, scale="s")
    with pytest.raises(LayerError, match=f"line {line - 1}: layer 5 .*typed in"):
        look(conv, *rest, text=MODEL.replace("  n: [0.5, 0.25, 1024]\n", ""))
    scaled = (conv[0], conv[1].replace("nn.Conv2d, [64, 64, 1]", "Conv, [256, 1]"))
    assert look(scaled, *rest).slips == ()


def test_channel_counts_in_a_row_of_ours_are_an_error_with_its_line(look):
    with pytest.raises(LayerError, match=rf"line {line_of(MODEL, 'factor')}: layer 4 \(EMA\).*\[64\].*filled in"):
        look(("EMA, [{factor: 8}]", "EMA, [64]"))


def test_strides_that_do_not_fit_name_layers_that_do(look):
    line = line_of(MODEL, "Concat")
    wanted = (
        rf"line {line}: layer 8 \(Concat\) cannot read .*layer 5 \(Conv\) has stride 16, layer 7 \(nn.Upsample\) has "
        r"stride 8; of stride 8 are layers 2, 3, 4\)"
    )
    with pytest.raises(LayerError, match=wanted):
        look((CONCAT, "[[-1, 5], 1, Concat, [1]]"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("yolov8-mine.yaml", None),
        ("yolov8n-mine.yaml", None),
        ("yolov8n.yaml", None),
        ("yolov8n6.yaml", None),
        ("yolov8small.yaml", "letter 's' in the file's name yolov8small.yaml is read as the scale.* yolov8-small.yaml"),
        ("mine.yaml", "no place for a scale's letter: Ultralytics builds scale n, never s. .*yolo11s-mine.yaml"),
    ],
)
def test_file_names(look, name, said):
    if name == "yolov8n6.yaml":  # Ultralytics looks for yolov8n-p6.yaml, which it ships
        from yolo_attn.model_yaml.lint import file_name

        assert list(file_name("yolov8n6", ["n", "s"])) == []
        return
    slips = look(name=name).slips
    assert [s.text for s in slips] == [s.text for s in slips if said and re.search(said, s.text)]
    assert bool(slips) == (said is not None)


def test_a_scale_that_no_file_name_gives(look):
    assert "scale b cannot be chosen" in only(look(("  s: [", "  b: [")))[2]


def test_one_scale_needs_no_letter(look):
    assert look(("  s: [0.5, 0.5, 1024]\n", ""), name="mine.yaml").slips == ()


def test_an_unknown_scale(look):
    with pytest.raises(LayerError, match="no scale 'x'; it has n, s"):
        look(scale="x")


def words(capsys, *given):
    status = main(["check", *map(str, given)])
    return status, *capsys.readouterr()


def test_the_command_prints_sentences_that_fit(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    status, out, err = words(capsys, "yolo11n-pmfs.yaml", "--strict")
    assert (status, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert not any(line != line.rstrip() for line in out.splitlines())
    text = " ".join(out.split())
    assert "layer 11 PMFS in the head: reads layers 4 (C3k2, 128 channels, stride 8 = P3), 6 (C3k2, " in text
    assert "No warnings; all rows built at n, s, m, l, x." in text


def test_the_command_says_where_no_layer_is_ours(capsys):
    status, out, _ = words(capsys, "yolov8.yaml")
    assert status == 0
    assert "No layer of yolo-attn in this model." in out


def test_strict_turns_a_warning_into_status_1(look, capsys, tmp_path):
    look((CONCAT, "[[-1, 3], 1, Concat, [1]]"))
    file = tmp_path / "yolov8-mine.yaml"
    status, out, _ = words(capsys, file)
    assert status == 0
    where = f"warning: line {line_of(MODEL, 'Concat')}, layer 8 (Concat): reads layer 3 (C2f), just before"
    assert where in " ".join(out.split())
    assert words(capsys, file, "--strict")[0] == 1
    assert words(capsys, "--strict", file)[0] == 1
    assert words(capsys, f"model={file}", "strict=True")[0] == 1
    assert words(capsys, f"model={file}", "strict=False")[0] == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["nowhere.yaml"], "model 'nowhere.yaml' does not exist"),
        (["yolo11n.pt"], "'yolo11n.pt' is no model YAML"),
        (["yolov8.yaml", "--strickt"], "unknown word '--strickt'. Did you mean 'strict'"),
        (["yolov8.yaml", "yolo11.yaml"], "one model, not yolov8.yaml and yolo11.yaml; write e.g. yolo-attn check"),
        (["--strict"], "which model?"),
        (["yolov8.yaml", "scale=q"], "no scale 'q'; it has n, s, m, l, x"),
    ],
)
def test_mistakes_are_one_line(given, said, capsys):
    status, out, err = words(capsys, *given)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert re.search(said.replace("?", r"\?"), err), err


@pytest.mark.parametrize("text", ["- 1\n", "nc: 80\n", "nc: [\n", "backbone: 3\nhead: 4\n"])
def test_files_that_are_no_model_are_one_line(text, capsys, tmp_path):
    file = tmp_path / "broken.yaml"
    file.write_text(text)
    status, out, err = words(capsys, file)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
