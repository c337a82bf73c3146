"""Locks of an experiment's folder and of its runs, so that two commands do not train the same run.

The system releases a lock when its process ends, whatever the reason.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from ..atomic_files import unwritable
from ..errors import UserError
from ..experiment.plan import LOCK, Plan, Run
from ..messages import counted, joined

PATIENCE = 5.0  # seconds that an ending process may still hold a run's folder
_LOCKED_BYTE = 1 << 30  # position of the byte that is locked on Windows


@contextlib.contextmanager
def one_command(plan: Plan) -> Iterator[None]:
    """Lock the experiment's folder, which may be a new one, against a second command.

    Raises:
        UserError: If another process holds it; says which, and which runs it performs.
    """
    file = plan.folder / LOCK

    def refusal(holder: str) -> UserError:
        return UserError(
            f"{plan.folder} is in use by another command ({holder}){_what_runs(plan.folder, file)}. Wait for it or end "
            f"it, then rerun this command; yolo-attn report {plan.folder} shows what is finished"
        )

    with _locked(file, refusal, 0.0):
        yield


@contextlib.contextmanager
def one_process(run: Run) -> Iterator[None]:
    """Lock the run's folder against another process that trains the same run, such as one that is just ending.

    Raises:
        UserError: If another process holds it for longer than :data:`PATIENCE`.
    """

    def refusal(holder: str) -> UserError:
        return UserError(f"{run.folder} is being trained by {holder}; wait for it or end it")

    with _locked(run.folder / LOCK, refusal, PATIENCE):
        yield


@contextlib.contextmanager
def _locked(path: Path, refusal: Callable[[str], UserError], patience: float) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise unwritable(path, error) from error
    with opened as file:
        end = time.monotonic() + patience
        while not _take(file):
            if time.monotonic() >= end:
                raise refusal(_holder(file))
            time.sleep(0.2)
        try:
            file.truncate(0)
            os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}\n".encode())  # no buffer
        except OSError as error:
            raise unwritable(path, error) from error
        yield


def _take(file: IO[str]) -> bool:
    """Lock a file and return True, or return False if another process has locked it."""
    try:
        _lock(file)
    except (BlockingIOError, PermissionError):  # PermissionError on Windows
        return False
    except OSError as error:  # some network file systems have no locks
        sys.stderr.write(f"warning: {file.name} cannot be locked ({error.strerror}); run no second command there\n")
    return True


def _lock(file: IO[str]) -> None:
    """Lock a file until it is closed, without waiting.

    Raises:
        OSError: If it is locked already or cannot be locked.
    """
    if sys.platform == "win32":
        import msvcrt

        # Windows forbids others to read locked bytes. One far behind the text leaves the holder's name readable.
        os.lseek(file.fileno(), _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _holder(file: IO[str]) -> str:
    file.seek(0)
    return file.read().strip() or "another process"


def _is_locked(path: Path) -> bool:
    try:
        with path.open("r+", encoding="utf-8") as file:
            return not _take(file)
    except OSError:
        return False


def _what_runs(folder: Path, lock: Path) -> str:
    """Return a clause about the runs that the holder of ``lock`` performs, and how many are finished."""
    try:
        runs = Plan.load(folder).runs
    except UserError:  # it has just begun
        return ""
    done = sum(run.record.exists() for run in runs)
    busy = [run.name for run in runs if _is_running(run, lock)]
    clause = f"; {joined(busy)} {'is' if len(busy) == 1 else 'are'} running there" if busy else ""
    return f"{clause}, {done} of {counted(len(runs), 'run')} finished"


def _is_running(run: Run, lock: Path) -> bool:
    if run.record.exists() or run.error.exists():
        return False
    if _is_locked(run.folder / LOCK):
        return True
    with contextlib.suppress(OSError):  # on a node of a cluster, which sends its progress
        return run.progress.stat().st_mtime >= lock.stat().st_mtime
    return False
