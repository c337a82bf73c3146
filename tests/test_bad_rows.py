"""Rows and keys that cannot be built: every command prints one line with the file, the line, the row and the fix."""

import re
import shutil

import pytest
from support import ROOT, logged, noise_data

from yolo_attn.cli import main

MODEL = """nc: 80
scales:
  n: [0.50, 0.25, 1024]
  s: [0.50, 0.50, 1024]
backbone:
  - [-1, 1, Conv, [64, 3, 2]] # 0
  - [-1, 1, Conv, [128, 3, 2]] # 1
  - [-1, 2, C3k2, [256, False, 0.25]] # 2
  - [-1, 1, Conv, [256, 3, 2]] # 3
  - [-1, 1, EMA, []] # 4
  - [-1, 1, Conv, [512, 3, 2]] # 5
head:
  - [-1, 1, nn.Upsample, [None, 2, "nearest"]] # 6
  - [[-1, 4], 1, Concat, [1]] # 7
  - [-1, 2, C3k2, [256, False]] # 8
  - [[8, 5], 1, Detect, [nc]] # 9
"""
EMA, DETECT, SCALE, CONV = "[-1, 1, EMA, []]", "[[8, 5], 1, Detect, [nc]]", "n: [0.50, 0.25, 1024]", "Conv, [512, 3, 2]"
STOCK = "[-1, 1, nn.Identity, []]"
ROW4, HEAD = r"^mine, line 10: layer 4", r"^mine, line 16: layer 9"
WIDE_COMMA, WIDE_BRACKET = "\uff0c", "\uff3b"
# What is wrong: text of the model, its replacement, and what the line says. "mine" stands for the file's name.
BAD = {
    "three parts": (EMA, "[-1, 1, EMA]", rf"{ROW4}: .*write \[-1, 1, EMA, \[\]\]"),
    "two parts": (EMA, "[-1, EMA]", rf"{ROW4}: .*\[-1, 'EMA'\]"),
    "an empty row": (EMA, "[]", rf"{ROW4}: .*\[\]"),
    "a word": (f"- {EMA}", "- EMA", rf"{ROW4}: .*'EMA'"),
    "a mapping": (EMA, "{from: -1, module: EMA}", rf"{ROW4}: "),
    "full-width comma before": (EMA, f"[-1, 1{WIDE_COMMA} EMA, []]", rf"{ROW4}: .*{WIDE_COMMA}; write ,"),
    "full-width comma after": (EMA, f"[-1, 1, EMA{WIDE_COMMA} []]", rf"^mine, line 10: .*{WIDE_COMMA}; write ,"),
    "full-width bracket": (EMA, f"{WIDE_BRACKET}-1, 1, EMA, []]", rf"{ROW4}: .*{WIDE_BRACKET}; write \["),
    "a word as channels": (CONV, "Conv, [big, 3, 2]", r"^mine, line 11: layer 5 \(Conv\): .*'big'"),
    "negative channels": (CONV, "Conv, [-512, 3, 2]", r"^mine, line 11: layer 5 \(Conv\): .*-128"),
    "no repeats": (EMA, "[-1, 0, EMA, []]", rf"{ROW4} \(EMA\): .*0; write 1"),
    "channels as repeats": ("2, C3k2, [256, False, 0", "2048, C3k2, [256, False, 0",
        r"^mine, line 8: layer 2 \(C3k2\): 1024 repeats .*2048.*at most 1000"),
    "a depth of 600": (SCALE, "n: [600, 0.25, 1024]", r"^mine, line 8: layer 2 \(C3k2\): 1200 repeats .*depth 600"),
    "a word as depth": ("scales:\n  n: [0.50, 0.25, 1024]\n  s: [0.50, 0.50, 1024]", "depth_multiple: deep",
        r"^mine: 'depth_multiple' must be .*'deep'"),
    "a word as repeats": (EMA, "[-1, x, EMA, []]", rf"{ROW4} \(EMA\): .*'x'; write 1"),
    "a number as arguments": (EMA, "[-1, 1, EMA, 8]", rf"{ROW4} \(EMA\): .*8; write \[\]"),
    "options without a list": (EMA, "[-1, 1, EMA, {factor: 8}]",
        rf"{ROW4} \(EMA\): .*'factor'.*write \[\{{factor: 8\}}\]"),
    "a row in quotation marks": (EMA, '"[-1, 1, EMA, []]"', rf"{ROW4}: .*without quotation marks"),
    "a key twice": ("head:\n", "head: []\nhead:\n", r"^mine, line 13: the key 'head' is there twice, first in line 12"),
    "a later layer": (EMA, "[44, 1, EMA, []]", rf"{ROW4} \(EMA\): 'from' is 44.*0 to 3"),
    "a word as from": (EMA, "[a, 1, EMA, []]", rf"{ROW4} \(EMA\): 'from' .*'a'"),
    "a float as from": (EMA, "[-1.0, 1, EMA, []]", rf"{ROW4} \(EMA\): 'from' .*-1\.0"),
    "a float as from, stock": ("[-1, 1, Conv, [512", "[-1.5, 1, Conv, [512",
        r"^mine, line 11: layer 5 \(Conv\): .*-1\.5"),
    "no input": (EMA, "[[], 1, EMA, []]", rf"{ROW4} \(EMA\): 'from' is \[\]"),
    "a number as the type": (EMA, "[-1, 1, 5, []]", rf"{ROW4}: .*\[-1, 1, 5, \[\]\]"),
    "a function as the type": (EMA, "[-1, 1, torch.load, []]", rf"{ROW4} \(torch\.load\): "),
    "a wrong case of torch": (EMA, "[-1, 1, nn.conv2d, [64, 64, 1]]", rf"{ROW4} \(nn\.conv2d\): .*'nn\.Conv2d'\?$"),
    "anchors": (DETECT, "[[8, 5], 1, Detect, [nc, anchors]]", rf"{HEAD} \(Detect\): .*\[nc, anchors\].*write \[nc\]"),
    "a bare assert": (CONV, "C2PSA, [512]", r"^mine, line 11: layer 5 \(C2PSA\): .*AssertionError: assert c1 == c2"),
    "one input of the head": (DETECT, "[8, 1, Detect, [nc]]", rf"{HEAD} \(Detect\): 'from' is 8, .*\[8\]"),
    "OBB without angles": (DETECT, "[[8, 5], 1, OBB, [nc]]", rf"{HEAD} \(OBB\): .*\[nc\] .*\[nc, 1\]"),
    "Pose without keypoints": (DETECT, "[[8, 5], 1, Pose, [nc]]", rf"{HEAD} \(Pose\): .*\[nc\] .*\[nc, kpt_shape\]"),
    "Segment without protos": (DETECT, "[[8, 5], 1, Segment, [nc, 32]]", rf"{HEAD} \(Segment\): .*\[nc, 32, 256\]"),
    "no arguments": ("C3k2, [256, False, 0.25]", "C2f, []", r"^mine, line 8: layer 2 \(C2f\): .*\[\]"),
    "a layer after the head": (DETECT, f"{DETECT}\n  - [8, 1, Conv, [64]]",
        rf"{HEAD} \(Detect\) is a head, .*layer 10"),
    "maps of two sizes": ("[[-1, 4], 1, Concat", "[[-1, 2], 1, Concat",
        r"^mine, line 14: layer 7 \(Concat\).*stride 8: 3"),
    "four numbers in a scale": (SCALE, "n: [0.33, 0.25, 1024, 0]", r"^mine: scale n: \[0\.33, 0\.25, 1024, 0\]"),
    "two numbers in a scale": (SCALE, "n: [0.33, 0.25]", r"^mine: scale n: \[0\.33, 0\.25\]"),
    "a word as a scale": (SCALE, "n: small", "^mine: scale n: 'small'"),
    "another scale": (SCALE, "m: [0.50, 1.0, 512]", "^mine: no scale 'n'; it has m"),
    "classes as text": ("nc: 80", "nc: eighty", "^mine: 'nc' is 'eighty'"),
    "no class": ("nc: 80", "nc: 0", "^mine: 'nc' is 0"),
    "no classes": ("nc: 80\n", "", "^mine: 'nc' is missing"),
    "a word as activation": ("nc: 80", "nc: 80\nactivation: ReLU", r"^mine: activation: 'ReLU' .*nn\.ReLU\(\)"),
    "no head": ("\nhead:\n", "\nother:\n", "^mine: 'head' is missing"),
    "the factor": (EMA, "[-1, 1, EMA, [8]]", rf"{ROW4} \(EMA\): .*8 is the factor; write \[\{{factor: 8\}}\]"),
    "channels": (EMA, "[-1, 1, EMA, [256]]", rf"{ROW4} \(EMA\): .*256 is the number of channels.*write \[\]"),
    "both": (EMA, "[-1, 1, EMA, [1024, 8]]", rf"{ROW4} \(EMA\): .*1024 is the .*channels.*8 is the factor.*factor: 8"),
    "channels in and out": (EMA, "[-1, 1, EMA, [256, 256]]", rf"{ROW4} \(EMA\): .*write \[\]"),
    "a reduced count": (EMA, "[-1, 1, GSoP, [256, 64]]", rf"{ROW4} \(GSoP\): .*\{{reduced_channels: 64\}}"),
    "another name": (EMA, "[-1, 1, EMA_attention, [256]]",
        rf"{ROW4} \(EMA_attention\): .*write EMA\. .*yolo-attn convert"),
    "a block of mmcv": (EMA, "[-1, 1, ContextBlock, []]", rf"{ROW4} \(ContextBlock\): .*write GlobalContext\. "),
    "a class that cannot be named": (EMA, "[-1, 1, CBAM, []]", rf"{ROW4} \(CBAM\): .*register\('CBAM'\).*entry point"),
    "another project's layer": (EMA, "[-1, 1, SimAM, []]",
        rf"{ROW4} \(SimAM\): (?!.*Did you mean).*script.*entry point"),
}  # fmt: skip
STOCK_ROWS = (
    "a word as channels",
    "one input of the head",
    "OBB without angles",
    "anchors",
    "no arguments",
    "no class",
)


def commands(model):
    return {
        "check": ["check", model],
        "info": ["info", model],
        "diagram": ["diagram", model, "-o", "x.svg"],
        "place": ["place", model, "GSoP", "--at", "backbone.end", "-o", "yolo11-more.yaml"],
        "transfer": ["transfer", "any.pt", model, "-o", "out.pt"],
        "train": ["train", f"model={model}", "data=set/mine.yaml", "imgsz=32", "epochs=1", "project=runs"],
        "compare": ["compare", "--base=yolo11n.yaml", f"--models={model}", "--data=set/mine.yaml", "--folder=out"],
    }  # fmt: skip


def one_line(capfd):
    err = capfd.readouterr().err
    lines = [line for line in err.splitlines() if line.startswith("yolo-attn: ")]
    assert (len(lines), "Traceback" in err) == (1, False), err
    return re.sub(r"yolo11n?-mine\.yaml", "mine", lines[0].removeprefix("yolo-attn: "))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noise_data(tmp_path / "set", ("train", "val"), images=2)
    shutil.copy(next((ROOT / "tests/checkpoints").glob("*.pt")), "any.pt")
    return tmp_path


@pytest.mark.fast
@pytest.mark.parametrize("what", BAD)
def test_check_names_the_row(what, here, capfd):
    old, new, match = BAD[what]
    assert MODEL.count(old) == 1
    (here / "yolo11-mine.yaml").write_text(MODEL.replace(old, new), encoding="utf-8")
    assert main(["check", "yolo11n-mine.yaml"]) == 2
    assert re.search(match, line := one_line(capfd)), line


@pytest.mark.parametrize("command", [name for name in commands("") if name != "check"])
def test_every_command_says_the_same(command, here, capfd):
    step = 8 if command == "compare" else 1  # it takes seconds
    for what, (old, new, match) in list(BAD.items())[::step]:
        for stock in (False, True) if what in STOCK_ROWS else (False,):
            text = MODEL.replace(old, new)
            (here / "yolo11-mine.yaml").write_text(text.replace(EMA, STOCK) if stock else text, encoding="utf-8")
            assert main(commands("yolo11n-mine.yaml")[command]) == 2, what
            assert re.search(match.lstrip("^"), line := one_line(capfd)), f"{what}: {line}"
    assert not {"more.yaml", "out.pt", "x.svg", "runs"} & {path.name for path in here.iterdir()}


@pytest.mark.fast
def test_all_bad_rows_are_listed_at_once(here, capfd):
    text = MODEL.replace("C3k2, [256, False, 0.25]", "EMA_attention, [256]").replace(EMA, "[-1, 1, EMA, [8]]")
    (here / "yolo11-mine.yaml").write_text(text.replace("C3k2, [256, False]", "C3k3, [256]"))
    assert main(["info", "yolo11n-mine.yaml"]) == 2
    line = one_line(capfd)
    assert re.search(r"line 8: layer 2 .*line 10: layer 4 .*factor: 8.*line 15: layer 8 \(C3k3\)", line), line
    (here / "yolo11-mine.yaml").write_text(MODEL.replace(EMA, "\n  - ".join(["[-1, 1, EMA, [8]]"] * 11)))
    assert main(["info", "yolo11n-mine.yaml"]) == 2
    assert re.search(r"layer 11 \(EMA\).*; and 3 more rows", line := one_line(capfd)), line


KEYS = {  # a key without effect -> what the warning says
    "scale: s": r"Ultralytics ignores scale: s; .*yolo11s-m\w+\.yaml",
    "ch: 6": r"Ultralytics ignores ch: 6; .*channels: 6",
    "anchors: [[10, 13], [16, 30]]": "Ultralytics ignores 'anchors'; ",
    "names: [a, b]": "Ultralytics ignores 'names'; .*data YAML",
    "width_multipel: 0.5": "Ultralytics ignores width_multipel: 0.5; .*'width_multiple'",
}


@pytest.mark.fast
@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("command", ["check", "info", "diagram", "place"])
def test_every_command_warns_of_keys_without_effect(key, command, here, capfd):
    (here / "yolo11-mine.yaml").write_text(f"{key}\n{MODEL}")
    with logged() as lines:
        assert main(commands("yolo11n-mine.yaml")[command]) == 0
    out, err = capfd.readouterr()
    assert re.search(KEYS[key], " ".join(" ".join([out, err, *lines]).split()))


@pytest.mark.fast
@pytest.mark.parametrize("scales", ["scales:\n  # n: [0.50, 0.25, 1024]\n", "scales:\nn: [0.50, 0.25, 1024]\n"])
def test_empty_scales_are_a_warning(scales, here, capfd):
    start, end = MODEL.index("scales:"), MODEL.index("backbone:")
    (here / "yolo11-mine.yaml").write_text(MODEL[:start] + scales + MODEL[end:])
    assert main(["check", "yolo11n-mine.yaml"]) == 0
    assert re.search("line 2: 'scales' has no entries.*full depth and width", " ".join(capfd.readouterr().out.split()))


ENCODINGS = {  # how the file is written -> what is said; None: it is read
    "BOM": (lambda t: t.encode("utf-8-sig"), None),
    "CR": (lambda t: t.replace("\n", "\r").encode(), None),
    "CRLF": (lambda t: t.replace("\n", "\r\n").encode(), None),
    "BOM and CRLF": (lambda t: t.replace("\n", "\r\n").encode("utf-8-sig"), None),
    "GBK": (lambda t: t.encode("gbk"), r"mine, line 1: not UTF-8.*iconv -f GBK"),
    "UTF-16": (lambda t: t.encode("utf-16"), r"mine is UTF-16.*iconv -f UTF-16"),
    "UTF-16 without a mark": (lambda t: t.encode("utf-16-le"), r"mine is UTF-16.*iconv -f UTF-16"),
    "binary": (lambda t: b"\x00\x01\x02", "mine"),
}


@pytest.mark.fast
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("command", ["check", "info", "diagram", "place", "convert", "compare"])
def test_every_command_reads_utf_8_and_refuses_others(encoding, command, here, capfd):
    encode, match = ENCODINGS[encoding]
    (here / "yolo11-mine.yaml").write_bytes(encode(f"nc: 80 # \u4e2d\u6587\n{MODEL.partition(chr(10))[2]}"))
    given = commands("yolo11n-mine.yaml") | {"convert": ["convert", "yolo11-mine.yaml", "-o", "yolo11-more.yaml"]}
    if match is not None:
        assert main(given[command]) == 2
        assert re.search(match, line := one_line(capfd)), line
    elif command != "compare":
        assert main(given[command]) == 0
        if command == "place":
            before, after = MODEL.splitlines()[1:], (here / "yolo11-more.yaml").read_text(encoding="utf-8").splitlines()
            assert [line for line in after if "GSoP" not in line and not line.startswith("#")][-15:-7] == before[:8]
