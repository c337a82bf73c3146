"""The page: parsed, checked for what it must and must not contain, and opened in a headless Chromium."""

from __future__ import annotations

import base64
import html.parser
import io
import itertools
import json
import os
import re
import shutil
import subprocess
import urllib.parse
import xml.etree.ElementTree as ET
from dataclasses import replace

import made_up_experiment
import msgspec
import numpy as np
import pytest
from loop_oracles.tide import overlap
from PIL import Image
from rich.console import Console
from support import read_json, write_json

from yolo_attn.experiment import folder_contents
from yolo_attn.experiment.costs import Spread
from yolo_attn.report import make_report
from yolo_attn.report.charts.pareto_plot import Point, beaten_by, pareto_points
from yolo_attn.report.charts.svg import Scale, scale, shortened
from yolo_attn.report.image_comparison import compare_images, judge_boxes
from yolo_attn.report.image_panels import thumbnail

SCRIPT = "<script>document.title='run'</script>"
NAMES = (SCRIPT, "a|b", "\"'><img src=x onerror=\"document.title='run'\">", "&amp;", "\x00 odd", "cat")
MODELS = ("yolo11n-ema.yaml", "yolo11n-<b>bold.yaml")
VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(html.parser.HTMLParser):
    """Collects tags, ids, texts, references and tables."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.ids, self.refs, self.texts, self.open = [], [], [], [], []
        self.tables = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        if "id" in attrs:
            self.ids.append(attrs["id"])
        self.refs += [attrs[name] for name in ("href", "src", "xlink:href", "srcset", "data") if name in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("th", "td"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if self.open and self.open[-1] in ("th", "td"):
            self.tables[-1][-1][-1] += data

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def report(plan):
    results = make_report(plan.folder, Console(file=io.StringIO()))
    return plan, results, (plan.folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """An experiment with pictures, and with names that look like markup."""
    return report(made_up_experiment.write(
        tmp_path_factory.mktemp("page") / "e", models=MODELS, names=NAMES, data="<i>cells.yaml", pictures=True,
        skills={"yolo11n-ema": 0.95},
    ))  # fmt: skip


@pytest.fixture(scope="module")
def parsed(hostile):
    page = Page(hostile[2])
    assert page.open == []
    return page


def test_nothing_is_fetched_and_nothing_runs(hostile, parsed):
    assert all(ref.startswith(("#", "data:")) for ref in parsed.refs)
    assert not {tag for tag, _ in parsed.tags} & {"script", "iframe", "object", "embed", "form", "base", "img", "i"}
    assert not [name for _, attrs in parsed.tags for name in attrs if name.startswith("on")]
    policy = next(attrs for attrs in parsed.all("meta") if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"].startswith("default-src 'none';")
    style = re.search(r"<style>(.*?)</style>", hostile[2], re.S)[1]
    assert len(style) > 5000
    assert not re.search(r"url\(|@import|http|[&]", style)


def test_names_are_shown(parsed):
    text = " ".join("".join(parsed.texts).split())
    for name in (SCRIPT, "a|b", "<img src=x", "&amp;", "yolo11n-<b>bold", "<i>cells", "\ufffd odd"):
        assert name in text


def test_ids_are_unique_and_referred_to(parsed):
    assert len(parsed.ids) == len(set(parsed.ids))
    wanted = {ref[1:] for ref in parsed.refs if ref.startswith("#")}
    wanted |= {name for _, attrs in parsed.tags for name in (attrs.get("aria-labelledby") or "").split()}
    assert set() < wanted <= set(parsed.ids)


def test_screen_readers_have_what_they_need(parsed):
    assert parsed.all("html")[0]["lang"] == "en"
    charts = [attrs for attrs in parsed.all("svg") if attrs["class"] == "chart"]
    assert len(charts) > 10
    assert all(attrs["role"] == "img" and attrs["aria-labelledby"] for attrs in charts)
    assert {attrs.get("scope") for attrs in parsed.all("th")} == {"col", "row"}
    assert len(parsed.all("caption")) == len(parsed.all("table"))
    assert [attrs for attrs in parsed.all("meta") if attrs.get("name") == "viewport"]


def test_verdicts_come_first(parsed):
    sections = [
        "verdicts",
        "result",
        "differences",
        "cost",
        "training",
        "classes",
        "errors",
        "plots",
        "images",
        "models",
        "made",
        "reading",
        "tables",
    ]
    assert [name for name in parsed.ids if name in sections] == sections


def test_every_table_is_rectangular_and_numbers_are_those_of_the_results(hostile, parsed):
    _, results, _ = hostile
    for table in parsed.tables:
        assert len({len(row) for row in table}) == 1
    accuracy = parsed.tables[0]
    ap = results.models[1].metrics["AP"]
    assert accuracy[2][:3] == ["yolo11n-ema", "3", f"{100 * ap.mean:.1f} ± {100 * ap.sd:.1f}"]
    shown = {row[0] for table in parsed.tables for row in table}
    assert {"torch", "digest", "imgsz", "cpu", "missed", "AP small", "a|b"} <= shown


def test_twelve_images_at_most_each_with_three_pictures(hostile, parsed):
    pictures = [attrs for attrs in parsed.all("svg") if attrs["class"] == "picture"]
    sources = [ref for ref in parsed.refs if ref.startswith("data:image/jpeg")]
    assert 1 <= len(sources) <= 12
    assert len(pictures) == 3 * len(sources)
    assert len(hostile[2]) < 3e6


def test_each_picture_is_a_small_jpeg_of_the_right_image(hostile, parsed):
    plan, _, text = hostile
    name = re.search(r"<h4>1\. (\d+\.png)</h4>", text)[1]
    source = next(ref for ref in parsed.refs if ref.startswith("data:image/jpeg"))
    shown = Image.open(io.BytesIO(base64.b64decode(source.split(",")[1])))
    with Image.open(plan.folder / "images" / name) as image:
        expected = image.getpixel((5, 5))
    assert shown.size == (320, 320)
    assert all(abs(a - b) < 6 for a, b in zip(shown.getpixel((5, 5)), expected, strict=True))


def test_errors_by_image_are_those_of_a_loop_over_seeds_at_the_best_f1(hostile):
    plan, _, text = hostile
    experiment = folder_contents.collect(plan.folder)
    truth, seeds = read_json(plan.folder / "ground_truth.json"), plan.planned_models[0].seeds
    found = compare_images(experiment, hostile[1])

    def count(title, seed, image, score):
        """Return the number of right boxes, wrong boxes and objects."""
        columns = read(title, seed)
        rows = zip(*(columns[key] for key in ("image_id", "category_id", "score", "bbox")), strict=True)
        rows = sorted((row for row in rows if row[0] == image and row[2] >= score), key=lambda row: -row[2])
        left = [entry for entry in truth["annotations"] if entry["image_id"] == image]
        objects = len(left)
        for _, category, _, box in rows:
            fits = [o for o in left if o["category_id"] == category and overlap(o["bbox"], box) >= 0.5]
            if fits:
                left.remove(max(fits, key=lambda o: overlap(o["bbox"], box)))
        right = objects - len(left)
        return right, len(rows) - right, objects

    def read(title, seed):
        return experiment.records[title][seed].predictions

    def totals(title, score):
        each = [count(title, seed, image["id"], score) for seed in seeds for image in truth["images"]]
        return [sum(column) for column in zip(*each, strict=True)]

    changes = {}
    for errors in found.errors:
        title = errors.model.name
        right, wrong, objects = totals(title, errors.threshold)
        assert errors.f1 == pytest.approx(2 * right / (right + wrong + objects))
        for score in np.linspace(0.02, 0.98, 25):
            right, wrong, objects = totals(title, score)
            assert errors.f1 >= 2 * right / (right + wrong + objects) - 1e-12
        for index, image in enumerate(truth["images"]):
            for number, seed in enumerate(seeds):
                right, wrong, objects = count(title, seed, image["id"], errors.threshold)
                assert errors.counts[number, index] == wrong + objects - right
        means = (errors.counts - found.errors[0].counts).mean(axis=0)
        changes[title] = dict(zip((image["file_name"] for image in truth["images"]), means.tolist(), strict=True))
    largest = {name: max(abs(each[name]) for each in changes.values()) for name in changes["yolo11n"]}
    assert [abs(item.change) for item in found.largest] == sorted((v for v in largest.values() if v), reverse=True)[:6]
    for item in (*found.largest, *found.random):
        name = item.image["file_name"]
        assert item.change == pytest.approx(changes[item.variant][name])
        assert item.other.errors - item.base.errors == item.changes[item.seeds.index(item.shown)]
        assert f". {name}</h4>" in text
    drawn = [item.image["file_name"] for item in found.random]
    assert len(drawn) == len(set(drawn)) == 6
    assert {item.variant for item in found.random} == changes.keys() - {"yolo11n"}
    assert [item.image["file_name"] for item in compare_images(experiment, hostile[1]).random] == drawn


def test_plots_of_the_runs_are_linked_if_they_are_there(tmp_path):
    plan = made_up_experiment.write(tmp_path / "e", models=["yolo11n-ä #1.yaml"], seeds=(0, 1), controls=())
    text = report(plan)[2]
    assert "<code>plots=True</code>" in text
    first, second, third, fourth = (run.folder for run in plan.runs)
    for folder, names in (
        (first, ["BoxPR_curve.png", "confusion_matrix.png", "confusion_matrix_normalized.png", "other.png"]),
        (second, ["PR_curve.png"]),  # early versions of Ultralytics
    ):
        for name in names:
            (folder / name).write_bytes(b"")
    (third / "confusion_matrix.png").symlink_to("/etc/passwd")
    (fourth / "confusion_matrix.png").mkdir()
    page = Page(report(plan)[2])
    links = [ref for ref in page.refs if not ref.startswith(("#", "data:"))]
    assert len(links) == 4
    assert all((plan.folder / urllib.parse.unquote(link)).is_file() for link in links)
    assert {urllib.parse.unquote(link).split("/")[0] for link in links} == {first.name, second.name}
    assert "<code>" not in report(plan)[2]


def test_absent_images_are_named(tmp_path):
    _, _, text = report(made_up_experiment.write(tmp_path / "e", seeds=(0,), controls=()))
    assert "because images has no such image of that size" in text
    assert str(tmp_path) not in text
    assert "001.png" in text or "002.png" in text
    assert "data:image/jpeg" not in text
    assert 'id="errors"' in text


def test_files_that_are_no_pictures(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not an image")
    Image.new("I;16", (20, 10)).save(tmp_path / "deep.png")
    Image.new("RGBA", (2000, 900)).save(tmp_path / "wide.png")
    assert [thumbnail(tmp_path / name, (9, 9)) for name in ("broken.jpg", "absent.jpg", ".")] == [None] * 3
    assert thumbnail(tmp_path / "deep.png", (20, 10)).startswith("data:image/jpeg;base64,")
    assert thumbnail(tmp_path / "deep.png", (20, 11)) is None
    wide = Image.open(io.BytesIO(base64.b64decode(thumbnail(tmp_path / "wide.png", (2000, 900)).split(",")[1])))
    assert max(wide.size) == 420


@pytest.mark.parametrize("what", ["root", "above", "home", "outside", "link", "pipe", "other size"])
def test_a_page_shows_no_other_picture_of_this_machine(what, tmp_path, monkeypatch):
    """A stranger's experiment names folder and file of each picture."""
    monkeypatch.setattr("pathlib.Path.home", lambda: tmp_path / "home" / "me")
    secret = tmp_path / "home" / "me" / "secret.png"
    secret.parent.mkdir(parents=True)
    side = 99 if what == "other size" else made_up_experiment.SIDE
    Image.new("RGB", (side, side)).save(secret)
    plan = made_up_experiment.write(tmp_path / "e", seeds=(0,), controls=())
    truth = read_json(plan.folder / "ground_truth.json")
    folder = {
        "root": "/", "above": "../..", "home": str(tmp_path / "home"), "other size": str(secret.parent)
    }.get(what, "images")  # fmt: skip
    truth["info"]["image_folder"] = folder
    (plan.folder / "images").mkdir()
    for image in truth["images"]:
        name = image["file_name"]
        if what == "link":
            (plan.folder / "images" / name).symlink_to(secret)
        elif what == "pipe":
            os.mkfifo(plan.folder / "images" / name)
        else:
            image["file_name"] = os.path.relpath(secret, (plan.folder / folder).resolve())
    if what in ("outside",):  # names are unique
        truth["images"][1:] = [{**image, "file_name": f"x{image['id']}.png"} for image in truth["images"][1:]]
    write_json(plan.folder / "ground_truth.json", truth)
    _, _, text = report(plan)
    assert "data:image/jpeg" not in text
    assert "Not shown" in text or "has no such image" in text


def test_boxes_are_right_wrong_or_missed():
    def box(category, x, **rest):
        return {"category_id": category, "bbox": [x, 0.0, 10.0, 10.0], **rest}

    objects = [box(0, 0), box(0, 20), box(1, 40), box(1, 100, iscrowd=1)]
    predictions = [
        box(0, 1, score=0.5),  # right
        box(0, 0, score=0.4),  # the object is assigned to a better one
        box(1, 20, score=0.9),  # the wrong class
        box(1, 101, score=0.9),  # in a crowd: neither
    ]
    found = judge_boxes(objects, predictions, {0: "a", 1: "b"})
    assert (found.right, found.wrong, found.missed) == (1, 2, 2)
    states = [(item.name, item.score, item.state) for item in found.boxes]
    assert states == [("b", 0.9, "wrong"), ("a", 0.5, "right"), ("a", 0.4, "wrong"), ("a", None, "missed"),
                      ("b", None, "missed")]  # fmt: skip
    assert judge_boxes([], [], {}).errors == 0
    assert judge_boxes([], predictions, {}).wrong == 4
    assert judge_boxes(objects, [], {}).missed == 3


def test_a_model_is_beaten_only_if_no_range_overlaps(hostile):
    results = hostile[1]
    places = {"a": (1, 30), "b": (2, 40), "c": (2.2, 35), "d": (2.2, 37.9), "e": (3, 36), "f": (3, 10)}
    points = {
        name: Point(
            msgspec.structs.replace(results.models[0], name=name), Spread(x, x - 0.1, x + 0.15), (y,), y, y - 1, y + 1
        )
        for name, (x, y) in places.items()
    }
    found = {name: "".join(beaten_by(point, list(points.values()))) for name, point in points.items()}
    assert found == {"a": "", "b": "", "c": "", "d": "", "e": "b", "f": "abcd"}
    alone = replace(points["f"], high=None)  # below three seeds nothing is clear
    assert beaten_by(alone, list(points.values())) == []
    assert [point.model for point in pareto_points(results.models, "AP")] == list(results.models)
    assert pareto_points(results.models, "AR7") == []


@pytest.mark.parametrize("most", [4, 5, 6, 8])
@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (-3.2, 7.9), (52.1, 52.4), (1e-5, 3e-5), (0, 4000), (-4.9, 4.9), (5.5, 14.5)]
)
def test_ticks_are_round_and_inside(low, high, most):
    ticks = Scale(low, high, 0, 100).ticks(most)
    assert 2 <= len(ticks) <= max(most, 5)
    assert all(low - 1e-9 <= value <= high + 1e-9 for value in ticks)
    steps = {round((b - a) / (high - low), 9) for a, b in itertools.pairwise(ticks)}
    assert len(steps) == 1


def test_scales_show_every_value_even_a_single_one():
    found = scale([5.0], 0.0, 100.0)
    assert found(5.0) == pytest.approx(50.0)
    found = scale([-1.0, 3.0], 100.0, 0.0)
    assert 0 < found(3.0) < found(-1.0) < 100


def test_long_names_lose_their_middle():
    text = "yolo11n-ema-in-the-neck-at-P3-and-P4"
    assert shortened(text, 1000) == text
    assert shortened(text, 120).startswith("yolo")
    assert shortened(text, 120).endswith("P4")
    assert len(shortened(text, 120)) <= 120 / (0.56 * 13)


def test_the_forest_stands_alone(hostile):
    plan, results, _ = hostile
    root = ET.parse(plan.folder / "forest.svg").getroot()
    space = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{space}svg"
    assert root.find(f"{space}style") is not None
    text = " ".join(root.itertext())
    assert all(model.name in text for model in results.models[1:])
    squares = [item for item in root.iter(f"{space}polygon") if "variant" in item.get("class")]
    assert len(squares) == 2 * 2  # two variants, AP and AP50


def test_many_variants_and_classes_stay_readable(tmp_path):
    truth = made_up_experiment.truth(20, [f"class {i}" for i in range(24)])
    plan = made_up_experiment.write(
        tmp_path / "e", models=[f"variant-{i}.yaml" for i in range(10)], seeds=(0,), controls=(), found=truth
    )
    _, _, text = report(plan)
    assert len(text) < 2e6
    drawn = re.findall(r'<svg[^>]*aria-labelledby="changes-0-title.*?</svg>', text, re.S)[0]
    assert len(set(re.findall(r">(class \d+)<", drawn))) == 10
    known = [c for c in truth["categories"] if any(a["category_id"] == c["id"] for a in truth["annotations"])]
    assert f"Of {len(known)} classes, the 10" in text
    table = next(table for table in Page(text).tables if table[1][0] == "class 0")
    assert len(table[0]) == 12


def test_a_long_training_and_a_missing_column(tmp_path):
    plan = made_up_experiment.write(tmp_path / "e", seeds=(0, 1), controls=(), epochs=300)
    run = plan.runs[0]
    record = read_json(run.record)
    for line in record["epochs"][:2]:
        line["metrics/mAP50-95(B)"] = None
    write_json(run.record, record)
    curves = next(table for table in Page(report(plan)[2]).tables if table[0][0] == "epoch")
    assert len(curves) == 301
    assert curves[1][1] == "–"  # noqa: RUF001 - one seed has no value there
    assert curves[3][1] != "–"  # noqa: RUF001


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH; on Debian: apt-get install chromium")


def browse(folder, *words, width=1200):
    """Run a headless Chromium and return its output."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--allow-file-access-from-files"]
    options += [f"--window-size={width},900", f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=3000"]
    done = subprocess.run([CHROMIUM, *options, *words], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


# Opens the page in a frame as wide as a phone, and says what it finds there.
LOOK = """<!DOCTYPE html><iframe src="%s" style="width:%dpx;height:800px;border:0"></iframe><script>
onload = () => {
  document.querySelector("iframe").contentDocument.querySelectorAll("details").forEach(item => item.open = true);
  setTimeout(look, 500);  // an animation begins with the next frame
}
const look = () => {
  const page = document.querySelector("iframe").contentDocument, root = page.documentElement, view = page.defaultView;
  const visible = name => [...page.querySelectorAll(name)].filter(item => item.getBoundingClientRect().width > 0);
  const beyond = [...page.querySelectorAll("body *")].filter(item => !item.closest(".scroll") && !item.closest("svg")
    && item.getBoundingClientRect().right > root.clientWidth + 1);
  const sizes = visible(".chart text").map(item => item.getBoundingClientRect().height);
  document.title = JSON.stringify({title: page.title, width: root.scrollWidth, beyond: beyond.length,
    charts: visible(".chart").length, wide: visible(".wide").length, narrow: visible(".narrow").length,
    images: visible(".picture image").length, text: Math.min(...sizes),
    ground: view.getComputedStyle(page.body).backgroundColor, color: view.getComputedStyle(page.body).color,
    cues: visible(".scroll").map(item => [
      item.scrollWidth > item.clientWidth, view.getComputedStyle(item.querySelector(".cue")).visibility == "visible",
      item.getAttribute("aria-label")]),
    panels: view.getComputedStyle(page.querySelector(".panels")).gridTemplateColumns.split(" ").length});
}
</script>"""


def address(hostile):
    return (hostile[0].folder / "report.html").as_uri()


def look(hostile, tmp_path, *words, width):
    frame = tmp_path / "frame.html"
    frame.write_text(LOOK % (address(hostile), width))
    dom = browse(tmp_path, *words, "--dump-dom", frame.as_uri(), width=max(width + 20, 600))
    return json.loads(html.unescape(re.search(r"<title>(.*?)</title>", dom)[1]))


@chromium
@pytest.mark.parametrize(("width", "wide", "panels"), [(390, False, 1), (1200, True, 3)])
def test_browser_at_a_width(hostile, tmp_path, width, wide, panels):
    found = look(hostile, tmp_path, width=width)
    assert found["title"].startswith("yolo11n-ema and yolo11n-<b>bold against yolo11n on <i>cells")
    assert found["width"] == width
    assert found["beyond"] == 0
    assert (found["wide"] > 0, found["narrow"] > 0) == (wide, not wide)
    assert found["charts"] > 8
    assert found["images"] > 3
    assert found["panels"] == panels
    assert found["text"] >= 9  # px, the lowest line of text in a chart
    assert [table for table in found["cues"] if table[0] != table[1]] == []  # the cue is there exactly if it scrolls
    assert any(table[0] for table in found["cues"]) or wide
    assert not all(table[0] for table in found["cues"])


@chromium
def test_browser_shows_the_table_of_a_link(hostile, tmp_path):
    frame = tmp_path / "frame.html"
    for anchor, wanted in (("table-effects", ["Differences to the baseline, in points"]), ("tables", [])):
        frame.write_text(
            f"<!DOCTYPE html><iframe src='{address(hostile)}#{anchor}' style='width:900px;height:800px'></iframe>"
            """<script>onload = () => setTimeout(() => { const page = document.querySelector("iframe").contentDocument;
            document.title = JSON.stringify([...page.querySelectorAll("details .scroll")]
            .filter(item => item.checkVisibility({contentVisibilityAuto: true}) && item.clientHeight > 0)
            .map(item => item.getAttribute("aria-label"))) }, 500)</script>"""
        )
        dom = browse(tmp_path, "--dump-dom", frame.as_uri())
        assert json.loads(html.unescape(re.search(r"<title>(.*?)</title>", dom)[1])) == wanted


@chromium
def test_browser_in_light_and_dark(hostile, tmp_path):
    light = look(hostile, tmp_path, "--blink-settings=preferredColorScheme=1", width=800)
    dark = look(hostile, tmp_path, "--blink-settings=preferredColorScheme=0", width=800)
    assert brightness(light["ground"]) > 200 > 60 > brightness(light["color"])
    assert brightness(dark["ground"]) < 60 < 200 < brightness(dark["color"])


def brightness(color):
    return sum(map(int, re.findall(r"\d+", color)[:3])) / 3


@chromium
def test_browser_runs_nothing_prints_and_draws(hostile, tmp_path):
    dom = browse(tmp_path, "--dump-dom", address(hostile))
    assert "<title>yolo11n-ema and yolo11n-" in dom
    assert SCRIPT not in dom
    browse(tmp_path, f"--print-to-pdf={tmp_path / 'page.pdf'}", address(hostile))
    pages = re.findall(rb"/Type\s*/Page\b", (tmp_path / "page.pdf").read_bytes())
    assert 4 <= len(pages) <= 9
    browse(tmp_path, f"--screenshot={tmp_path / 'page.png'}", address(hostile))
    with Image.open(tmp_path / "page.png") as image:
        assert image.size[0] == 1200
        assert len(image.convert("RGB").getcolors(2**24)) > 20
