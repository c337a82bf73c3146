"""A run that fails has a reason, whatever ended it: the type of the exception or the signal, and the log file."""

from __future__ import annotations

import builtins
import signal
import sys

import pytest
from comparison import make

from yolo_attn import errors
from yolo_attn.comparison import child_processes, worker
from yolo_attn.experiment.folder_contents import collect
from yolo_attn.experiment.records import RunError
from yolo_attn.experiment.storage import write

pytestmark = pytest.mark.fast
NEED_MORE = {"ExceptionGroup": ("x", [ValueError()]), "BaseExceptionGroup": ("x", [ValueError()])}
NEED_MORE |= {"UnicodeDecodeError": ("x", b"", 0, 1, "y"), "UnicodeEncodeError": ("x", "", 0, 1, "y")}
NEED_MORE |= {"UnicodeTranslateError": ("x", 0, 1, "y")}
TYPES = [t for t in vars(builtins).values() if isinstance(t, type) and issubclass(t, BaseException)]
TYPES += [t for t in vars(errors).values() if isinstance(t, type) and issubclass(t, errors.UserError)]
TYPES = [t for t in TYPES if t is not KeyboardInterrupt]


@pytest.fixture
def run(tmp_path):
    plan = make(tmp_path / "c")
    plan.claim()
    plan.runs[0].folder.mkdir()
    return plan.runs[0]


def reason_of(run, error):
    def work():
        raise error

    try:
        status = worker.exit_status(work, run.folder)
    except BaseException:
        status = 1
    return status, str(child_processes.error_of(run.error, status, run.log))


@pytest.mark.parametrize("text", [None, "", "\n", "two\nlines"])
@pytest.mark.parametrize("kind", TYPES, ids=lambda t: t.__name__)
def test_every_type_of_exception(run, kind, text):
    error = kind(*NEED_MORE.get(kind.__name__, () if text is None else (text,)))
    status, reason = reason_of(run, error)
    assert "\n" not in reason
    if issubclass(kind, errors.UserError):
        assert (status, reason) == (2, "two lines" if text == "two\nlines" else kind.__name__)
    else:
        assert status == 1
        assert reason.startswith(type(error).__name__)
        assert str(run.log) in reason
        assert ("two" in reason) == (text == "two\nlines" and kind.__name__ not in NEED_MORE)
    (missing,) = [missing for missing in collect(run.folder.parent).missing if missing.run == run.name]
    assert missing.reason == reason  # in a report that is made later, too


def test_an_exception_in_a_process_of_the_data_loader(run):
    text = (
        "Caught KeyError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  x\nKeyError: 7"
    )
    _, reason = reason_of(run, KeyError(text.replace("\n", "\n")))
    assert "KeyError: 7" in reason


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signals")
@pytest.mark.parametrize("number", range(1, signal.NSIG))
def test_every_signal(run, number):
    names = {s.value: s.name for s in signal.Signals}
    reason = str(child_processes.error_of(run.error, -number, run.log))
    assert names.get(number, f"signal {number}") in reason
    assert ("memory" in reason) == (names.get(number) == "SIGKILL")
    assert str(run.log) in reason
    (missing,) = [missing for missing in collect(run.folder.parent).missing if missing.run == run.name]
    assert missing.reason == reason


@pytest.mark.parametrize("content", ["", "{", '{"format": 1, "message": ""}', '{"format": 9}'])
def test_a_reason_that_cannot_be_read(run, content):
    run.error.write_text(content)
    reason = str(child_processes.error_of(run.error, 7, run.log))
    assert str(run.log) in reason
    assert "status 7" in reason or "no reason" in reason


def test_a_reason_is_that_of_the_last_attempt(run, monkeypatch):
    write(run.error, RunError("ValueError: of an earlier attempt"))
    monkeypatch.setattr(child_processes, "command", lambda *_: [sys.executable, "-c", "import os; os.abort()"])
    status = child_processes.wait(child_processes.start("module", run.folder.parent, run.name))
    assert "SIGABRT" in str(child_processes.error_of(run.error, status, run.log))


def test_invalid_input_that_ultralytics_reports_without_a_sentence():
    code = "def check_class_names():\n    raise KeyError('x')\ndef check_cfg():\n    assert False"
    for module, function, parts in (
        ("ultralytics.nn.autobackend", "check_class_names", "KeyError: 'x' in ultralytics.nn.autobackend."),
        ("ultralytics.cfg", "check_cfg", "AssertionError in ultralytics.cfg.check_cfg"),
    ):
        scope = {"__name__": module}
        exec(code, scope)
        with pytest.raises((KeyError, AssertionError)) as caught:
            scope[function]()
        assert str(errors.user_error_in(caught.value)).startswith(parts)
