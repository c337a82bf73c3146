"""The results of an experiment: the seeds that count, warnings, notes, and files that are refused."""

from __future__ import annotations

import io
import re
import statistics

import made_up_experiment
import msgspec
import pytest
from rich.console import Console
from support import read_json, write_json

from yolo_attn.errors import DataError, DiskFullError
from yolo_attn.experiment.results import MetricValues, Results
from yolo_attn.experiment.storage import read
from yolo_attn.metrics import compute_class_metrics, error_kinds
from yolo_attn.report import FILES, make_report, warnings_and_notes

pytestmark = pytest.mark.fast


def make(folder, **options):
    return make_report(folder, Console(file=io.StringIO(), width=80), **options)


def made(tmp_path, failed=None, **options):
    """Return the plan of a new experiment, by default without controls, and its results."""
    plan = made_up_experiment.write(tmp_path / "e", **{"controls": (), **options})
    return plan, make(plan.folder, failed=failed)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished experiment and its results."""
    return made(tmp_path_factory.mktemp("finished"), controls=("repeat", "identity"))


def records(plan, name):
    return [read_json(run.record) for run in plan.runs if run.model == name]


def model(results, name):
    return next(item for item in results.models if item.name == name)


def test_baseline_first_then_variants_then_controls(finished):
    _, results = finished
    assert [item.role for item in results.models] == ["baseline", "variant", "variant", "control", "control"]
    assert (results.warnings, results.missing, results.failed) == ((), (), {})


@pytest.mark.parametrize("metric", ["AP", "AP50", "AP_small"])
def test_metrics_and_differences_are_those_of_the_records(finished, metric):
    plan, results = finished
    base, other = ([r["metrics"]["coco"][metric] for r in records(plan, name)] for name in ("yolo11n", "yolo11n-ema"))
    found = model(results, "yolo11n-ema")
    assert found.metrics[metric].values == tuple(other)
    assert found.metrics[metric].mean == pytest.approx(statistics.fmean(other))
    assert found.metrics[metric].sd == pytest.approx(statistics.stdev(other))
    differences = [100 * (mine - its) for mine, its in zip(other, base, strict=True)]
    seeds = found.change(metric).seeds
    assert seeds.values == pytest.approx(differences)
    assert seeds.mean == pytest.approx(statistics.fmean(differences))
    assert seeds.low < seeds.mean < seeds.high
    assert model(results, "yolo11n").effect is None


def test_other_metrics_are_those_of_the_records_and_predictions(finished):
    plan, results = finished
    own = [record["metrics"]["ultralytics"]["mAP50"] for record in records(plan, "yolo11n")]
    assert model(results, "yolo11n").metrics["mAP50"].values == tuple(own)
    truth = read_json(plan.folder / "ground_truth.json")
    columns = [record["predictions"] for record in records(plan, "yolo11n-gsop")]
    found = model(results, "yolo11n-gsop")
    by_class = [compute_class_metrics(truth, item)["dog"]["AP"] for item in columns]
    assert found.metrics["AP[dog]"].values == pytest.approx(by_class)
    missed = statistics.fmean(error_kinds(truth, item).dap["missed"] for item in columns)
    assert found.errors.dap["missed"].mean == pytest.approx(missed)
    assert len(found.errors.dap["missed"].values) == len(columns)
    assert missed > 0


def test_controls(tmp_path, finished):
    """A repetition is another group of runs; an identical model has no difference; controls cost no evidence."""
    _, results = finished
    repeat = model(results, "yolo11n-repeat")
    assert (repeat.seeds, repeat.base_seeds) == ((1000, 1001, 1002), (0, 1, 2))
    assert repeat.change("AP").seeds.method == "Welch"
    assert model(results, "yolo11n-ema").change("AP").seeds.method == "t"
    identity = model(results, "yolo11n-identity").effect
    assert identity.metrics["AP"].seeds.mean == 0
    assert identity.verdict.word == "identical"
    _, alone = made(tmp_path)
    for name in ("yolo11n-ema", "yolo11n-gsop"):
        assert model(alone, name).effect.verdict == model(results, name).effect.verdict


@pytest.mark.parametrize(("ap", "text"), [(0.0, "AP is 0"), (None, "No AP")])
def test_a_warning_without_detections_or_objects(finished, ap, text):
    _, results = finished
    assert warnings_and_notes.warnings_for(results, []) == []
    metrics = {"AP": MetricValues((ap,), ap)}
    models = tuple(msgspec.structs.replace(item, metrics={**item.metrics, **metrics}) for item in results.models)
    (line,) = warnings_and_notes.warnings_for(msgspec.structs.replace(results, models=models), [])
    assert text in line


def test_costs_are_ratios_to_the_baseline(finished):
    _, results = finished
    ratios = model(results, "yolo11n-ema").cost_ratios
    assert (ratios.gflops, ratios.latency, ratios.throughput) == pytest.approx((1.1, 1.1, 1 / 1.1))
    assert (ratios.epoch_seconds, ratios.gpu_bytes) == (1.0, None)
    assert model(results, "yolo11n").cost_ratios is None


@pytest.mark.parametrize("busy", ["", "yolo11n-ema", "yolo11n"])
def test_time_per_epoch_is_that_of_the_fastest_run_if_its_epochs_are_steady(tmp_path, busy):
    plan = made_up_experiment.write(tmp_path / "e", controls=())
    for run in plan.runs:
        record = read_json(run.record)
        seconds = 11.0 + run.seed + ("-" in run.model)
        steps = [seconds] * 8 + [3 * seconds if run.model == busy and run.seed == plan.runs[0].seed else seconds] * 2
        times = [sum(steps[:k]) + 40 for k in range(11)]
        record |= {"epoch_seconds": seconds, "epochs": [{"epoch": k + 1.0, "time": t} for k, t in enumerate(times)]}
        write_json(run.record, record)
    results = make(plan.folder)
    assert [item.training.epoch_seconds for item in results.models] == [11.0, 12.0, 12.0]
    known = [item.cost_ratios.epoch_seconds for item in results.models[1:]]
    ratio = pytest.approx(12 / 11)
    assert known == {"": [ratio, ratio], "yolo11n-ema": [None, ratio], "yolo11n": [None, None]}[busy]
    warnings = [line for line in results.warnings if "factor of 2 in time" in line]
    assert len(warnings) == (busy != "")
    if busy:
        assert f"{busy} {11 + ('-' in busy)}.0 to " in warnings[0]
        assert warnings[0].endswith("any model." if busy == "yolo11n" else "these models.")


def test_one_estimate_of_latency_in_every_table_chart_and_file(tmp_path):
    """The model's own median says 10 % faster, its ratio round by round 8.9 % slower: the ratio counts everywhere."""
    plan = made_up_experiment.write(tmp_path / "e", controls=())
    cost = read_json(plan.folder / "cost.json")
    ema = cost["models"]["yolo11n-ema"]
    ema |= {"latency_ms": {"median": 9.0, "p10": 8.0, "p90": 20.0}}
    ema |= {"latency_ratio": {"median": 1.089, "p10": 1.05, "p90": 1.2}}
    write_json(plan.folder / "cost.json", cost)
    found = model(make(plan.folder), "yolo11n-ema")
    assert msgspec.structs.astuple(found.cost.latency_ms) == pytest.approx((10.89, 10.5, 12.0))
    assert "| 10.89 (10.50 to 12.00) |" in (plan.folder / "results.md").read_text()
    assert "+8.9% (+5.0% to +20.0%), +0.9 ms" in (plan.folder / "results.md").read_text()
    page = (plan.folder / "report.html").read_text()
    assert page.count("10.9 (10.5 to 12.0) ms") == 2  # wide and narrow
    assert "9.00" not in page
    (row,) = re.findall(r"n-ema.yaml,variant,,,latency_ms,3,([^,]*),", (plan.folder / "results.csv").read_text())
    assert float(row) == pytest.approx(10.89)


@pytest.mark.parametrize("what", ["latency", "throughput"])
@pytest.mark.parametrize(
    ("name", "ratio", "text"),
    [
        ("check", (2.1, 2.0, 2.2), "the baseline itself, measured ×2.1 against"),  # noqa: RUF001
        ("check", (0.85, 0.8, 0.9), "the baseline itself, measured -15.0% against"),
        ("yolo11n-repeat", (1.76, 1.7, 1.8), "yolo11n-repeat, measured +76.0% against"),
        ("yolo11n-ema", (1.1, 0.9, 1.9), "yolo11n-ema +10.0% (-10.0% to +90.0%)"),
        ("check", (1.0, 0.7, 1.5), "the baseline itself 0.0% (-30.0% to +50.0%)"),
    ],
)
def test_costs_of_a_busy_machine_are_not_given(tmp_path, what, name, ratio, text):
    plan = made_up_experiment.write(tmp_path / "e")
    cost = read_json(plan.folder / "cost.json")
    spread = dict(zip(("median", "p10", "p90"), ratio, strict=True))
    (cost if name == "check" else cost["models"][name])[f"{what}_{'check' if name == 'check' else 'ratio'}"] = spread
    write_json(plan.folder / "cost.json", cost)
    results = make(plan.folder)
    (warning,) = [line for line in results.warnings if "busy" in line]
    assert warning.startswith(f"Machine busy during the timing: no {what} is given.")
    assert text in warning
    costs = [item.cost for item in results.models]
    assert all((item.latency_ms is None) == (what == "latency") for item in costs)
    assert all((item.images_per_s is None) == (what == "throughput") for item in costs)
    assert all(item.parameters for item in costs)
    assert (plan.folder / "results.md").read_text().count("n/a") == len(costs)
    assert ("beaten by" in (plan.folder / "report.html").read_text()) == (what == "throughput")


@pytest.mark.parametrize(
    ("median", "p10", "p90", "match"),
    [
        (1e308, 1e308, 1e308, "median|p10"),
        (0.0, 0.0, 0.0, "> 0"),
        (-1.0, -2.0, -0.5, "> 0"),
        (1.0, 5.0, 0.1, "10th percentile 5.0, median 1.0, 90th percentile 0.1"),
    ],
)
@pytest.mark.parametrize("field", ["latency_ms", "latency_ratio", "images_per_s", "throughput_ratio"])
def test_costs_that_cannot_be_are_one_line(tmp_path, field, median, p10, p90, match):
    plan = made_up_experiment.write(tmp_path / "e", seeds=(0,), controls=())
    cost = read_json(plan.folder / "cost.json")
    cost["models"]["yolo11n-ema"][field] = {"median": median, "p10": p10, "p90": p90}
    write_json(plan.folder / "cost.json", cost)
    with pytest.raises(DataError, match=rf"cost\.json cannot be read: .*({match})"):
        make(plan.folder)


def test_results_json_is_what_is_returned_and_the_same_every_time(finished):
    plan, results = finished
    assert read(plan.folder / "results.json", Results) == results
    before = {name: (plan.folder / name).read_bytes() for name in FILES}
    assert all(before.values())
    assert make(plan.folder) == results
    assert {name: (plan.folder / name).read_bytes() for name in FILES} == before


def test_a_seed_counts_where_base_and_variant_are_finished(tmp_path):
    failed = {"yolo11n-gsop-seed3": "its process was ended by SIGKILL"}
    plan, results = made(tmp_path, failed, seeds=(3, 4, 5), leave_out=("yolo11n-seed4", *failed))
    seeds = {item.name: item.seeds for item in results.models}
    assert seeds == {"yolo11n": (3, 5), "yolo11n-ema": (3, 5), "yolo11n-gsop": (5,)}
    assert model(results, "yolo11n-gsop").change("AP").seeds.n == 1
    assert results.failed == failed
    text = " ".join(results.warnings)
    for part in ("7 of 9 runs", "Not finished: yolo11n-seed4.", "yolo11n-gsop-seed3: its process was ended by SIGKILL",
                 "yolo11n-ema: compared only at seeds 3, 5,", "yolo11n-gsop: compared only at seed 5,"):  # fmt: skip
        assert part in text
    ema = [r["metrics"]["coco"]["AP"] for r in records(plan, "yolo11n-ema") if r and r["seed"] != 4]
    assert model(results, "yolo11n-ema").metrics["AP"].values == tuple(ema)


def test_the_reason_kept_in_the_folder_is_shown(tmp_path):
    plan = made_up_experiment.write(tmp_path / "e", controls=(), leave_out=("yolo11n-ema-seed1",))
    run = plan.run("yolo11n-ema-seed1")
    run.folder.mkdir(exist_ok=True)
    write_json(run.error, {"format": 1, "error": None, "message": "RuntimeError: no memory"})
    assert make(plan.folder).failed == {run.name: f"RuntimeError: no memory (its output: {run.log})"}


def test_a_variant_without_a_common_seed_has_metrics_and_no_difference(tmp_path):
    _, results = made(tmp_path, seeds=(0, 1), leave_out=("yolo11n-seed1", "yolo11n-gsop-seed0"))
    assert model(results, "yolo11n-gsop").effect is None
    assert model(results, "yolo11n-gsop").metrics["AP"].mean is not None
    assert "yolo11n-gsop: not compared" in " ".join(results.warnings)


def test_without_a_baseline_there_is_no_difference(tmp_path):
    plan, results = made(tmp_path, seeds=(0,), leave_out=("yolo11n-seed0",))
    assert [item.effect for item in results.models] == [None, None]
    assert "no difference to report" in (plan.folder / "report.html").read_text()


def test_nothing_finished_is_a_report_too(tmp_path):
    names = [f"yolo11n{kind}-seed0" for kind in ("", "-ema", "-gsop")]
    plan, results = made(tmp_path, {names[0]: "no <memory>"}, seeds=(0,), leave_out=names)
    assert results.models == ()
    assert not (plan.folder / "forest.svg").exists()
    assert "forest.svg" not in (plan.folder / "results.md").read_text()
    assert results.failed == {names[0]: "no <memory>"}
    assert "no &lt;memory&gt;" in (plan.folder / "report.html").read_text()


def test_one_seed_is_never_better(tmp_path):
    _, results = made(tmp_path, seeds=(0,), skills={"yolo11n-ema": 1.0, "yolo11n": 0.2})
    assert model(results, "yolo11n-ema").change("AP").seeds.mean > 10
    assert {item.effect.verdict.word for item in results.models[1:]} == {"one seed"}
    assert results.warnings[-1].startswith("One seed:")


def test_no_test_split_comes_first_everywhere(tmp_path):
    data = {"file": "cells.yaml", "split": "val", "split_reason": "the data have no test split"}
    data |= {"images": 12, "boxes": 3, "class_names": ["cat"], "digest": "f"}
    plan = made_up_experiment.write(tmp_path / "e", seeds=(0, 1), controls=(), data=data["file"], record={"data": data})
    console = Console(file=io.StringIO(), width=80)
    line = make_report(plan.folder, console).warnings[0]
    assert "val split (the data have no test split)" in line
    printed = " ".join(console.file.getvalue().split())
    assert printed.partition("finished runs ")[2].startswith(line)  # below the title
    assert re.match(r"# .*\n\n.*finished runs\n\n\*\*No test split", (plan.folder / "results.md").read_text())
    page = (plan.folder / "report.html").read_text()
    assert page.index(line) < page.index('id="verdicts"')


def test_runs_that_are_not_paired(tmp_path):
    plan = made_up_experiment.write(tmp_path / "e", controls=())
    reason = "Ultralytics 8.3.0 does not seed its workers"
    write_json(plan.folder / "pairing.json", {"format": 1, "paired": False, "reason": reason})
    results = make(plan.folder)
    assert f"{reason}." in results.warnings[0]
    assert "Welch" in model(results, "yolo11n-ema").effect.verdict.text


def test_without_ground_truth_or_costs_the_rest_is_reported(tmp_path):
    plan = made_up_experiment.write(tmp_path / "e", controls=())
    (plan.folder / "ground_truth.json").unlink()
    (plan.folder / "cost.json").unlink()
    results = make(plan.folder)
    effect = model(results, "yolo11n-ema").change("AP")
    assert (effect.images, effect.seeds.n) == (None, 3)
    assert "Costs were not measured." in results.notes
    page = (plan.folder / "report.html").read_text()
    assert "no ground_truth.json" in page
    assert "Costs were not measured." in page


def test_notes_and_warnings_name_what_makes_runs_differ(tmp_path):
    plan = made_up_experiment.write(tmp_path / "e", seeds=(0, 1), controls=())
    old = read_json(plan.runs[0].record)
    old |= {"sessions": 2, "versions": {**old["versions"], "torch": "2.14.0"}, "epochs": old["epochs"][:4]}
    old["arguments"]["pretrained"] = "/home/someone/yolo11n.pt"
    write_json(plan.runs[0].record, {**old, "git": {"commit": "fedcba9", "dirty": True}})
    made = make(plan.folder)
    notes = " ".join([*made.notes, *made.warnings])
    for part in ("resumed, so with other random numbers than an unbroken run: yolo11n-seed0.", "versions (torch)",
                 "different commits", "yolo11n seed 0 stopped after 4", "starting from yolo11n.pt,"):  # fmt: skip
        assert part in notes
    assert "differ in hardware" not in notes
    assert "/home" not in notes


def edit(plan, change):
    record = read_json(plan.runs[1].record)
    change(record)
    write_json(plan.runs[1].record, record)


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda plan: edit(plan, lambda r: r.update(experiment="0a1b2c")), "ema-seed0.record.json .*0a1b2c"),
        (lambda plan: edit(plan, lambda r: r.update(format=3)), "ema-seed0.record.json .*format 3.*format 2"),
        (lambda plan: plan.runs[1].record.write_text('{"format": 1, "exper'), "ema-seed0.record.json "),
        (
            lambda plan: write_json(plan.folder / "yolov8n-seed7" / "record.json", read_json(plan.runs[0].record)),
            "yolov8n-seed7.record.json .*yolov8n-seed7",
        ),
        (lambda plan: edit(plan, lambda r: r.pop("metrics")), "ema-seed0.record.json .*metrics"),
        (lambda plan: (plan.folder / "ground_truth.json").write_text("[1, 2]"), "ground_truth.json "),
        (lambda plan: (plan.folder / "cost.json").write_bytes(b"\xff\xfe{"), "cost.json "),
        (lambda plan: edit(plan, lambda r: r["predictions"]["score"].pop()), "ema-seed0.record.json: .* score 36"),
    ],
    ids=["experiment", "format", "json", "stray", "part", "truth", "cost", "predictions"],
)
def test_a_file_that_does_not_fit_is_refused_and_nothing_is_overwritten(tmp_path, spoil, match):
    plan, _ = made(tmp_path, seeds=(0,))
    before = {name: (plan.folder / name).read_bytes() for name in FILES}
    spoil(plan)
    with pytest.raises(DataError, match=match) as caught:
        make(plan.folder)
    assert "\n" not in str(caught.value)
    assert {name: (plan.folder / name).read_bytes() for name in FILES} == before


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    plan = made_up_experiment.write(tmp_path / "e", seeds=(0,), controls=())

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("yolo_attn.atomic_files.os.fsync", full)
    with pytest.raises(DiskFullError, match=plan.folder.name):
        make(plan.folder)
