"""The experiment of the README: its records give its report, and the README says what the report says."""

from __future__ import annotations

import io
import json
import re
import shutil

import pytest
from rich.console import Console
from support import ROOT

from yolo_attn import report
from yolo_attn.cli.compare import ENGINE_WORDS, OWN_WORDS
from yolo_attn.experiment import experiment_file
from yolo_attn.experiment.plan import Plan, read_seeds
from yolo_attn.metrics import compute_metrics

FOLDER = ROOT / "benchmarks" / "bccd"


@pytest.fixture(scope="module")
def results():
    return json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))


def rows(results):
    """The README's table: cost, AP over the seeds, difference with its interval, corrected p, verdict."""
    for model in results["models"]:
        cost, ap = model["cost"], model["figures"]["AP"]
        ratio = cost["latency_ratio"]["median"]
        latency = f"{cost['latency_ms']['median']:.1f}"
        cells = [model["title"], f"{cost['parameters'] / 1e6:.2f}", f"{cost['gflops']:.1f}", latency]
        cells += [f"{100 * ap['mean']:.1f} ± {100 * ap['sd']:.1f}"]
        if model["role"] == "baseline":
            cells += ["", "", "", ""]
        else:
            effect, verdict = model["effect"]["metrics"]["AP"], model["effect"]["verdict"]
            cells[3] += f" ({100 * (ratio - 1):+.0f}%)"
            ends = [f"{effect['combined'][end]:+.1f}" for end in ("low", "high")]
            by_seed = " ".join(f"{value:+.1f}" for value in effect["seeds"]["values"])
            cells += [by_seed, f"{effect['seeds']['mean']:+.1f} ({ends[0]} to {ends[1]})", f"{verdict['p_holm']:.2f}"]
            cells += [verdict["word"]]
        yield "| " + " | ".join(cells) + " |"


def test_the_readme_says_what_the_report_says(results):
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    for row in rows(results):
        assert row in text, row


def test_the_records_give_the_report_again(tmp_path, results):
    copy = tmp_path / "bccd"
    shutil.copytree(FOLDER, copy)
    for name in report.FILES:
        (copy / name).unlink(missing_ok=True)
    again = json.loads(json.dumps(report.make(copy, Console(file=io.StringIO(), width=100))))
    assert set(report.FILES) <= {path.name for path in copy.iterdir()}
    assert again["missing"] == []
    for mine, kept in zip(again["models"], results["models"], strict=True):
        assert mine["title"] == kept["title"]
        assert mine["figures"]["AP"]["values"] == pytest.approx(kept["figures"]["AP"]["values"], abs=1e-12)
        if kept["role"] == "baseline":
            continue
        assert mine["effect"]["verdict"]["word"] == kept["effect"]["verdict"]["word"]
        for end in ("low", "high"):
            ours, theirs = (model["effect"]["metrics"]["AP"]["combined"][end] for model in (mine, kept))
            assert ours == pytest.approx(theirs, abs=1e-6)


def test_the_predictions_kept_give_the_figures_kept():
    truth = json.loads((FOLDER / "ground_truth.json").read_text(encoding="utf-8"))
    for run in Plan.load(FOLDER).runs[:2]:
        record = json.loads(run.record.read_text(encoding="utf-8"))
        found = compute_metrics(truth, record["predictions"])
        assert found == pytest.approx(record["metrics"]["coco"], abs=1e-12)


def test_the_experiment_file_is_the_plan():
    words = experiment_file.read(FOLDER / "experiment.yaml", [*OWN_WORDS, *ENGINE_WORDS, *_train_words()])
    plan = Plan.load(FOLDER)
    assert (words["base"], tuple(words["models"]), words["data"]) == (plan.base, plan.models, plan.data)
    assert read_seeds(words["seeds"]) == plan.seeds
    assert {key: value for key, value in words.items() if key not in OWN_WORDS} == plan.arguments


def _train_words():
    from yolo_attn.integration.queries import yolo_command

    return yolo_command.words()


def test_nothing_of_the_machine_is_in_them():
    for path in FOLDER.rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"[\"' ](/(tmp|home|root|work|usr|mnt)/|[A-Z]:\\\\)", text), path
