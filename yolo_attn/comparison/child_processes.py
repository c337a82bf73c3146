"""Start the child processes of an experiment, and read why they failed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

from .. import errors
from ..errors import UserError
from ..experiment.records import RunError
from ..experiment.storage import read, write

WORKER = "yolo_attn.comparison.worker"
_WINDOWS_ENDINGS = {  # exit statuses by which Windows says how it ended a process
    0xC000013A: "Ctrl-C",
    0xC0000005: "an access violation",
    0xC0000017: "Windows, because the memory ran out",
    0xC00000FD: "a stack overflow",
    0xC0000409: "a stack overrun",
}
INTERRUPTED = (130, -signal.SIGINT, 0xC000013A)
# Errors that concern every run; the others concern one model.
EVERY_RUN = (errors.DataError, errors.ArgumentError, errors.UnsupportedUltralyticsError, errors.DiskFullError)


def command(module: str, *arguments: str | Path) -> list[str]:
    """Return the command line of a child process."""
    return [sys.executable, "-m", module, *map(str, arguments)]


def start(
    module: str, folder: Path, run: str = "", log: IO[bytes] | None = None, extra: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a child that ends when this process does.

    Args:
        module: A module of this package with a ``main``.
        folder: The experiment's folder.
        run: The name of the run, if the child's work concerns one.
        log: The file for its output; this process's terminal by default.
        extra: Environment variables for it.
    """
    (folder / run / "error.json").unlink(missing_ok=True)  # of an earlier attempt
    output = subprocess.STDOUT if log else None
    given = command(module, folder, *filter(None, [run]))
    return subprocess.Popen(given, env=child_environment(extra), stdout=log, stderr=output)


def wait(process: subprocess.Popen[bytes], seconds: float | None = None) -> int | None:
    """Return the exit status of ``process``; None if it still runs after ``seconds``.

    Raises:
        KeyboardInterrupt: If the child or this process was interrupted, after the child has ended.
    """
    try:
        status = process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    except KeyboardInterrupt:
        end(process)
        raise
    if status in INTERRUPTED:
        raise KeyboardInterrupt
    return status


def end(process: subprocess.Popen[bytes]) -> None:
    """Wait ten seconds for ``process`` to end, as Ctrl-C has reached it too; then kill it."""
    try:
        process.wait(timeout=10)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        _kill(process)
        process.wait()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End ``process`` now. On Windows its own children too, such as the Python behind a virtual environment's launcher.

    Elsewhere the children watch the process that started them, and end after it.
    """
    if sys.platform == "win32":
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):  # without taskkill, this process alone
            subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True, timeout=10)
    process.kill()


def child_environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """Return the environment in which a child finds this copy of the package and knows its parent."""
    root = Path(__file__).resolve().parents[2]
    found = {**os.environ, **(extra or {}), "YOLO_ATTN_PARENT": str(os.getpid())}
    if root.name not in ("site-packages", "dist-packages"):
        found["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), found.get("PYTHONPATH")]))
    return found


def error_of(path: Path, status: int, log: Path | None = None) -> UserError:
    """Return the error that ended a child: of its own class if the input was invalid, else a ``UserError``.

    If the child was ended before it could keep a reason, how it ended is kept in its place. If that is impossible, too,
    this is the reason: the disk is full or read-only.

    Args:
        path: The child's ``error.json``.
        status: Its exit status.
        log: The file with its output, if not the terminal.
    """
    try:
        kept = read(path, RunError)
    except UserError:  # damaged
        kept = None
    if kept is None:
        kept = RunError(_ending(status))
        try:
            write(path, kept)
        except UserError as unwritable:
            return unwritable
    kind = getattr(errors, kept.error or "", UserError)
    return kind(kept.line(str(log or "above")))


def _ending(status: int) -> str:
    if ending := _WINDOWS_ENDINGS.get(status):
        return f"its process was ended by {ending}"
    if status >= 0:
        return f"its process ended with status {status} and no message"
    try:
        name = signal.Signals(-status).name
    except ValueError:  # most real-time signals have no name
        name = f"signal {-status}"
    return f"its process was ended by {name}{', perhaps because the memory ran out' if name == 'SIGKILL' else ''}"
