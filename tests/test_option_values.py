"""Wrong values of every option of every command: one line on stderr, status 2, nothing written.

The options are those of the commands' own signatures: a new option needs no test here, except an entry in ``WRONG`` if
its type says nothing about its values.
"""

from __future__ import annotations

import functools
import json
import shutil
import sys
from pathlib import Path

import pytest
from support import ROOT

from yolo_attn.cli import main, ultralytics_commands
from yolo_attn.cli.compare import ENGINE_ARGUMENTS, EXPERIMENT_ARGUMENTS
from yolo_attn.cli.main import COMMANDS, command_line, guarded
from yolo_attn.errors import ArgumentError
from yolo_attn.experiment.plan import RESERVED
from yolo_attn.integration.queries import ultralytics_arguments, yolo_command
from yolo_attn.report import compare_models

sys.path.insert(0, str(ROOT))
import train_detect

pytestmark = pytest.mark.fast

# What each command is given beside the wrong value; "names" and "block" have no option name.
GIVEN = {
    "blocks": {"names": "EMA"},
    "info": {"model": "yolo11n.yaml"},
    "place": {"model": "yolo11.yaml", "block": "EMA", "at": "neck.P3", "output": "yolo11-out.yaml"},
    "convert": {"model": "theirs.yaml", "output": "yolo11-out.yaml"},
    "diagram": {"model": "yolo11n.yaml", "output": "out.mmd"},
    "check": {"model": "yolo11n.yaml"},
    "transfer": {"weights": "broken.pt", "model": "yolo11n.yaml", "output": "out.pt"},
    "compare": {"base": "yolo11n.yaml", "models": "yolo11n-ema.yaml", "data": "digits.yaml"},
    "report": {"folder": "folder"},
    "data from-coco": {"instances": "coco.json", "images": "folder", "out": "out"},
    "completion": {"shell": "bash"},
}
NUMBERS = ["large", "-1", "0", "nan", "inf", "1e999", "[]"]
BY_TYPE = {"bool": ["maybe", "-1", "nan", "[]"], "int": [*NUMBERS, "1.5"], "float": NUMBERS}
MODELS = ["abc", "0", "nan", "yolo11n-emma.yaml", "nowhere/x.yaml", "text.txt", "text.txt/x.yaml", "folder", "folder/"]
PLACES = ["abc", "0", "neck.P9", "layer:99", "layer:-99", "layer:x", "each:Nothing", ",", "neck.P3,neck.P3"]
WRONG = {
    "names": ["abc", "EMAA", "0", "-1", ""],
    "block": ["abc", "EMAA", "0", "-1", ""],
    "model": MODELS,
    "base": MODELS,
    "models": [*MODELS, "yolo11n-ema.yaml,yolo11n-ema.yaml", "yolo11n-ema.yaml,abc", ",", "[]"],
    "weights": [*MODELS, "nowhere.pt", "broken.pt", "text.pt"],
    "data": ["abc", "0", "digit.yaml", "nowhere/x.yaml", "text.txt", "folder"],
    "experiment": ["abc", "nowhere.yaml", "text.txt", "folder", "coco.json"],
    "scale": ["q", "0", "-1", "nan", "nn"],
    "task": ["abc", "detct", "0", "nan"],
    "at": PLACES,
    "from": [place for place in PLACES if place != "neck.P3,neck.P3"],
    "args": ["abc", "factor", "factor=", "factor=0", "factor=-1", "factor=nan", "factor=8,factor=8", "facter=8", "["],
    "reroute": ["abc", "al", "0", "ALL"],
    "map": ["abc", "6", "6=", "=7", "6=7=8", "-1=2", "6=x", "6:7"],
    "alias": ["abc", "=EMA", "ultralytics.nn.EMA.EMA=", "ultralytics.nn.EMA.EMA=EMMA", "os.system=EMA", "a=b=c"],
    "seeds": ["one", "-1", "1.5", "nan", "4-0", "0,0", "0-", ",", "0-99999", "[1", "1e3"],
    "control": ["abc", "identify", "0", "identity:", "identity:abc", ",", "[]"],
    "split": ["abc", "tst", "0", "nan", "-1"],
    "folder": ["text.txt", "text.txt/x"],
    "engine": ["abc", "rey", "0"],
    "address": ["abc", "0"],  # without engine=ray
    "shell": ["abc", "bsh", "0"],
    "instances": ["abc", "nowhere.json", "text.txt", "folder"],
    "images": ["abc", "nowhere", "text.txt"],
    "out": ["text.txt", "text.txt/x"],
}  # fmt: skip


def options_of(command):
    app = command_line(command.split()[0])
    for name in command.split():
        app = app[name]
    theirs = ultralytics_arguments.read() if command == "compare" else {}
    for argument in app.assemble_argument_collection():
        name = argument.names[0].lstrip("-").lower()
        if name not in theirs or name in GIVEN[command]:
            yield name, str(getattr(argument.hint, "__name__", argument.hint))


def wrong_values(command, name, kind):
    if name == "output":
        suffix = Path(GIVEN[command]["output"]).suffix
        there = f"there{suffix}"
        return ["out", "out.xyz", "folder", f"nowhere/x{suffix}", f"text.txt/x{suffix}", f"folder{suffix}", there]
    if name == "folder" and command == "report":
        return ["abc", "text.txt", "folder", "text.txt/x"]
    if name in WRONG:
        return WRONG[name]
    (known,) = [values for types, values in BY_TYPE.items() if types in kind] or [None]
    assert known, f"{command} --{name} ({kind}): add wrong values to WRONG"
    return known


CASES = [
    (command, name, value)
    for command in GIVEN
    for name, kind in options_of(command)
    for value in wrong_values(command, name, kind)
]


@pytest.fixture
def refused(tmp_path, monkeypatch, capfd):
    """Return a function that runs something and checks that it ends in one line and has written nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for module, name in ((compare_models, "run_experiment"), (yolo_command, "call")):
        monkeypatch.setattr(module, name, lambda *given: pytest.fail(f"accepted: {given}"))
    shutil.copy(ROOT / "model_yamls" / "yolo11-ema.yaml", "theirs.yaml")
    for folder in ("folder", "folder.yaml", "folder.mmd", "folder.pt"):
        Path(folder).mkdir()
    for file in ("text.txt", "text.pt", "broken.pt", "there.yaml", "there.mmd", "there.pt"):
        Path(file).write_text("text")
    Path("coco.json").write_text(json.dumps({"images": [], "annotations": [], "categories": []}))

    def contents():
        return {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    def run(job):
        before = contents()
        status = job()
        err = capfd.readouterr().err
        lines = [line for line in err.splitlines() if "WARNING" not in line]
        assert (status, len(lines), lines[0].startswith("yolo-attn: ")) == (2, 1, True), err[-2000:]
        assert contents() == before
        return lines[0]

    return run


def test_every_command_is_here():
    assert {name.split()[0] for name in GIVEN} == {*COMMANDS, "completion"}


def words_of(given):
    return [value if name in ("names", "block") else f"--{name}={value}" for name, value in given.items()]


@pytest.mark.parametrize(("command", "name", "value"), CASES)
def test_a_wrong_value(command, name, value, refused):
    words = words_of({**GIVEN[command], name: value})
    line = refused(lambda: main([*command.split(), *words]))
    assert "Errno" not in line


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for command, name, value in CASES if command == "compare" and name != "experiment"],
)
def test_a_wrong_value_of_the_script(name, value, refused):
    refused(lambda: train_detect.run([f"{name}={value}"]))


USELESS = {
    "place": [
        ["yolo11.yaml", "-o", "yolo11-x.yaml"],
        ["yolo11.yaml", "--force"],
        ["yolo11.yaml", "EMA", "--at", "neck.P3", "--force"],
    ],
    "blocks": [["EMA", "--markdown"]],
    "compare": [[*words_of(GIVEN["compare"]), f"{name}=1"] for name in ("gpus_per_run", "cpus_per_run", "address")],
}  # fmt: skip


@pytest.mark.parametrize(("command", "words"), [(name, words) for name, each in USELESS.items() for words in each])
def test_an_option_without_effect(command, words, refused):
    refused(lambda: main([command, *words]))


TYPED = {
    argument.name: argument
    for argument in ultralytics_arguments.read().values()
    if argument.type and not {"str", "tuple"} & set(argument.type.replace(",", " ").split())
}
NOT_CHECKED = {"resume", "half", "int8", "end2end", "embed"}  # a path too; old; no argument of a detection
NEVER = {"int": ["text", "1.5", "nan", "inf", "1e999"], "float": ["text", "nan", "inf", "1e999"]}
NEVER["bool"] = ["text", "7", "nan"]
EXTRA = {
    "batch": ["0", "-2", "2.5"], "imgsz": ["0", "-32", "[64,0]", "True"], "workers": ["-1"], "epochs": ["0", "-1"],
    "classes": ["-1", "0.5", "[0,x]"], "freeze": ["-1", "bckbone", "0.5"], "cache": ["rom", "yes"], "lr0": ["-1", "2"],
    "box": ["-1"], "close_mosaic": ["-1"], "time": ["-1"], "copy_paste_mode": ["flop"], "patience": ["-1"],
    "fraction": ["0", "-1"], "project": ["text.txt", "text.txt/x"],
}  # fmt: skip


def wrong_arguments():
    for name in {**TYPED, **EXTRA}.keys() - NOT_CHECKED:
        kind = TYPED[name].type.split()[0] if name in TYPED else ""
        yield from ((name, value) for value in dict.fromkeys([*EXTRA.get(name, []), *NEVER.get(kind, [])]))


@pytest.mark.parametrize("mode", ultralytics_commands.COMMANDS)
def test_wrong_values_of_the_arguments_of_ultralytics(mode, refused):
    command = ultralytics_commands.command(mode)
    for name, value in wrong_arguments():
        if mode == "train" or name not in ("new_lr_mult", "partial", "freeze"):
            line = refused(functools.partial(guarded, functools.partial(command, **{name: value})))
            assert name in line, (name, value, line)


def test_wrong_training_arguments_of_compare(refused):
    for name, values in EXTRA.items():  # the check is that of yolo-attn train
        for value in values if name not in RESERVED else ():
            line = refused(functools.partial(main, ["compare", *words_of(GIVEN["compare"]), f"{name}={value}"]))
            assert name in line, (name, value, line)


YAML_VALUES = ["[]", "[1, a]", "{a: 1}", "[[1]]", "2024-01-01", ".nan", ".inf"]
NOT_IN_FILE = {("models", "[1, a]"), ("folder", "[]"), ("control", "[]"), ("device", "[1, a]")}  # names, or nothing


def test_wrong_values_in_an_experiment_file(refused):
    ours = (*EXPERIMENT_ARGUMENTS, *ENGINE_ARGUMENTS)
    for name in (*ours, "epochs", "imgsz", "lr0", "batch", "device", "pretrained", "freeze", "classes", "cache", "box"):
        for value in YAML_VALUES:
            if (name, value) not in NOT_IN_FILE:
                content = {**GIVEN["compare"], "models": "[yolo11n-ema.yaml]", name: value}
                Path("e.yaml").write_text("".join(f"{key}: {text}\n" for key, text in content.items()))
                line = refused(functools.partial(main, ["compare", "e.yaml"]))
                assert name in line or name in ("base", "models"), (name, value, line)


@pytest.mark.parametrize("command", GIVEN)
def test_an_option_that_is_empty_or_nearly_right(command, refused):
    for name, _ in options_of(command):
        if name not in ("names", "block"):
            words = [*command.split(), *words_of(GIVEN[command])]
            without = [word for word in words if not word.startswith(f"--{name}=")]
            assert f"--{name}" in refused(functools.partial(main, [*without, f"--{name}="]))
            assert f"--{name}xq" in refused(functools.partial(main, [*words, f"--{name}xq=1"]))


@pytest.mark.parametrize("device", ["abc", "gpu", "nan", 77, "cuda:77", "0,77"])
def test_a_device_that_this_machine_lacks_is_said_before_the_first_run(device):
    with pytest.raises(ArgumentError, match=f"device={str(device).removeprefix('cuda:')}"):
        yolo_command.check_device(device)
