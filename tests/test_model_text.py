"""Rows inserted into the text of a model YAML: every reference is right, everything else stays."""

import re

import pytest
import shipped
import yaml

from yolo_attn.errors import LayerError
from yolo_attn.integration.queries.yaml_text import NewRow, insert, rows


def load(text):
    """Read YAML, with the fast parser where it is there."""
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def reads(content):
    """Each row's sources as absolute numbers, with the rest of the row."""
    table = content["backbone"] + content["head"]
    out = []
    for i, (f, *rest) in enumerate(table):
        numbers = f if isinstance(f, list) else [f]
        out.append(([x + i if x < 0 and i else x for x in numbers], isinstance(f, list), *rest))
    return out


def check(text, after, redirected, part):
    """Insert one identity and compare with the old rows."""
    result = insert(text, [NewRow(after, part, (after,), "nn.Identity")], dict.fromkeys(redirected, 0), "x.yaml")
    old, new = reads(load(text)), reads(load(result))
    assert new[after + 1] == ([after], False, 1, "nn.Identity", [])
    kept = new[: after + 1] + new[after + 2 :]
    for i, (sources, *rest) in enumerate(old):
        moved = [after + 1 if (i, x) in redirected else x + (x > after) for x in sources]
        assert kept[i] == (moved, *rest), f"layer {i} with a row after {after}"
    split = len(load(text)["backbone"])
    assert len(load(result)["backbone"]) == split + (part == "backbone")
    return result


@pytest.mark.parametrize("file", shipped.FILES, ids=lambda f: f.stem)
def test_every_position_of_every_shipped_model(file):
    text = file.read_text(encoding="utf-8")
    table = rows(text, file.name)
    readers = {r.index: [j.index for j in table if r.index in [x.layer for x in j.references]] for r in table}
    for after in range(len(table) - 1):
        everybody = {(j, after) for j in readers[after]}
        result = check(text, after, everybody, table[after].part)
        lines = result.splitlines()
        assert [line for line in lines if line.lstrip().startswith("#")] == [
            line for line in text.splitlines() if line.lstrip().startswith("#")
        ]
        assert len(lines) == len(text.splitlines()) + 1
    for after in list(range(len(table) - 1))[::4]:  # some readers only
        check(text, after, {(j, after) for j in readers[after][-1:]}, table[after].part)
        check(text, after, {(j, after) for j in readers[after][:1]}, table[after].part)
        check(text, after, set(), table[after].part)
    last = max(r.index for r in table if r.part == "backbone")
    check(text, last, {(j, last) for j in readers[last]}, "head")


@pytest.mark.parametrize("file", shipped.FILES, ids=lambda f: f.stem)
def test_index_comments_move(file):
    text = file.read_text(encoding="utf-8")
    result = check(text, 0, set(), "backbone")
    numbers = {}
    if not re.search(r"# *\d", text):
        pytest.skip("has no index comments")
    for row in rows(result, file.name):
        line_end = result.find("\n", row.end)
        comment = re.match(r"\s*#\s*(\d+)(?=[-\s(]|$)", result[row.end : line_end if line_end > 0 else None])
        if comment:
            numbers[row.index] = int(comment[1])
    assert numbers
    assert all(index == number for index, number in numbers.items())


BLOCK = """\
# kept
backbone:
  - [-1, 1, Conv, [16, 3, 2]] # 0-P1/2
  - [-1, 1, Conv, [32, 3, 2]]   # 1 and 4 heads
head:
  # [from, repeats, module, args]

  - [[-1, 0], 1, Two, ["a # 2"]] # cat 2
  - [[1, 2, -1], 1, Detect, [nc]]"""


@pytest.mark.fast
def test_only_what_moves_is_rewritten():
    new = insert(BLOCK, [NewRow(0, "backbone", (0,), "E", comment="E")], {(1, 0): 0}, "x")
    assert new == BLOCK.replace("# 0-P1/2\n", "# 0-P1/2\n  - [-1, 1, E, []] # 1 E\n").replace(
        "# 1 and 4", "# 2 and 4"
    ).replace("[1, 2, -1]", "[2, 3, -1]")


def test_a_reader_that_keeps_the_old_layer_no_longer_reads_the_row_before():
    new = insert(BLOCK, [NewRow(1, "head", (1,), "E", comment="E")], {(3, 1): 0}, "x")
    content = load(new)
    assert [r[0] for r in content["head"]] == [-1, [-2, 0], [2, 3, -1]]
    assert "  # [from, repeats, module, args]\n\n  - [-1, 1, E, []] # 2 E\n" in new


@pytest.mark.fast
def test_several_rows_and_a_list():
    new_rows = [
        NewRow(0, "backbone", (0,), "F"),
        NewRow(1, "backbone", (0, ("new", 0)), "L", as_list=True),
        NewRow(1, "head", (("new", 1),), "P", "[0]"),
    ]
    new = load(insert(BLOCK, new_rows, {(1, 0): 0, (2, 1): 2, (3, 1): 1}, "x"))
    assert new["backbone"][1:] == [[-1, 1, "F", []], [-1, 1, "Conv", [32, 3, 2]], [[0, 1], 1, "L", []]]
    assert new["head"][:2] == [[-1, 1, "P", [0]], [[-1, 0], 1, "Two", ["a # 2"]]]
    assert new["head"][2][0] == [3, 5, -1]


@pytest.mark.fast
def test_windows_line_ends_stay():
    text = BLOCK.replace("\n", "\r\n")
    new = insert(text, [NewRow(1, "backbone", (1,), "E")], {}, "x")
    assert new.count("\r\n") == new.count("\n") == text.count("\n") + 1
    assert "\r\r" not in new
    assert len(load(new)["backbone"]) == 3


BRACKETS = """\
backbone:
  [[-1, 1, Conv, [16, 3, 2]],  # 0
   [-1, 1, Conv, [32, 3, 2]]]  # 1
head: [[[-1, 0], 1, Two, []], [[1, 2], 1, Detect, [nc]]]
"""


@pytest.mark.fast
@pytest.mark.parametrize(("after", "part"), [(0, "backbone"), (1, "backbone"), (1, "head"), (2, "head")])
def test_lists_in_brackets(after, part):
    result = check(BRACKETS, after, {(after + 1, after)}, part)
    assert result.count("nn.Identity") == 1


@pytest.mark.fast
@pytest.mark.parametrize(
    ("text", "message"),
    {
        "no head": ("backbone: [[-1, 1, Conv, [3]]]\n", "m.yaml: .*'head'"),
        "no mapping": ("- 1\n", "m.yaml: .*'backbone'"),
        "broken": ("backbone: [\n", "m.yaml: not valid YAML: .*line 2"),
        "three parts": ("backbone:\n  - [-1, 1, Conv]\nhead: []\n", "m.yaml: line 2: "),
        "lines of their own": ("backbone:\n  - - -1\n    - 1\n    - Conv\n    - []\nhead: []\n", "line 2: "),
        "alias": ("backbone:\n  - &a [-1, 1, Conv, [8]]\n  - *a\nhead: []\n", "line 2: .*alias"),
        "no number": ("backbone:\n  - [-1, 1, Conv, [8]]\nhead:\n  - [x, 1, Conv, [8]]\n", "line 4: .*'x'"),
        "not there": ("backbone:\n  - [-1, 1, Conv, [8]]\nhead:\n  - [5, 1, Conv, [8]]\n", "line 4: layer 1 reads 5"),
    }.values(),
)
def test_text_that_cannot_be_edited(text, message):
    with pytest.raises(LayerError, match=message):
        rows(text, "m.yaml")
