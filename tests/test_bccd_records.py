"""The experiment of the README: its records give its report, and the README says what the report says."""

from __future__ import annotations

import io
import json
import re
import shutil

import pytest
from rich.console import Console
from support import ROOT

from yolo_attn.cli.compare import EXPERIMENT_ARGUMENTS
from yolo_attn.experiment import experiment_file
from yolo_attn.experiment.plan import Plan, read_seeds
from yolo_attn.experiment.results import Results
from yolo_attn.experiment.storage import read
from yolo_attn.integration.queries import ultralytics_arguments
from yolo_attn.metrics import compute_metrics
from yolo_attn.report import FILES, make_report

FOLDER = ROOT / "benchmarks" / "bccd"


@pytest.fixture(scope="module")
def results():
    return read(FOLDER / "results.json", Results)


def rows(results):
    """The README's table: cost, AP over the seeds, difference with its interval, corrected p, verdict."""
    for model in results.models:
        cost, ap = model.cost, model.metrics["AP"]
        cells = [model.name, f"{cost.parameters / 1e6:.2f}", f"{cost.gflops:.1f}", f"{cost.latency_ms.median:.1f}"]
        cells += [f"{100 * ap.mean:.1f} ± {100 * ap.sd:.1f}"]
        if model.role == "baseline":
            cells += ["", "", "", ""]
        else:
            effect, verdict = model.change("AP"), model.effect.verdict
            cells[3] += f" ({100 * (cost.latency_ratio.median - 1):+.0f}%)"
            by_seed = " ".join(f"{value:+.1f}" for value in effect.seeds.values)
            ends = f"{effect.combined.low:+.1f} to {effect.combined.high:+.1f}"
            cells += [by_seed, f"{effect.seeds.mean:+.1f} ({ends})", f"{verdict.p_holm:.2f}", verdict.word]
        yield "| " + " | ".join(cells) + " |"


def test_the_readme_says_what_the_report_says(results):
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    for row in rows(results):
        assert row in text, row


def test_the_records_give_the_report_again(tmp_path, results):
    copy = tmp_path / "bccd"
    shutil.copytree(FOLDER, copy)
    for name in FILES:
        (copy / name).unlink()
    again = make_report(copy, Console(file=io.StringIO(), width=100))
    assert set(FILES) <= {path.name for path in copy.iterdir()}
    assert again.missing == ()
    for mine, kept in zip(again.models, results.models, strict=True):
        assert mine.name == kept.name
        assert mine.metrics["AP"].values == pytest.approx(kept.metrics["AP"].values, abs=1e-12)
        if kept.effect:
            assert mine.effect.verdict.word == kept.effect.verdict.word
            ours, theirs = (model.change("AP").combined for model in (mine, kept))
            assert [ours.low, ours.high] == pytest.approx([theirs.low, theirs.high], abs=1e-6)


def test_the_predictions_kept_give_the_metrics_kept():
    truth = json.loads((FOLDER / "ground_truth.json").read_text(encoding="utf-8"))
    for run in Plan.load(FOLDER).runs[:2]:
        record = json.loads(run.record.read_text(encoding="utf-8"))
        found = compute_metrics(truth, record["predictions"])
        assert found == pytest.approx(record["metrics"]["coco"], abs=1e-12)


def test_the_experiment_file_is_the_plan():
    arguments = experiment_file.read(FOLDER / "experiment.yaml", [*EXPERIMENT_ARGUMENTS, *ultralytics_arguments.read()])
    plan = Plan.load(FOLDER)
    assert (arguments["base"], tuple(arguments["models"]), arguments["data"]) == (plan.base, plan.models, plan.data)
    assert read_seeds(arguments["seeds"]) == plan.seeds
    assert {key: value for key, value in arguments.items() if key not in EXPERIMENT_ARGUMENTS} == plan.arguments


def test_nothing_of_the_machine_is_in_them():
    for path in FOLDER.rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"[\"' ](/(tmp|home|root|work|usr|mnt)/|[A-Z]:\\\\)", text), path
