"""The models that show what a difference is worth: made for every YAML of the project, and trained."""

from pathlib import Path

import hand_made
import pytest
import support
import yaml
from ultralytics import YOLO

import yolo_attn
from yolo_attn.comparison import controls, worker
from yolo_attn.errors import ArgumentError
from yolo_attn.experiment.plan import Plan
from yolo_attn.experiment.records import read_record
from yolo_attn.integration.queries import model_graph, model_sizes, yaml_text
from yolo_attn.model_yaml import capacity_control, identity_control

yolo_attn.install()
YAMLS = sorted(p.stem for p in (support.ROOT / "model_yamls").glob("*.yaml"))
ROWS = {  # where the variants have their rows
    "aac": [11], "afpn": [11, 12, 13], "ema": [17, 21, 25], "gc": [5, 8, 13], "gla": [11], "gsop": [11],
    "harm": [17, 21, 25], "pmfs": [11], "soft": [17, 21, 25],
}  # fmt: skip


def contracted(content):
    """The rows of a model, numbered and read as if the identities were not there."""
    through, found = {-1: -1}, []
    for k, (f, n, kind, args) in enumerate(rows_of(content)):
        reads = [x + k if x < 0 and k else x for x in (f if isinstance(f, list) else [f])]
        if kind == "nn.Identity":
            through[k] = through[reads[0]]
        else:
            through[k] = len(found)
            found.append(([through[r] for r in reads], n, kind, args))
    return found


def rows_of(content):
    return content["backbone"] + content["head"]


def identities(content):
    return [k for k, row in enumerate(rows_of(content)) if row[2] == "nn.Identity"]


def written(folder, control):
    """The control as the comparison writes it; its content as Ultralytics reads it."""
    file = folder / f"{control.name}.yaml"
    file.write_text(control.model_yaml, encoding="utf-8")
    return str(file), model_graph.load(file)


def identities_for(file):
    """yolo11n with identities where the model YAML ``file`` has additional layers."""
    base = model_graph.load("yolo11n.yaml")
    found = identity_control.with_identities(base, model_graph.load(file))
    assert contracted(found.content) == contracted(base)
    return found


@pytest.mark.parametrize("stem", YAMLS)
def test_identity_for_every_yaml_of_the_project(stem, tmp_path):
    family, what = stem.split("-")
    base, variant = f"{family}n.yaml", f"{family}n-{what}.yaml"
    (control,) = controls.make_controls(["identity"], base, [variant], {})
    assert (control.kind, control.name, control.variants) == ("identity", f"{family}n-{what}-identity", (variant,))
    _, content = written(tmp_path, control)
    assert content["scale"] == "n"
    assert identities(content) == [k - (family == "yolov8") for k in ROWS[what]]
    assert contracted(content) == contracted(model_graph.load(base))
    assert model_sizes.parameters(content) == model_sizes.parameters(model_graph.load(base))


def test_every_identity_is_read_where_the_variants_layer_is(tmp_path):
    (control,) = controls.make_controls(["identity"], "yolo11n.yaml", ["yolo11n-afpn.yaml"], {})
    rows = written(tmp_path, control)[1]["head"]
    assert rows[:3] == [[4, 1, "nn.Identity", []], [6, 1, "nn.Identity", []], [10, 1, "nn.Identity", []]]
    assert [row[0] for row in rows[4::3][:2]] == [[-1, 12], [-1, 11]]
    assert control.note == (
        "yolo11n with nn.Identity as rows 11, 12, 13, where yolo11n-afpn has PyramidLevel: must give the metrics of "
        "yolo11n"
    )
    assert control.model_yaml.startswith("# yolo11n-afpn-identity: yolo11n with nn.Identity as rows 11, 12, 13, where")


def test_variants_with_the_same_places_share_a_control():
    models = ["yolo11n-ema.yaml", "yolo11n-gla.yaml", "yolo11n-soft.yaml", "yolo11n-pmfs.yaml"]
    made = controls.make_controls(["identity:yolo11n-ema.yaml", "identity"], "yolo11n.yaml", models, {})
    assert [(c.name, c.variants) for c in made] == [
        ("yolo11n-ema-identity", ("yolo11n-ema.yaml", "yolo11n-soft.yaml")),
        # one row stands last in the backbone's list, one first in the head's: the same model
        ("yolo11n-gla-identity", ("yolo11n-gla.yaml", "yolo11n-pmfs.yaml")),
    ]
    assert made[0].note.endswith("; the same for yolo11n-soft")


def test_a_layer_of_the_base_that_the_variant_replaced_comes_back(tmp_path):
    model = hand_made.inserted(hand_made.shipped(), 10, [-1, 1, "GSoP", []], {22: [-1, 11]})
    model["backbone"][8] = [-1, 1, "Conv", [1024, 1, 1]]  # in place of a C3k2
    found = identities_for(hand_made.write(tmp_path, "yolo11n-mine.yaml", model))
    assert (found.names, found.rows) == (("GSoP",), (11,))
    assert found.content["head"][10][0] == [-1, 11]
    model = hand_made.inserted(hand_made.shipped(), 8, [-1, 1, "EMA", []])
    model["backbone"][8] = [-1, 1, "GSoP", []]  # where a C3k2 was, which reads and puts out the same map
    found = identities_for(hand_made.write(tmp_path, "yolo11n-more.yaml", model))  # a new layer right after it
    assert (found.names, found.rows) == (("EMA",), (9,))


def test_names_without_a_scales_letter(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, source in (("small.yaml", "yolo11"), ("mine.yaml", "yolo11-ema")):
        content = {k: v for k, v in model_graph.load(f"{source}.yaml").items() if k != "scale"}
        Path(name).write_text(yaml.safe_dump(content, sort_keys=False))
    (control,) = controls.make_controls(["identity"], "small.yaml", ["mine.yaml"], {})
    assert control.name == "mine-identity"
    assert model_graph.build(written(tmp_path, control)[1]).scale == "n"
    # 'small' has no letter, its variant has
    (control,) = controls.make_controls(["identity"], "small.yaml", ["yolo11n-ema.yaml"], {})
    assert control.name == "small-identity"
    # the variant is built at n, but its places count
    (control,) = controls.make_controls(["identity"], "yolo11s.yaml", ["mine.yaml"], {})
    assert control.name == "yolo11s-mine-identity"
    assert written(tmp_path, control)[1]["scale"] == "s"


def test_the_text_reads_back_as_the_content():
    content = model_graph.load("yolo26n.yaml")
    text = yaml_text.to_text(content, "word " * 60)
    assert yaml.safe_load(text) == {k: v for k, v in content.items() if k not in ("scale", "yaml_file")}
    assert max(map(len, text.splitlines())) <= 120
    assert text.count("# word word") == 3


@pytest.mark.parametrize(
    ("variant", "measure"),
    [("gla", "parameters"), ("gsop", "parameters"), pytest.param("pmfs", "gflops", marks=pytest.mark.slow)],
)
def test_capacity_is_within_one_per_cent_and_closer_than_any_width(variant, measure, tmp_path):
    base, model = model_graph.load("yolo11n.yaml"), f"yolo11n-{variant}.yaml"
    measured = getattr(model_sizes, measure)
    goal = measured(model_graph.load(model))
    (control,) = controls.make_controls([f"capacity:{measure}"], "yolo11n.yaml", [model], {"pretrained": True})
    file, content = written(tmp_path, control)
    off = abs(measured(content) - goal)
    assert off < min(abs(measured(base) - goal), 0.01 * goal)
    chosen = capacity_control.width_of(content)
    for other in capacity_control.candidates(base):
        if measure == "parameters" and chosen - 0.01 < other < chosen + 0.01:
            assert abs(measured(capacity_control.with_width(base, other)) - goal) >= off
    assert content["scales"] == {**base["scales"], "n": [0.5, chosen, 1024]}
    rows = [k for k, (new, old) in enumerate(zip(rows_of(content), rows_of(base), strict=True)) if new != old]
    assert f"at width {chosen:g} instead of 0.25" in control.note
    assert "rows " not in control.note or f"rows {', '.join(map(str, rows))}" in control.note
    if measure == "parameters":
        assert sum(p.numel() for p in YOLO(file).model.parameters()) == measured(content)
        assert f"{measured(content):,} parameters where yolo11n-{variant} has {goal:,} parameters" in control.note


def test_a_width_at_which_a_layer_cannot_run_is_passed_over():
    base = model_graph.load("yolo26n.yaml")  # C2PSA builds with 200 channels and cannot split them among its heads
    changed = capacity_control.with_width(base, 0.390625)
    with pytest.raises(Exception, match="layer 10"):
        model_graph.build(changed)
    assert 0.390625 in capacity_control.candidates(base)
    found = capacity_control.widened(base, model_sizes.parameters(changed))
    assert found.width != 0.390625
    model_graph.build(found.content)


def test_a_narrower_base_for_a_smaller_variant(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = hand_made.write(tmp_path, "yolo11n-small.yaml", {**hand_made.shipped(), "scales": {"n": [0.3, 0.2, 1024]}})
    (control,) = controls.make_controls(["capacity"], "yolo11n.yaml", [file], {})
    found = written(tmp_path, control)[1]
    assert capacity_control.width_of(found) < 0.25
    assert model_sizes.parameters(found) == pytest.approx(model_sizes.parameters(model_graph.load(file)), rel=0.01)


def test_a_base_that_has_the_size_already_gets_no_control(capsys):
    assert controls.make_controls(["capacity"], "yolo11n.yaml", ["yolo11n-ema.yaml"], {}) == []
    assert capsys.readouterr().err == (
        "control=capacity: none for yolo11n-ema: yolo11n itself is as large, 2,624,080 parameters where yolo11n-ema "
        "has 2,624,976 parameters, within 0.04 %\n"
    )


@pytest.mark.fast
def test_items():
    models = ["yolo11n-ema.yaml", "my/yolo11n-pmfs.yaml"]
    wanted = controls.Wanted
    assert controls.parse("identity", models) == wanted("identity", tuple(models))
    assert controls.parse("identity:yolo11n-pmfs", models) == wanted("identity", (models[1],))
    assert controls.parse("capacity:gflops", models) == wanted("capacity", tuple(models), "gflops")
    assert controls.parse("capacity:parameters", models) == wanted("capacity", tuple(models))
    assert controls.parse("capacity:gflops:my/yolo11n-pmfs.yaml", models) == wanted("capacity", (models[1],), "gflops")
    assert controls.parse("repeat", []) == wanted("repeat", ())


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ("identiy", "control=identiy: .*'identiy'.*'identity'"),
        ("identity:", "control=identity:MODEL"),
        ("identity:gflops", "'gflops' .* yolo11n-ema.yaml"),
        ("capacity:gflop", "'gflop' .*'gflops'"),
        ("identity:yolo11n-em.yaml", r"Did you mean 'yolo11n-ema.yaml'\?"),
        ("repeat:3", "control=repeat:3: .* control=repeat"),
    ],
)
@pytest.mark.fast
def test_items_that_cannot_be_read(item, text):
    with pytest.raises(ArgumentError, match=text):
        controls.make_controls(["repeat", item], "yolo11n.yaml", ["yolo11n-ema.yaml"], {})


@pytest.mark.parametrize(
    ("item", "base", "models", "values"),
    [
        ("capacity", "yolo11n.yaml", [], "control=capacity: .* models="),
        # a checkpoint has no rows
        ("identity", "yolo11n.pt", ["yolo11n-ema.yaml"], r"control=identity: yolo11n\.pt .* pretrained="),
        ("identity", "yolo11n.yaml", ["best.pt"], r"control=identity: best\.pt .* pretrained="),
        (
            "identity",
            "yolov3.yaml",
            ["yolov8n-gsop.yaml"],
            r"yolov8n-gsop\.yaml .* of the \d+ layers of yolov3",
        ),
    ],
)
def test_controls_that_cannot_be_made(item, base, models, values):
    with pytest.raises(ArgumentError, match=values):
        controls.make_controls([item], base, models, {})


@pytest.mark.parametrize("weights", ["yolo11n.pt", Path("w.pt")])
def test_a_wider_model_cannot_take_weights(weights):
    with pytest.raises(ArgumentError, match=rf"pretrained={weights} .*pretrained=False"):
        controls.make_controls(["repeat", "capacity"], "yolo11n.yaml", ["yolo11n-pmfs.yaml"], {"pretrained": weights})
    assert controls.make_controls(["repeat"], "yolo11n.yaml", [], {"pretrained": weights})[0].name == "yolo11n-repeat"


def test_a_variant_without_additional_layers():
    with pytest.raises(ArgumentError, match=r"yolo11n.yaml has no additional layer"):
        identities_for("yolo11n.yaml")


def test_no_width_comes_near():
    base = model_graph.load("yolo11n.yaml")
    with pytest.raises(ArgumentError, match=r"0.0625 to 1 .* 25% of 1e.09 param"):
        capacity_control.widened(base, 1e9)


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "pretrained"), [("afpn", False), ("ema", True)])
def test_an_identity_control_gives_the_metrics_of_the_base_to_the_last_digit(variant, pretrained, tmp_path):
    """In the process of a run: only there are pretrained weights aligned with stock models, whose layers move here."""
    arguments = {"epochs": 2, "imgsz": 64, "batch": 4, "workers": 0, "device": "cpu"}
    if pretrained:
        YOLO("yolo11n.yaml").save(tmp_path / "weights.pt")
        arguments["pretrained"] = str(tmp_path / "weights.pt")
    data, model = support.tiny_data(tmp_path / "data", images=8), f"yolo11n-{variant}.yaml"
    made = controls.make_controls(["identity"], "yolo11n.yaml", [model], arguments)
    plan = Plan.make(
        "yolo11n.yaml", [model], str(data), seeds=3, arguments=arguments, folder=tmp_path / "c", controls=made
    )
    plan.claim()
    assert plan.planned_models[-1].variants == (f"yolo11n-{variant}",)
    records = []
    for run in (run for run in plan.runs if run.role != "variant"):
        assert worker.main([str(plan.folder), run.name]) == 0
        records.append(read_record(run.record, plan.id))
    base, control = records
    assert (control.control, control.transfer is not None) == ("identity", pretrained)
    first, second = [{**row, "time": 0} for row in base.epochs]
    assert [{**row, "time": 0} for row in control.epochs] == [first, second]
    assert (control.metrics, control.predictions) == (base.metrics, base.predictions)
    assert first["train/box_loss"] != second["train/box_loss"]  # the numbers do differ between epochs
