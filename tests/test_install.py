"""The built package in real virtual environments, without a network."""

import re
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from hatchling import build
from support import ROOT, command, install, run, run_file

pytestmark = pytest.mark.slow
STARTUP = {"_yolo_attn_startup.py", "yolo_attn.pth", "yolo_attn.start"}


def silent(python, folder):
    done = run_file(["-c", "pass"], folder, python=python)
    return (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_wheel_contents(wheel, source):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(next(n for n in names if n.endswith(".dist-info/METADATA"))).decode()
        for name in STARTUP:
            assert archive.read(name) == (source / "yolo_attn/integration/patches/startup" / name).read_bytes()
    for kind in "model_yamls", "datasets":
        ours = {f"yolo_attn/{kind}/{f.name}" for f in (source / kind).glob("*.yaml")}
        assert ours
        assert ours <= names
    code = {f.relative_to(source).as_posix() for f in (source / "yolo_attn").rglob("*.py") if f.name not in STARTUP}
    assert code <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {"yolo_attn", *STARTUP}
    assert not [name for name in names if "test" in Path(name).name and not name.startswith("yolo_attn/testing/")]
    assert not [name for name in names if name.startswith("tests/")]
    assert "License-Expression: AGPL-3.0-only" in metadata


def test_source_distribution(tmp_path, monkeypatch):
    """It is small, has the documents, and a wheel can be built from it; its page on PyPI has no relative links."""
    monkeypatch.chdir(ROOT)
    file = tmp_path / build.build_sdist(str(tmp_path))
    assert file.stat().st_size < 1_000_000
    with tarfile.open(file) as archive:
        archive.extractall(tmp_path, **({"filter": "data"} if sys.version_info >= (3, 12) else {}))
    (folder,) = (f for f in tmp_path.iterdir() if f.is_dir())
    assert {"yolo_attn", "model_yamls", "datasets", "docs"} == {f.name for f in folder.iterdir() if f.is_dir()}
    for name in "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff", "SECURITY.md", "docs/README.md":
        assert (folder / name).read_bytes() == (ROOT / name).read_bytes()
    page = (folder / "PKG-INFO").read_text(encoding="utf-8").partition("\n\n")[2]
    assert len(page) > 5_000
    assert [link for link in re.findall(r"\]\(([^)]+)\)", page) if not link.startswith("https://")] == []
    monkeypatch.chdir(folder)
    with zipfile.ZipFile(tmp_path / build.build_wheel(str(tmp_path))) as archive:
        assert {"yolo_attn/py.typed", "yolo_attn/model_yamls/yolo11-ema.yaml", *STARTUP} <= set(archive.namelist())


def test_install_and_uninstall(wheel, source, environment, tmp_path):
    """A wheel, then an editable install whose folder is moved; uninstalling leaves nothing."""
    python, site = environment("venv")
    pip = python, "-m", "pip", "--disable-pip-version-check"
    assert silent(python, tmp_path)
    install(python, wheel)
    assert not STARTUP - {f.name for f in site.iterdir()}
    assert silent(python, tmp_path)
    out = run(
        """
        from ultralytics import YOLO
        import yolo_attn
        from yolo_attn.integration.queries import yaml_files
        print(yolo_attn.__file__)
        print(type(YOLO('yolo26n-pmfs.yaml').model.model[11]).__name__, yaml_files.find("digits.yaml") is not None)
        """,
        tmp_path,
        python=python,
    )
    assert out.splitlines() == [str(site / "yolo_attn" / "__init__.py"), "PMFS True"]
    command(*pip, "uninstall", "-q", "-y", "yolo-attn")
    assert not [f.name for f in site.iterdir() if "yolo_attn" in f.name]
    assert silent(python, tmp_path)

    folder = tmp_path / "checkout"
    shutil.copytree(source, folder)
    install(python, "-e", folder)
    assert not STARTUP - {f.name for f in site.iterdir()}
    assert silent(python, tmp_path)
    build = "from ultralytics import YOLO; import yolo_attn; print(yolo_attn.__file__, YOLO('yolo11n-ema.yaml').task)"
    assert run(build, tmp_path, python=python) == f"{folder / 'yolo_attn' / '__init__.py'} detect\n"
    folder.rename(tmp_path / "moved")
    assert silent(python, tmp_path)
    assert "No module named 'yolo_attn'" in run("import yolo_attn", tmp_path, python=python, fails=True)
    command(*pip, "uninstall", "-q", "-y", "yolo-attn")
    assert not STARTUP & {f.name for f in site.iterdir()}
    assert silent(python, tmp_path)
