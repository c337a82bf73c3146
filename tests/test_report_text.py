"""The report in the terminal, in Markdown and as CSV; the command without torch."""

from __future__ import annotations

import csv
import io
import itertools
import re
import subprocess
import sys
from typing import get_args

import made_up_experiment
import msgspec
import numpy as np
import pytest
from markdown_it import MarkdownIt
from rich.console import Console
from support import read_json, write_json

from yolo_attn.cli import main
from yolo_attn.comparison import child_processes
from yolo_attn.experiment.folder_contents import collect
from yolo_attn.experiment.results import MetricValues
from yolo_attn.report import (
    FILES,
    comparison_title,
    make_report,
    markdown_report,
    number_format,
    tables,
    warnings_and_notes,
)
from yolo_attn.report.charts.svg import clean
from yolo_attn.report.how_to_read import TERMS
from yolo_attn.report.tables import all_tables
from yolo_attn.statistics import Interval, VerdictWord

LONG = "yolo11n-with-a-name-that-takes-more-room-than-there-is-in-a-table.yaml"
HOSTILE = ("<script>alert(1)</script>", "a|b", "=1+1", 'say "x", please', "line\nbreak", "*bold*")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder, the output at 80 columns, and the results."""
    models = ("yolo11n-ema.yaml", "yolo11n-[red]gsop|x\x1bc\x9b.yaml", LONG, "=cmd().yaml")
    plan = made_up_experiment.write(
        tmp_path_factory.mktemp("text") / "e", models=models, names=HOSTILE, controls=("repeat",)
    )
    console = Console(file=io.StringIO(), width=80)
    results = make_report(plan.folder, console)
    return plan.folder, console.file.getvalue(), results


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def row(text, start):
    return next(line for line in text.splitlines() if line.strip().startswith(start)).split()


def test_80_columns_are_enough(finished):
    _, text, _ = finished
    tables = text[: text.index("Report:")]  # a path is not folded: it is to be copied
    assert max(map(len, tables.splitlines())) <= 80
    assert "…" not in text
    assert not re.search(r"[^\n\x20-\x7e\xa0-\uffff]", text)
    assert LONG.removesuffix(".yaml") in "".join(text.split())
    assert "[red]gsop|x" in text


def test_terminal_gives_mean_deviation_difference_interval_and_p(finished):
    _, text, results = finished
    base, ema = results.models[:2]
    assert row(text, "yolo11n ")[1] == f"{100 * base.metrics['AP'].mean:.1f}"
    assert row(text, "± sd")[2] == f"{100 * base.metrics['AP'].sd:.1f}"
    effect = ema.change("AP")
    assert row(text, "difference")[1] == number_format.signed(effect.seeds.mean)
    assert row(text, "95 % from")[3] == number_format.signed(effect.combined.low)
    assert row(text, "to")[1] == number_format.signed(effect.combined.high)
    assert row(text, "p (Holm)")[2] == number_format.probability(ema.effect.verdict.p_holm)
    assert text.index("yolo11n ") < text.index("yolo11n-ema") < text.index("yolo11n-repeat")


def test_terminal_has_verdicts_then_notes(finished):
    _, text, results = finished
    flat = " ".join(text.split())
    places = [flat.index(model.effect.verdict.text) for model in results.models[1:]]
    places += [flat.index(line) for line in results.notes]
    assert places == sorted(places)
    assert "cells, test split (no epoch was chosen on it): 12 images" in flat
    assert "faster-coco-eval 1.8.0. mAP50 and mAP50-95 are computed by Ultralytics 8.4.190" in flat


@pytest.mark.parametrize(
    ("annotations", "note"),
    [
        (None, "12 images, 36 boxes."),
        (36, "12 images, 36 boxes."),
        (40, "12 images, 40 in the COCO JSON (AP), 36 boxes in the labels (mAP)."),
    ],
)
def test_the_boxes_of_a_coco_json_are_said_beside_those_of_the_labels(annotations, note, finished):
    results = finished[2]
    data = msgspec.structs.replace(results.data, boxes=36, annotation_boxes=annotations)
    results = msgspec.structs.replace(results, data=data)
    assert note in warnings_and_notes.notes_on(results, [])[0]
    rows = dict(tables.data_table(results).rows)
    if annotations is None:
        assert rows["boxes"] == "36"
    else:
        assert (rows["boxes in the labels"], rows["boxes in the COCO JSON"]) == ("36", str(annotations))


def unbalanced(text):
    """Return the brackets of a text that have no partner."""
    opened = []
    for sign in re.sub(r"[^()\[\]]", "", text):
        if sign in "([":
            opened.append(sign)
        elif not opened or opened.pop() + sign not in ("()", "[]"):
            return sign
    return "".join(opened)


def test_brackets_are_in_pairs_in_every_text(finished):
    folder, text, results = finished
    assert "))" not in (folder / "results.md").read_text(encoding="utf-8")
    page = (folder / "report.html").read_text(encoding="utf-8")
    cells = re.findall(r"<(?:td|th|p|li|dd|dt|title|desc|text|summary)\b[^>]*>([^<]*)<", page)
    lines = [*results.warnings, *results.notes, *(model.effect.verdict.text for model in results.compared)]
    lines += [cell for line in (folder / "results.md").read_text().splitlines() for cell in line.split(" | ")]
    assert len(cells) > 500
    for line in (*cells, *lines, text):
        assert "…" in line or unbalanced(line) == "", line  # a shortened name may lose one


def test_markdown_tables_hold_whatever_a_class_is_called(finished):
    folder, _, _ = finished
    lines = (folder / "results.md").read_text(encoding="utf-8").splitlines()
    head = None
    for line in lines:
        cells = re.findall(r"(?<!\\)\|", line)
        if line.startswith("|"):
            head = head or len(cells)
            assert len(cells) == head
        else:
            assert not cells
            head = None
    text = "\n".join(lines)
    assert "<script" not in text
    assert r"a\|b" in text
    assert r"\*bold\*" in text
    assert "line break" in text
    assert "![Differences to the baseline" in text


def rendered(folder):
    """Return the tables of results.md as a reader sees them: for each its head and its cells, and their alignment."""
    tokens = MarkdownIt("commonmark").enable("table").parse((folder / "results.md").read_text(encoding="utf-8"))
    tables = []
    for token, content in itertools.pairwise(tokens):
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type in ("th_open", "td_open"):
            text = "".join(child.content for child in content.children)
            tables[-1][-1].append((text, dict(token.attrs)["style"].removeprefix("text-align:")))
    return tables


def test_rendered_markdown_has_the_cells_of_the_tables(finished):
    folder, _, results = finished
    known = all_tables(results)
    found = dict(zip([name for name in markdown_report.SHOWN if name in known], rendered(folder), strict=True))
    assert set(markdown_report.SHOWN) - set(found) == {"missing", "weights"}
    for name, table in found.items():
        for line, wanted in zip(table, [known[name].head, *known[name].rows], strict=True):
            assert [text for text, _ in line] == [clean(cell) for cell in wanted]
    aligned = {name: [side for _, side in table[0]] for name, table in found.items()}
    assert aligned["data"] == aligned["versions"] == ["left", "left"]
    assert aligned["accuracy"] == ["left", *["right"] * 9]
    assert aligned["effects"][:4] == ["left", "left", "right", "right"]


def test_the_title_says_what_was_compared(finished):
    folder, text, _ = finished
    title = "4 variants against yolo11n on cells"
    assert text.splitlines()[1] == title
    assert "3 seeds, 6 epochs, test split of 12 images, " in text.splitlines()[2]
    assert (folder / "results.md").read_text(encoding="utf-8").startswith(f"# {title}\n")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert f"<title>{title}</title>" in page
    assert f"<h1>{title}</h1>" in page
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", page)


@pytest.mark.parametrize(
    ("added", "title"),
    [
        (["EMA"], "m0 against yolo11n on cells"),
        (["EMA", "EMA", "Own"], "m0, m1 and m2 against yolo11n on cells"),
        (["EMA", "GSoP", "PMFS", "SoftAttn"], "4 attention blocks against yolo11n on cells"),
        (["EMA", "EMA", "PMFS", "SoftAttn"], "4 variants against yolo11n on cells"),  # the same block twice
        (["EMA", "Own", "PMFS", "SoftAttn"], "4 variants against yolo11n on cells"),
        (["EMA", "Conv", "PMFS", "SoftAttn"], "4 variants against yolo11n on cells"),
        (["EMA", None, "PMFS", "SoftAttn"], "4 variants against yolo11n on cells"),  # no run is finished
    ],
)
def test_the_title_counts_attention_blocks_only_if_each_variant_adds_one(tmp_path, added, title):
    models = [f"m{number}.yaml" for number in range(len(added))]
    left_out = [f"m{number}-seed0" for number, name in enumerate(added) if name is None]
    plan = made_up_experiment.write(tmp_path / "e", models=models, seeds=(0,), controls=(), leave_out=left_out)
    for run in plan.runs:
        if run.record.is_file():
            rows = [[-1, 1, "Conv", [8]]]
            if run.role == "variant":
                rows.append([-1, 1, added[int(run.model[1:])], []])
            write_json(run.record, read_json(run.record) | {"model_yaml": {"backbone": rows, "head": "forged"}})
    assert comparison_title.title(collect(plan.folder)) == title


def test_markdown_of_special_characters():
    assert markdown_report.escape("<b>&amp;|`_[x](y)\\\n\x00") == "&lt;b&gt;&amp;amp;\\|\\`\\_\\[x\\](y)\\\\ �"


def test_csv_has_a_row_for_each_model_and_metric(finished):
    folder, _, results = finished
    found = rows(folder / "results.csv")
    by_key = {(line["model"], line["metric"]): line for line in found}
    assert len(by_key) == len(found)
    assert {model for model, _ in by_key} - {model.name for model in results.models} == {"'=cmd()"}  # no formula
    mine, ema = by_key["yolo11n-ema", "AP"], results.models[1]
    assert float(mine["mean"]) == ema.metrics["AP"].mean
    assert float(mine["difference"]) == ema.change("AP").seeds.mean
    assert float(mine["combined_low"]) == ema.change("AP").combined.low
    assert float(mine["image_high"]) == ema.change("AP").images.high
    assert float(mine["p_holm"]) == ema.effect.verdict.p_holm
    assert {f"AP[{' '.join(name.split())}]" for name in HOSTILE} <= {" ".join(f.split()) for _, f in by_key}
    latency = by_key["yolo11n-ema", "latency_ms"]
    assert (float(latency["mean"]), float(latency["ratio"]), latency["difference"]) == (11.0, 1.1, "")


def test_csv_by_seed_averages_to_the_summary(finished):
    folder, _, results = finished
    repeat = results.models[-1]
    found = [
        line for line in rows(folder / "results_by_seed.csv")
        if line["model"] == repeat.name and line["metric"] == "AP50"
    ]  # fmt: skip
    assert [(line["seed"], line["base_seed"]) for line in found] == [("1000", "0"), ("1001", "1"), ("1002", "2")]
    assert np.mean([float(line["value"]) for line in found]) == pytest.approx(repeat.metrics["AP50"].mean)
    assert np.mean([float(line["difference"]) for line in found]) == pytest.approx(repeat.change("AP50").seeds.mean)


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (number_format.signed, -0.04, "0.0"),
        (number_format.signed, 0.96, "+1.0"),
        (number_format.signed, None, number_format.NONE),
        (number_format.ratio, 1.0, "0.0%"),
        (number_format.ratio, 0.9, "-10.0%"),
        (number_format.ratio, 2.0, "×2.0"),  # noqa: RUF001
        (number_format.ratio, None, number_format.NONE),
        (number_format.probability, 0.0004, "<0.001"),
        (number_format.duration, 90.0, "90.0 s"),
        (number_format.duration, 7300.0, "2.0 h"),
        (number_format.interval, Interval(-1.0, 0.04, 0.2, 4), "-1.0 to 0.0"),
        (number_format.interval, None, number_format.NONE),
        (number_format.mean_and_sd, MetricValues((0.4, 0.5), 0.45, 0.07), "45.0 ± 7.0"),
        (number_format.mean_and_sd, MetricValues((0.4,), 0.4), "40.0"),
        (number_format.rate, 123.4, "123"),
        (number_format.memory, 2**31, "2.00 GiB"),
    ],
)
def test_number_format(write, value, text):
    assert write(value) == text


NO_TORCH = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision", "ultralytics", "cv2"):
            raise ImportError(f"{name} is not there")
sys.meta_path.insert(0, Refuse())
from yolo_attn.cli import main
sys.exit(main(["report", sys.argv[1]]))
"""


def test_the_command_needs_neither_torch_nor_ultralytics(tmp_path):
    plan = made_up_experiment.write(tmp_path / "e", controls=(), pictures=True)
    done = subprocess.run(
        [sys.executable, "-c", NO_TORCH, str(plan.folder)],
        capture_output=True, text=True, timeout=300, env=child_processes.child_environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "yolo11n-ema" in done.stdout
    assert "data:image/jpeg;base64," in (plan.folder / "report.html").read_text()
    assert all((plan.folder / name).is_file() for name in FILES)


def test_the_command_says_one_line(tmp_path, capsys):
    plan = made_up_experiment.write(tmp_path / "e", seeds=(0,), controls=())
    for folder, name in (("e", "yolo11n-seed0/record.json"), ("e", "plan.json"), (".", ""), ("nowhere", "")):
        if name:
            (plan.folder / name).write_text("{")
        assert main(["report", str(tmp_path / folder)]) == 2
        error = capsys.readouterr().err
        assert (name or "plan.json") in error
        assert error.count("\n") == 1


def test_every_verdict_word_is_explained():
    assert [word for word in get_args(VerdictWord) if word not in TERMS["Verdict"]] == []
