"""Reading text and YAML that people wrote."""

import os
import sys

import pytest

from yolo_attn.errors import DataError, LayerError
from yolo_attn.text_files import decode, parse_yaml, read_text, read_yaml

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    "content", [b"a: \xc3\xa9\nb: 2\n", b"\xef\xbb\xbfa: \xc3\xa9\r\nb: 2\r\n", b"a: \xc3\xa9\rb: 2\r"]
)
def test_reads_utf8_with_any_line_ends(tmp_path, content):
    file = tmp_path / "x.yaml"
    file.write_bytes(content)
    assert read_text(file) == "a: é\nb: 2\n"
    assert read_yaml(file) == {"a": "é", "b": 2}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "gbk"])
def test_refuses_other_encodings(tmp_path, encoding):
    file = tmp_path / "x.yaml"
    file.write_bytes("nc: 1\nnames: [汽车]\n".encode(encoding))
    with pytest.raises(LayerError, match=r"x\.yaml.*UTF-8.*iconv"):
        read_text(file, LayerError)


def test_decode_keeps_line_ends():
    assert decode(b"\xef\xbb\xbfa\r\nb\r", "x") == "a\r\nb\r"


def test_names_the_line_of_bad_bytes():
    with pytest.raises(DataError, match=r"x\.yaml, line 3.*0xff"):
        decode(b"a\nb\nc\xff\n", "x.yaml")


def test_refuses_what_is_no_file(tmp_path):
    no = tmp_path / "no"
    for path, what in (
        (no, f"{no} does not exist"),
        (tmp_path, f"{tmp_path} is no regular"),
        ("a\0b", ".*(does not exist|be read)"),
    ):
        with pytest.raises(DataError, match=f"^{what}"):
            read_text(path)


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes in folders")
def test_does_not_wait_for_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="no regular file"):
        read_text(tmp_path / "pipe")


def bomb(levels):
    rows = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    rows += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, levels)]
    return "\n".join(rows)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (bomb(9), "1,000,000"),
        ("a: &a [*a]", "itself"),
        ("[" * 5000, "nested"),
        ("a: [1", "line 1"),
        ("a: 1\n b: 2\n", "line 2"),
        ("a: 2024-13-01", "month"),
        ("a: !!python/object/apply:os.system [x]", "line 1.*python"),
        ("a: 1\n---\nb: 2", "line 2"),
        ("a: 1\nb: 2\na: 3", "line 3: the key 'a' is there twice, first in line 1"),
        ("names:\n  0: cat\n  0: dog", "line 3: the key '0' is there twice, first in line 2"),
        ("a: [{b: 1, c: {d: 1, d: 2}}]", "line 1: the key 'd' is there twice"),
        ("nc\uff1a 80\nb: 2", "line 2: .* full-width character \uff1a; write : in line 1"),
    ],
)
def test_bad_yaml_is_one_line(text, what):
    with pytest.raises(DataError, match=rf"^x\.yaml.*{what}") as caught:
        parse_yaml(text, "x.yaml")
    assert "\n" not in str(caught.value)


def test_aliases_of_normal_size():
    assert parse_yaml("a: &a [1, 2]\nb: {c: *a}", "x") == {"a": [1, 2], "b": {"c": [1, 2]}}
    assert parse_yaml("", "x") is None
