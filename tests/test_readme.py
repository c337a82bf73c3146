"""The README: its commands run, its YAML rows build, its code registers, its table of layers is the registry's."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from ultralytics import YOLO

import yolo_attn
from yolo_attn import docstrings, registry
from yolo_attn.cli import blocks, compare, main, words
from yolo_attn.cli.main import COMMANDS as OWN_COMMANDS
from yolo_attn.cli.main import PASSED_THROUGH
from yolo_attn.experiment import experiment_file
from yolo_attn.integration.queries import layer_types, yolo_command

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^ *```(\w+)\n(.*?)^ *```", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = [line.strip() for kind, body in BLOCKS if kind == "bash" for line in body.splitlines() if line.strip()]


def body_of(kind):
    return [body for k, body in BLOCKS if k == kind]


def test_the_first_screen_is_the_two_commands():
    assert COMMANDS[:2] == ["pip install -e . && python train_detect.py", 'pip install -e ".[test]" && pytest']
    assert TEXT.splitlines().index(COMMANDS[0]) < 25
    assert (
        COMMANDS[1] in (ROOT / ".ci" / "run").read_text()
        or "^pip install .*&& pytest$" in (ROOT / ".ci" / "run").read_text()
    )


@pytest.mark.parametrize("command", COMMANDS[2:])
def test_the_words_of_every_command_are_known(command):
    program, *given = shlex.split(command)
    assert program in ("yolo", "yolo-attn", "python")
    if program == "python":
        assert given[0] == "train_detect.py"
        return
    mode, *rest = given
    assert mode in (*OWN_COMMANDS, *PASSED_THROUGH)
    known = [*compare.OWN_WORDS, *compare.ENGINE_WORDS, *yolo_command.words()]
    if mode == "compare" and rest[0].endswith(".yaml"):
        assert experiment_file.read(ROOT / rest.pop(0), known)
    if mode in ("train", "val", "compare"):
        pairs = words.parse(rest, known)
        for name in [pairs.get("model"), pairs.get("base"), *pairs.get("models", "").split(",")]:
            if name and name.endswith(".yaml"):
                yolo_command.check_model(name)


@pytest.mark.parametrize("page", ["README.md", "docs/models.md"])
def test_the_commands_on_model_yamls_run(page, tmp_path, monkeypatch):
    """One behind the other in an empty folder, as a reader does."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / page).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if re.match(r"yolo-attn (place|check|diagram) .*\.(yaml|svg)$", line)]
    assert {shlex.split(line)[1] for line in lines} == {"place", "check", "diagram"}
    for line in lines:
        assert main(shlex.split(line)[1:]) == 0, line
    assert next(tmp_path.glob("*.svg")).stat().st_size > 10_000


def test_the_picture_is_of_the_model_as_it_is(tmp_path):
    command = ["diagram", "yolo11n-ema.yaml", "-o", str(tmp_path / "now.svg")]
    assert main(command) == 0
    ids = [
        re.findall(r'id="((?:layer|edge)-[\w-]+)"', file.read_text(encoding="utf-8"))
        for file in (tmp_path / "now.svg", ROOT / "docs" / "yolo11n-ema.svg")
    ]
    assert ids[0] == ids[1]
    assert {"layer-17", "edge-16-17", "edge-17-26"} <= set(ids[0])


def test_the_page_of_model_yamls_has_python_that_runs():
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    space = {}
    exec(code, space)
    assert [row.index for row in space["placed"].inserted] == [17, 21]


def test_the_yaml_rows_build(tmp_path):
    rows = yaml.safe_load(body_of("yaml")[0])
    base = yaml.safe_load((ROOT / "model_yamls" / "yolo11-ema.yaml").read_text())
    content = {"nc": 2, "scales": base["scales"], "backbone": base["backbone"], "head": []}
    content["head"] = [*rows, [[4, 6, len(base["backbone"]) + 2], 1, "Detect", ["nc"]]]
    (tmp_path / "yolo11-readme.yaml").write_text(yaml.safe_dump(content))
    yolo_attn.register()
    model = YOLO(str(tmp_path / "yolo11n-readme.yaml")).model
    assert [type(m).__name__ for m in model.model if layer_types.spec_of(type(m))] == ["EMA", "GSoP", "PMFS"]


def test_the_python_code_runs(tmp_path):
    first, second = body_of("python")
    exec(first, {})
    code = "\n".join(line.removeprefix("   ") for line in second.splitlines())
    space = {"__name__": "readme_block"}
    try:
        exec(code, space)
        assert registry.get("ChannelGate").cls is space["ChannelGate"]
    finally:
        registry.BLOCKS.pop("ChannelGate", None)


def ours():
    return {
        k: s for k, s in sorted(layer_types.installed().items()) if s.cls.__module__.startswith("yolo_attn.blocks.")
    }


def test_the_table_of_layers_is_generated():
    assert blocks.overview(ours(), "docs/layers.md") in TEXT


def test_the_page_of_the_layers_is_generated(capsys):
    assert main(["blocks", "--markdown"]) == 0
    assert capsys.readouterr().out == (ROOT / "docs" / "layers.md").read_text(), (
        "yolo-attn blocks --markdown > docs/layers.md"
    )


def test_every_option_has_a_meaning_on_its_page():
    for name, spec in ours().items():
        meaning = docstrings.arguments(spec.cls)
        for option in blocks.options(spec):
            if option != "none":
                assert len(meaning[option.partition(":")[0]]) > 15, f"{name}: {option}"


def test_help_ends_with_commands_whose_words_are_known(capsys):
    assert main(["--help"]) == 0
    examples = capsys.readouterr().out.split("examples")[1].splitlines()[1:]
    assert len(examples) >= 5
    for line in examples:
        program, command, *_ = shlex.split(line)
        assert program == "yolo-attn"
        assert command in (*OWN_COMMANDS, *PASSED_THROUGH)
