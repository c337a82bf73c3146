"""``yolo-attn blocks``: the table, a layer's page, the Markdown."""

import re

import pytest

from yolo_attn import docstrings
from yolo_attn.cli import blocks, main
from yolo_attn.integration.queries import layer_types


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


def test_sections_of_a_docstring():
    parts = docstrings.sections(Sample)
    assert list(parts) == [
        "",
        "Args",
        "Deviations from the paper",
        "Deviations from the authors' code (someone/repository@abcdef)",
        "Limits",
    ]
    assert "``yolo_attn.Other``" in parts[""]
    assert parts["Deviations from the paper"] == "none."
    assert docstrings.points(parts["Deviations from the authors' code (someone/repository@abcdef)"]) == [
        "One thing, continued.",
        "Another.",
    ]
    assert docstrings.points(parts["Limits"]) == ["those of ``a.b.Other``."]
    assert docstrings.arguments(Sample) == {"channels": "C.", "factor": "G, over two lines."}


@pytest.mark.parametrize("columns", ["80", "200"])
def test_every_layer_is_in_the_table_with_its_limits(capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    assert main(["blocks"]) == 0
    table, limits = re.sub(r"[ \n]+", " ", capsys.readouterr().out).split(" Limits ")
    for name, spec in layer_types.installed().items():
        assert f" {name} {blocks.options(spec)[0]} {blocks.parameters(spec)[0]} {blocks.READS[spec.inputs]} " in table
        assert all(option in table for option in blocks.options(spec))
        for limit in docstrings.points(docstrings.sections(spec.cls)["Limits"]):
            assert re.sub(r"\s+", " ", blocks.plain(limit)) in limits
    assert "…" not in table
    assert "authors, loop" in table
    assert "arXiv:2305.13563" in table


def test_the_page_of_one_layer(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["blocks", "EMA"]) == 0
    said = capsys.readouterr().out
    for part in ("yolo_attn.blocks.ema.EMA", "factor: 32  G of the paper", "Deviations from the paper", "Limits"):
        assert part in said
    assert "GSoP" not in said


@pytest.mark.parametrize(
    ("word", "match"),
    [
        ("EMMA", r"^yolo-attn: unknown layer 'EMMA'\. Did you mean 'EMA'\? Layers: .*GSoP"),
        ("--html", r"^yolo-attn: unknown layer '--html'\..*; --markdown for the pages of all$"),
    ],
)
def test_unknown_words(capsys, word, match):
    assert main(["blocks", word]) == 2
    assert re.search(match, capsys.readouterr().err.strip())


def test_markdown_escapes_what_would_end_a_cell(capsys):
    assert main(["blocks", "--markdown"]) == 0
    for line in capsys.readouterr().out.splitlines():
        if line.startswith("| `"):
            assert len(re.findall(r"(?<!\\)\|", line)) == 3
