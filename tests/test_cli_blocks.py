"""``yolo-attn blocks``: the table, the page of a layer type, the Markdown."""

import re
import shlex

import pytest
import yaml
from ultralytics import YOLO

import yolo_attn
from yolo_attn import docstrings
from yolo_attn.cli import blocks, main
from yolo_attn.integration.queries import layer_types

fast = pytest.mark.fast
NAMES = sorted(layer_types.installed())


class Sample:
    """Scale something, ``gently``. And more.

    A second paragraph with :class:`yolo_attn.Other`.

    Args:
        channels: C.
        factor: G, over
            two lines.

    Deviations from the paper: none.

    Deviations from the authors' code (someone/repository@abcdef):
        1. One thing,
           continued.
        2. Another.

    Limits: those of :class:`~a.b.Other`.
    """


@fast
def test_sections_of_a_docstring():
    parts = docstrings.sections(Sample)
    code = "Deviations from the authors' code (someone/repository@abcdef)"
    assert list(parts) == ["", "Args", "Deviations from the paper", code, "Limits"]
    assert "``yolo_attn.Other``" in parts[""]
    assert parts["Deviations from the paper"] == "none."
    assert docstrings.points(parts[code]) == ["One thing, continued.", "Another."]
    assert docstrings.points(parts["Limits"]) == ["those of ``a.b.Other``."]
    assert docstrings.arguments(Sample) == {"channels": "C.", "factor": "G, over two lines."}


@fast
def test_the_table_has_one_line_for_each_layer_type(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["blocks"]) == 0
    _, *lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines[: len(NAMES)]] == NAMES
    for name, line in zip(NAMES, lines[: len(NAMES)], strict=True):
        spec = layer_types.installed()[name]
        assert spec.summary in line
        assert spec.paper.rpartition("/")[2] in line
        made = {file.removesuffix(".yaml").partition("-")[2] for file in blocks.ready_made(name)}
        assert all(line.split()[-1] == f"-{ending}" for ending in made)
    assert len([file for name in NAMES for file in blocks.ready_made(name)]) == 21


@fast
@pytest.mark.parametrize("name", NAMES)
def test_the_page_of_a_layer_type(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["blocks", name]) == 0
    page = capsys.readouterr().out
    text = re.sub(r"\s+", " ", page)
    spec = layer_types.installed()[name]
    for option, parameter in blocks.options(spec).items():
        values = blocks.choices(spec, option) or [parameter.annotation.replace(" | None", "")]
        assert f"({', '.join(values)})" in text
        assert f"{option}: {blocks.yaml_value(parameter.default)}" in text
    assert blocks.example_row(spec) in text
    assert all(line in page for line in blocks.place_command(spec).splitlines())  # the terminal breaks no line
    assert f"docs/layers.md#{name.lower()}" in text
    for limit in docstrings.points(docstrings.sections(spec.cls)["Limits"]):
        assert re.sub(r"\s+", " ", limit.replace("``", "")) in text
    other = next(n for n in NAMES if n not in text)
    assert main(["blocks", name, other]) == 0
    assert capsys.readouterr().out.startswith(page)


@fast
def test_choices_and_tables():
    spec = layer_types.installed()["MultiHeadGlobalAttention"]
    assert "| softmax | global, window" in blocks.markdown_pages({spec.name: spec})
    assert blocks.choices(spec, "kernel") == ["softmax", "performer", "linformer", "reformer", "linear"]
    assert blocks.choices(spec, "heads") == []


def test_the_place_commands_run(tmp_path, monkeypatch):
    """Those of the ready-made model YAMLs have a test in test_model_yamls.py; one of them is here."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in NAMES if name == "PMFS" or not blocks.ready_made(name)]:
        spec = layer_types.installed()[name]
        command = shlex.split(blocks.place_command(spec).replace("\\\n", " "))
        assert main([*command[1:], "--force"]) == 0
        rows = yaml.safe_load((tmp_path / "yolo11-mine.yaml").read_text(encoding="utf-8"))
        assert name in [row[2] for row in rows["backbone"] + rows["head"]]


def test_example_rows_build(tmp_path):
    """All in one model; a pyramid is read by the rows after it."""
    yolo_attn.install()
    rows = [[-1, 1, "Conv", [256 * 2**k, 3, 2]] for k in range(3) for _ in "ab"]
    head = []
    for name in sorted(NAMES, key=lambda n: layer_types.installed()[n].inputs == "pyramid"):
        (row,) = yaml.safe_load(f"- {blocks.example_row(layer_types.installed()[name])}")
        if isinstance(row[0], list):
            row[0] = [1, 3, 5]
        elif name == "PyramidLevel":
            row[0] = 6 + next(k for k, r in enumerate(head) if r[2] == "AttentionFPN")
        else:
            row[0] = 1
        head.append(row)
    head.append([[1, 3, 5], 1, "Detect", ["nc"]])
    file = tmp_path / "yolo11-all.yaml"
    content = {"nc": 2, "scales": {"n": [0.5, 0.25, 1024]}, "backbone": rows, "head": head}
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    built = YOLO(str(tmp_path / "yolo11n-all.yaml")).model.model
    assert sorted(layer_types.spec_of(type(m)).name for m in built if layer_types.spec_of(type(m))) == NAMES


@fast
def test_an_unknown_layer_type(capsys):
    assert main(["blocks", "EMMA"]) == 2
    assert re.search(r"'EMMA'.*'EMA'.*GSoP", capsys.readouterr().err)


@fast
def test_markdown_escapes_what_would_end_a_cell(capsys):
    assert main(["blocks", "--markdown"]) == 0
    for line in capsys.readouterr().out.splitlines():
        if line.startswith("| `"):
            assert len(re.findall(r"(?<!\\)\|", line)) == 3
