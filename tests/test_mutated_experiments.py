"""An experiment's folder with damaged or forged files: ``report`` prints one line or a page, and no traceback."""

from __future__ import annotations

import copy
import json
import os
import random

import made_up_experiment
import pytest

from yolo_attn.cli import main

DELETED = object()
VALUES = (DELETED, None, -1, 0, 0.5, "x", "..", [], {}, [None], 1e308, 2**70, True, "\ud800")
SAMPLE = 60  # mutations of a file


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    plan = made_up_experiment.write(
        tmp_path_factory.mktemp("mutated") / "c", models=("yolo11n-ema.yaml",), seeds=(0, 1), controls=(),
        found=made_up_experiment.truth(images=3), pictures=True, epochs=2,
    )  # fmt: skip
    return plan.folder


def places(value, before=()):
    """Yield the path of every value; of a list, its first and its last element."""
    if before:
        yield before
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*before, key))
    elif isinstance(value, list):
        for index in {0, len(value) - 1} if value else ():
            yield from places(value[index], (*before, index))


def mutated(value, place, new):
    value = copy.deepcopy(value)
    inside = value
    for key in place[:-1]:
        inside = inside[key]
    if new is DELETED:
        del inside[place[-1]]
    else:
        inside[place[-1]] = new
    return json.dumps(value)


def report(folder, capfd):
    for made in ("report.html", "results.json"):
        (folder / made).unlink(missing_ok=True)
    status = main(["report", str(folder)])
    err = capfd.readouterr().err
    assert "Traceback" not in err
    assert status in (0, 2)
    if status:
        assert len(err.splitlines()) == 1
        assert not (folder / "report.html").exists()
    return err


FILES = ("plan.json", "ground_truth.json", "cost.json", "pairing.json", "yolo11n-seed0/record.json")


@pytest.mark.parametrize("name", FILES)
def test_any_value_may_be_wrong(name, experiment, capfd):
    file = experiment / name
    whole = file.read_text(encoding="utf-8")
    content = json.loads(whole)
    draw = random.Random(name)
    try:
        for _ in range(SAMPLE):
            place, new = draw.choice(list(places(content))), draw.choice(VALUES)
            file.write_text(mutated(content, place, new), encoding="utf-8")
            try:
                err = report(experiment, capfd)
            except AssertionError as error:
                raise AssertionError(f"{name}: {place} = {new!r}: {error}") from None
            assert not err or file.parent.name in err, (place, new, err)
    finally:
        file.write_text(whole, encoding="utf-8")


DAMAGED = {
    "empty": b"",
    "cut": b'{"format": 1, "a',
    "binary": b"\x80\x02\xff\x00",
    "UTF-16": '{"format": 1}'.encode("utf-16"),
    "deep": b"[" * 100_000,
    "a list": b"[1, 2]",
    "another format": b'{"format": 99}',
}


@pytest.mark.parametrize("what", [*DAMAGED, "folder", "pipe"])
@pytest.mark.parametrize("name", FILES)
def test_any_file_may_be_damaged(what, name, experiment, capfd):
    file = experiment / name
    whole = file.read_bytes()
    file.unlink()
    try:
        if what == "folder":
            file.mkdir()
        elif what == "pipe":
            os.mkfifo(file)
        else:
            file.write_bytes(DAMAGED[what])
        assert file.name in report(experiment, capfd)
    finally:
        file.rmdir() if what == "folder" else file.unlink()
        file.write_bytes(whole)
