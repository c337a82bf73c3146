"""README and docs: commands run, code runs, links and paths exist, what is generated is up to date."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from ultralytics import YOLO

import yolo_attn
from yolo_attn import docstrings, registry
from yolo_attn.cli import blocks, main
from yolo_attn.cli.main import call_of
from yolo_attn.integration.queries import layer_types, yolo_command

ROOT = Path(__file__).parents[1]
FOLDERS = ROOT, ROOT / "docs", ROOT / "datasets", ROOT / "model_yamls"
FILES = [file for folder in FOLDERS for file in sorted(folder.glob("*.md"))]
PAGES = {f.relative_to(ROOT).as_posix(): f.read_text(encoding="utf-8") for f in FILES}
README = PAGES["README.md"]
PLACEHOLDERS = {"COMMAND", "FOLDER", "MODEL", "NAME", "OUT", "SRC"}
every_page = pytest.mark.parametrize("page", PAGES)
fast = pytest.mark.fast


def code(page, language):
    """The code blocks of a page in one language, without their indentation."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", PAGES[page], re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", body, flags=re.MULTILINE) for indent, body in found]


def ours():
    known = sorted(layer_types.installed().items())
    return {name: spec for name, spec in known if spec.cls.__module__.startswith("yolo_attn.blocks.")}


def table_of_layers():
    lines = ["| layer | what it does | ready-made | paper |", "|---|---|---|---|"]
    for name, spec in ours().items():
        made = [stem for stem in blocks.ready_made(name) if stem.startswith("yolo11-")]
        cells = [f"[`{name}`](docs/layers.md#{name.lower()})", spec.summary]
        cells += [f"`{stem.replace('yolo11-', 'yolo11n-')}`" for stem in made] or [""]
        cells += [f"[{spec.paper.rpartition('/')[2]}]({spec.paper})"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


@fast
def test_the_readme_is_short_and_installs_first():
    lines = README.splitlines()
    assert len(lines) <= 200
    assert lines.index("pip install yolo-attn") < lines.index("pip install -e . && python train_detect.py") < 25
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    pattern = re.search(r"grep -m 1 -E '(.+)' README.md", ci)[1]
    assert [line for line in lines if re.search(pattern, line)] == ['pip install -e ".[test]" && pytest']
    assert f" {len(list(ROOT.glob('model_yamls/*.yaml')))} YAMLs are ready-made" in README


@fast
@every_page
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        file = (ROOT / page).parent / name if name else ROOT / page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}, target


@fast
@every_page
def test_paths_exist(page):
    for path in re.findall(r"`((?:yolo_attn|tests|docs|benchmarks|model_yamls|datasets)/[\w./*-]*)", PAGES[page]):
        assert list(ROOT.glob(path.rstrip("/"))), path


@fast
@every_page
def test_the_glossary_is_followed(page):
    text = re.sub(r"^\|.*\|$", "", PAGES[page], flags=re.MULTILINE) if page == "CONTRIBUTING.md" else PAGES[page]
    old = r"\bgolden\b|\bmend|\bslips?\b|\bfigures\b|\bbehind (?:layer|the)\b|\bgoes? on\b|\bwho reads|\bwhoever\b"
    assert re.findall(old, text, re.IGNORECASE) == []


@fast
def test_the_picture_of_the_parts():
    """It has every package, and its arrows are imports."""
    (text,) = code("CONTRIBUTING.md", "mermaid")
    package = ROOT / "yolo_attn"
    assert set(re.findall(r"(\w+)\[", text)) == {f.parent.name for f in package.glob("*/__init__.py")} | {"registry"}
    for source, target in re.findall(r"(\w+) --> (\w+)", text):
        files = (package / source).rglob("*.py")
        assert any(re.search(rf"from \.+{target}\b|from \.+ import .*\b{target}\b", f.read_text()) for f in files), (
            f"{source} does not import {target}"
        )


@fast
@pytest.mark.parametrize("package", [f.parent.name for f in sorted(ROOT.glob("yolo_attn/*/__init__.py"))])
def test_the_fast_tests_cover_every_package(package):
    texts = [file.read_text(encoding="utf-8") for file in ROOT.glob("tests/test_*.py") if file != Path(__file__)]
    assert any("mark.fast" in text and re.search(rf"yolo_attn(\.| import .*\b){package}\b", text) for text in texts)


@fast
def test_the_projects_facts_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == yolo_attn.__version__
    assert f'license = "{citation["license"]}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@every_page
def test_the_arguments_of_every_command_are_known(page, monkeypatch):
    """In code blocks, and in sentences where the command is complete."""
    monkeypatch.chdir(ROOT)
    text = PAGES[page].replace("\\\n", "")
    found = re.findall(r"^(?:yolo|yolo-attn) .*$|(?<=`)(?:yolo|yolo-attn)\s[^`]+\s[^`]+(?=`)", text, re.MULTILINE)
    for command in (shlex.split(line)[1:] for line in found):
        if command[0] != "settings" and not PLACEHOLDERS.intersection(re.findall(r"\w+", " ".join(command))):
            assert call_of(command), command


@pytest.mark.parametrize("page", ["README.md", "docs/models.md"])
def test_the_commands_on_model_yamls_run(page, tmp_path, monkeypatch):
    """One after the other in an empty folder, as a reader does; then the models that other commands name are there."""
    monkeypatch.chdir(tmp_path)
    lines = re.findall(r"^yolo-attn (?:place|check|diagram) .*\.(?:yaml|svg)$", PAGES[page], re.MULTILINE)
    assert {shlex.split(line)[1] for line in lines} == {"place", "check", "diagram"}
    for line in lines:
        assert main(shlex.split(line)[1:]) == 0, line
    assert next(tmp_path.glob("*.svg")).stat().st_size > 10_000
    for model in re.findall(r"(?:model=|--models? |--base )([\w.-]+\.yaml)", PAGES[page]):
        yolo_command.check_model(model)


def test_the_diagram_is_of_the_model_as_it_is(tmp_path):
    assert main(["diagram", "yolo11n-ema.yaml", "-o", str(tmp_path / "now.svg")]) == 0
    ids = [
        re.findall(r'id="((?:layer|edge)-[\w-]+)"', file.read_text(encoding="utf-8"))
        for file in (tmp_path / "now.svg", ROOT / "docs" / "yolo11n-ema.svg")
    ]
    assert ids[0] == ids[1]
    assert {"layer-17", "edge-16-17", "edge-17-26"} <= set(ids[0])


@pytest.mark.parametrize("page", ["README.md", "docs/models.md", "docs/own_blocks.md"])
def test_the_python_code_runs(page, tmp_path, monkeypatch, own_layers):
    monkeypatch.chdir(tmp_path)
    yolo_attn.install()
    blocks = code(page, "python")
    assert blocks
    for text in blocks:
        exec(text, {"__name__": "a_page"})


def test_the_yaml_rows_build(tmp_path):
    rows = yaml.safe_load(code("README.md", "yaml")[0])
    base = yaml.safe_load((ROOT / "model_yamls" / "yolo11-ema.yaml").read_text(encoding="utf-8"))
    head = [*rows, [[4, 6, len(base["backbone"]) + 2], 1, "Detect", ["nc"]]]
    content = {"nc": 2, "scales": base["scales"], "backbone": base["backbone"], "head": head}
    (tmp_path / "yolo11-readme.yaml").write_text(yaml.safe_dump(content))
    yolo_attn.install()
    model = YOLO(str(tmp_path / "yolo11n-readme.yaml")).model
    assert [type(m).__name__ for m in model.model if layer_types.spec_of(type(m))] == ["EMA", "GSoP", "PMFS"]


def test_a_block_of_the_readers_own_runs_in_a_model(tmp_path, monkeypatch, own_layers):
    monkeypatch.chdir(tmp_path)
    exec(code("docs/own_blocks.md", "python")[0], {"__name__": "a_page"})
    assert registry.BLOCKS["ChannelGate"].paper == ""
    assert main(shlex.split(code("docs/own_blocks.md", "bash")[0])[1:]) == 0
    (row,) = yaml.safe_load(code("docs/own_blocks.md", "yaml")[0])
    assert row[2:] in [r[2:] for r in yaml.safe_load(Path("yolo11-gate.yaml").read_text(encoding="utf-8"))["head"]]


@fast
def test_the_readmes_table_of_layers_is_generated():
    assert f"\n\n{table_of_layers()}\n" in README, table_of_layers()


@fast
def test_the_page_of_the_layers_is_generated(capsys):
    assert main(["blocks", "--markdown"]) == 0
    assert capsys.readouterr().out == PAGES["docs/layers.md"], "yolo-attn blocks --markdown > docs/layers.md"


@fast
def test_every_option_has_a_meaning_on_its_page():
    for name, spec in ours().items():
        meaning = docstrings.arguments(spec.cls)
        for option in blocks.options(spec):
            assert len(meaning[option]) > 15, f"{name}: {option}"
