"""Files are written whole or not at all."""

from __future__ import annotations

import errno

import pytest

from yolo_attn import atomic_files
from yolo_attn.errors import ArgumentError, DiskFullError

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (RuntimeError("half way"), RuntimeError),
        (OSError(errno.ENOSPC, "No space left on device"), DiskFullError),
        (OSError(errno.EACCES, "Permission denied"), ArgumentError),
    ],
)
def test_a_file_is_written_whole_or_not_at_all(tmp_path, fault, error):
    path = tmp_path / "new" / "a.txt"
    atomic_files.write_text(path, "one\r\n")

    def fail_half_way():
        with atomic_files.whole_file(path) as part:
            assert part.name == "a.txt"
            part.write_text("tw")
            raise fault

    with pytest.raises(error):
        fail_half_way()
    assert path.read_bytes() == b"one\r\n"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.txt"]


def test_a_note_that_cannot_be_written_is_ignored(tmp_path):
    atomic_files.write_note(tmp_path / "a.json", b"1")
    atomic_files.write_note(tmp_path / "a.json" / "b.json", b"2")  # its folder is a file
    assert (tmp_path / "a.json").read_bytes() == b"1"


@pytest.mark.parametrize(
    ("output", "values"),
    [("a.txt", r"'a.txt' .*\.yaml or \.yml"), ("no/a.yaml", "'no'"), ("b.yaml", "--force"), ("c.yml", "c.yml")],
)
def test_an_output_that_cannot_be_written_is_refused_before_any_work(tmp_path, monkeypatch, output, values):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b.yaml").touch()
    (tmp_path / "c.yml").mkdir()
    with pytest.raises(ArgumentError, match=values):
        atomic_files.check_output(output, (".yaml", ".yml"), force=False)
    assert atomic_files.check_output("b.yaml", (".yaml",), force=True).name == "b.yaml"
