"""What a report makes of the records: which seeds count, what is said first, what is refused."""

from __future__ import annotations

import copy
import io
import json
import statistics

import made_up_experiment
import pytest
from rich.console import Console
from support import read_json, write_json

from yolo_attn import report
from yolo_attn.errors import ArgumentError, DataError, DiskFullError
from yolo_attn.metrics import compute_class_metrics, error_kinds
from yolo_attn.report import captions


def make(folder, **words):
    return report.make(folder, Console(file=io.StringIO(), width=80), **words)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished experiment, and what its report says."""
    plan = made_up_experiment.write(tmp_path_factory.mktemp("finished") / "e", controls=("repeat", "identity"))
    return plan, make(plan.folder)


def records(plan, title):
    return [read_json(run.record) for run in plan.runs if run.model == title]


def model(results, title):
    return next(item for item in results["models"] if item["title"] == title)


def test_baseline_first_then_variants_then_controls(finished):
    _, results = finished
    assert [item["role"] for item in results["models"]] == ["baseline", "variant", "variant", "control", "control"]
    assert results["first"] == []
    assert results["missing"] == []
    assert results["failed"] == {}


@pytest.mark.parametrize("figure", ["AP", "AP50", "AP_small"])
def test_figures_and_differences_are_those_of_the_records(finished, figure):
    plan, results = finished
    base = [record["metrics"]["coco"][figure] for record in records(plan, "yolo11n")]
    other = [record["metrics"]["coco"][figure] for record in records(plan, "yolo11n-ema")]
    found = model(results, "yolo11n-ema")
    assert found["figures"][figure]["values"] == other
    assert found["figures"][figure]["mean"] == pytest.approx(statistics.fmean(other))
    assert found["figures"][figure]["sd"] == pytest.approx(statistics.stdev(other))
    differences = [100 * (mine - its) for mine, its in zip(other, base, strict=True)]
    effect = found["effect"]["metrics"][figure]
    assert effect["seeds"]["values"] == pytest.approx(differences)
    assert effect["seeds"]["mean"] == pytest.approx(statistics.fmean(differences))
    assert effect["seeds"]["low"] < effect["seeds"]["mean"] < effect["seeds"]["high"]
    assert model(results, "yolo11n")["effect"] is None


def test_ultralytics_figure_stands_beside_cocos(finished):
    plan, results = finished
    own = [record["metrics"]["ultralytics"]["mAP50"] for record in records(plan, "yolo11n")]
    assert model(results, "yolo11n")["figures"]["mAP50"]["values"] == own


def test_classes_and_error_kinds_are_those_of_the_predictions(finished):
    plan, results = finished
    truth = read_json(plan.folder / "ground_truth.json")
    columns = [record["predictions"] for record in records(plan, "yolo11n-gsop")]
    found = model(results, "yolo11n-gsop")
    by_class = [compute_class_metrics(truth, item)["dog"]["AP"] for item in columns]
    assert found["figures"]["AP[dog]"]["values"] == pytest.approx(by_class)
    missed = statistics.fmean(error_kinds(truth, item).dap["missed"] for item in columns)
    assert found["error_kinds"]["dap"]["missed"] == pytest.approx(missed)
    assert missed > 0


def test_a_repetition_is_compared_as_another_group_of_runs(finished):
    _, results = finished
    found = model(results, "yolo11n-repeat")
    assert found["seeds"] == [1000, 1001, 1002]
    assert found["base_seeds"] == [0, 1, 2]
    assert found["effect"]["metrics"]["AP"]["seeds"]["method"] == "Welch"
    assert model(results, "yolo11n-ema")["effect"]["metrics"]["AP"]["seeds"]["method"] == "t"


def test_models_that_find_nothing_are_not_called_identical_without_a_word(finished):
    _, results = finished
    assert not any("finds anything" in line for line in captions.first(results))
    untrained = copy.deepcopy(results)
    for found in untrained["models"]:
        found["figures"]["AP"]["mean"] = 0.0
    assert "No model finds anything yet: AP is 0 for all of them" in " ".join(captions.first(untrained))


def test_an_identical_model_has_no_difference(finished):
    _, results = finished
    found = model(results, "yolo11n-identity")["effect"]
    assert found["metrics"]["AP"]["seeds"]["mean"] == 0
    assert found["verdict"]["word"] == "identical"


def test_controls_do_not_cost_the_variants_evidence(tmp_path, finished):
    _, results = finished
    plan = made_up_experiment.write(tmp_path / "e", controls=())
    alone = make(plan.folder)
    for title in ("yolo11n-ema", "yolo11n-gsop"):
        assert model(alone, title)["effect"]["verdict"] == model(results, title)["effect"]["verdict"]


def test_costs_are_ratios_to_the_baseline(finished):
    _, results = finished
    ratios = model(results, "yolo11n-ema")["cost_ratios"]
    assert ratios["gflops"] == pytest.approx(1.1)
    assert ratios["latency"] == pytest.approx(1.1)
    assert ratios["throughput"] == pytest.approx(1 / 1.1)
    assert ratios["epoch_seconds"] == 1.0
    assert ratios["gpu_bytes"] is None


def test_results_json_holds_what_is_returned(finished):
    plan, results = finished
    assert read_json(plan.folder / "results.json") == json.loads(json.dumps(results))
    assert all((plan.folder / name).stat().st_size for name in report.FILES)


def test_a_report_made_again_is_the_same(finished):
    plan, results = finished
    before = {name: (plan.folder / name).read_bytes() for name in report.FILES}
    assert make(plan.folder) == results
    assert {name: (plan.folder / name).read_bytes() for name in report.FILES} == before


def test_a_seed_counts_where_base_and_variant_are_finished(tmp_path):
    plan = made_up_experiment.write(
        tmp_path / "e", seeds=(3, 4, 5), controls=(), leave_out=("yolo11n-seed4", "yolo11n-gsop-seed3")
    )
    results = make(plan.folder, failed={"yolo11n-gsop-seed3": "its process was ended by SIGKILL"})
    assert model(results, "yolo11n")["seeds"] == [3, 5]
    assert model(results, "yolo11n-ema")["seeds"] == [3, 5]
    assert model(results, "yolo11n-gsop")["seeds"] == [5]
    assert model(results, "yolo11n-gsop")["effect"]["metrics"]["AP"]["seeds"]["n"] == 1
    assert results["failed"] == {"yolo11n-gsop-seed3": "its process was ended by SIGKILL"}
    first = " ".join(results["first"])
    assert "7 of 9 runs are finished" in first
    assert "Not finished: yolo11n-seed4." in first
    assert "Failed: yolo11n-gsop-seed3: its process was ended by SIGKILL" in first
    assert "yolo11n-ema: compared at seeds 3, 5 only" in first
    assert "yolo11n-gsop: compared at seed 5 only" in first
    ema = [r["metrics"]["coco"]["AP"] for r in records(plan, "yolo11n-ema") if r and r["seed"] != 4]
    assert model(results, "yolo11n-ema")["figures"]["AP"]["values"] == ema


def test_the_reason_kept_in_the_folder_is_shown(tmp_path):
    plan = made_up_experiment.write(tmp_path / "e", controls=(), leave_out=("yolo11n-ema-seed1",))
    run = plan.run("yolo11n-ema-seed1")
    run.folder.mkdir(exist_ok=True)
    write_json(run.error, {"format": 1, "error": None, "message": "RuntimeError: no memory (in full above)"})
    assert make(plan.folder)["failed"] == {run.name: "RuntimeError: no memory (in full above)"}


def test_a_variant_without_a_common_seed_has_figures_and_no_difference(tmp_path):
    plan = made_up_experiment.write(
        tmp_path / "e", seeds=(0, 1), controls=(), leave_out=("yolo11n-seed1", "yolo11n-gsop-seed0")
    )
    results = make(plan.folder)
    assert model(results, "yolo11n-gsop")["effect"] is None
    assert model(results, "yolo11n-gsop")["figures"]["AP"]["mean"] is not None
    assert "yolo11n-gsop: not compared, as no seed is finished by both" in " ".join(results["first"])


def test_without_a_baseline_there_is_no_difference(tmp_path):
    plan = made_up_experiment.write(tmp_path / "e", seeds=(0,), controls=(), leave_out=("yolo11n-seed0",))
    results = make(plan.folder)
    assert [item["effect"] for item in results["models"]] == [None, None]
    assert "No difference can be given yet" in (plan.folder / "report.html").read_text()


def test_nothing_finished_is_a_report_too(tmp_path):
    names = [f"yolo11n{kind}-seed0" for kind in ("", "-ema", "-gsop")]
    plan = made_up_experiment.write(tmp_path / "e", seeds=(0,), controls=(), leave_out=names)
    results = make(plan.folder, failed={names[0]: "no <memory>"})
    assert results["models"] == []
    assert not (plan.folder / "forest.svg").exists()
    assert "forest.svg" not in (plan.folder / "results.md").read_text()
    assert results["failed"] == {names[0]: "no <memory>"}
    assert "no &lt;memory&gt;" in (plan.folder / "report.html").read_text()


def test_one_seed_is_never_better(tmp_path):
    plan = made_up_experiment.write(
        tmp_path / "e", seeds=(0,), controls=(), skills={"yolo11n-ema": 1.0, "yolo11n": 0.2}
    )
    results = make(plan.folder)
    assert model(results, "yolo11n-ema")["effect"]["metrics"]["AP"]["seeds"]["mean"] > 10
    assert {item["effect"]["verdict"]["word"] for item in results["models"][1:]} == {"one seed"}
    assert results["first"][-1].startswith("One seed:")


def test_no_test_split_is_said_first_everywhere(tmp_path):
    data = {"file": "cells.yaml", "split": "val", "split_reason": "the data have no test split"}
    data |= {"images": 12, "boxes": 3, "class_names": ["cat"], "digest": "f"}
    plan = made_up_experiment.write(tmp_path / "e", seeds=(0, 1), controls=(), data=data["file"], record={"data": data})
    console = Console(file=io.StringIO(), width=80)
    results = report.make(plan.folder, console)
    line = "No test split: the figures are of the val split (the data have no test split), and the epochs were chosen"
    assert results["first"][0].startswith(line)
    assert " ".join(console.file.getvalue().split()).startswith(line)
    assert (plan.folder / "results.md").read_text().startswith("**No test split")
    page = (plan.folder / "report.html").read_text()
    assert page.index("No test split") < page.index('id="verdicts"')


def test_what_is_not_paired_is_said(tmp_path):
    plan = made_up_experiment.write(tmp_path / "e", controls=())
    write_json(
        plan.folder / "pairing.json",
        {"format": 1, "paired": False, "reason": "Ultralytics 8.3.0 does not seed its workers"},
    )
    results = make(plan.folder)
    assert "Not paired by seed: Ultralytics 8.3.0 does not seed its workers." in results["first"][0]
    assert model(results, "yolo11n-ema")["effect"]["verdict"] != {}
    assert "Welch" in model(results, "yolo11n-ema")["effect"]["verdict"]["text"]


def test_without_ground_truth_or_costs_the_rest_is_reported(tmp_path):
    plan = made_up_experiment.write(tmp_path / "e", controls=())
    (plan.folder / "ground_truth.json").unlink()
    (plan.folder / "cost.json").unlink()
    results = make(plan.folder)
    effect = model(results, "yolo11n-ema")["effect"]["metrics"]["AP"]
    assert effect["images"] is None
    assert effect["seeds"]["n"] == 3
    assert "Costs were not measured." in results["caption"]
    page = (plan.folder / "report.html").read_text()
    assert "no ground_truth.json" in page
    assert "Costs were not measured." in page


def test_the_caption_says_what_makes_runs_unlike(tmp_path):
    plan = made_up_experiment.write(tmp_path / "e", seeds=(0, 1), controls=())
    old = read_json(plan.runs[0].record)
    old |= {"sessions": 2, "versions": {**old["versions"], "torch": "2.14.0"}, "epochs": old["epochs"][:4]}
    write_json(plan.runs[0].record, {**old, "git": {"commit": "fedcba9", "dirty": True}})
    caption = " ".join(make(plan.folder)["caption"])
    assert "Interrupted and resumed: yolo11n-seed0;" in caption
    assert "the runs differ in versions (torch)" in caption
    assert "made at different commits" in caption
    assert "yolo11n seed 0 stopped after 4" in caption
    assert "differ in hardware" not in caption


def test_a_busy_machine_is_named(tmp_path):
    plan = made_up_experiment.write(tmp_path / "e", seeds=(0,), controls=())
    cost = read_json(plan.folder / "cost.json")
    assert "swings" not in " ".join(make(plan.folder)["caption"])
    cost["models"]["yolo11n-ema"]["latency_ms"] |= {"p10": 5.0, "p90": 500.0}
    write_json(plan.folder / "cost.json", cost)
    assert "the latency of yolo11n-ema swings by more than x2" in " ".join(make(plan.folder)["caption"])


def test_the_caption_names_the_weights_without_their_path(tmp_path):
    start = {"epochs": 6, "imgsz": 64, "pretrained": "/home/someone/yolo11n.pt"}
    plan = made_up_experiment.write(tmp_path / "e", seeds=(0,), controls=(), record={"arguments": start})
    caption = " ".join(make(plan.folder)["caption"])
    assert "started from yolo11n.pt," in caption
    assert "/home" not in caption


def spoil_another(plan):
    write_json(plan.runs[1].record, {**read_json(plan.runs[1].record), "experiment": "0a1b2c"})


def spoil_format(plan):
    write_json(plan.runs[1].record, {**read_json(plan.runs[1].record), "format": 3})


def spoil_json(plan):
    plan.runs[1].record.write_text('{"format": 1, "exper')


def spoil_stray(plan):
    write_json(plan.folder / "yolov8n-seed7" / "record.json", read_json(plan.runs[0].record))


def spoil_part(plan):
    write_json(plan.runs[1].record, {k: v for k, v in read_json(plan.runs[1].record).items() if k != "metrics"})


def spoil_truth(plan):
    (plan.folder / "ground_truth.json").write_text("[1, 2]")


def spoil_cost(plan):
    (plan.folder / "cost.json").write_bytes(b"\xff\xfe{")


def spoil_predictions(plan):
    record = read_json(plan.runs[1].record)
    record["predictions"]["score"].pop()
    write_json(plan.runs[1].record, record)


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (spoil_another, DataError, "yolo11n-ema-seed0.*belongs to experiment 0a1b2c"),
        (spoil_format, DataError, "yolo11n-ema-seed0.*format 3.*format 1.*delete it"),
        (spoil_json, DataError, "yolo11n-ema-seed0.*record.json cannot be read.*delete it"),
        (
            spoil_stray,
            DataError,
            "yolov8n-seed7.record.json belongs to no run of .*move yolov8n-seed7 elsewhere",
        ),
        (spoil_part, DataError, "yolo11n-ema-seed0.record.json .*`metrics`.*delete it"),
        (spoil_truth, DataError, "ground_truth.json .*`array`.*delete it"),
        (spoil_cost, DataError, "cost.json cannot be read.*delete it"),
        (spoil_predictions, DataError, "yolo11n-ema-seed0.record.json: predictions need the columns .* score 36"),
    ],
)
def test_what_does_not_belong_is_refused_and_nothing_is_overwritten(tmp_path, spoil, error, words):
    plan = made_up_experiment.write(tmp_path / "e", seeds=(0,), controls=())
    make(plan.folder)
    before = {name: (plan.folder / name).read_bytes() for name in report.FILES}
    spoil(plan)
    with pytest.raises(error, match=words) as caught:
        make(plan.folder)
    assert "\n" not in str(caught.value)
    assert {name: (plan.folder / name).read_bytes() for name in report.FILES} == before


def test_a_folder_without_an_experiment_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="no plan.json"):
        make(tmp_path)
    with pytest.raises(ArgumentError, match="no plan.json"):
        make(tmp_path / "nowhere")


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    plan = made_up_experiment.write(tmp_path / "e", seeds=(0,), controls=())

    def full(path, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("yolo_attn.report.writing.write_text", full)
    with pytest.raises(DiskFullError, match=r"no space"):
        make(plan.folder)
