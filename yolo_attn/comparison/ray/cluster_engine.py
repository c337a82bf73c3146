"""The grid as Ray tasks: several runs at once on this machine, or on a cluster.

Each run is the same child process as without Ray, so that records and report are the same. What happens on a node is
in :mod:`yolo_attn.comparison.ray.node_run`; how many CPUs and GPUs a run gets in :mod:`yolo_attn.comparison.ray.resources`.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import secrets
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...atomic_files import write_bytes, write_text
from ...errors import ArgumentError, UserError
from ...experiment import ground_truth_file
from ...experiment.plan import Plan, Run
from ...experiment.records import read_record
from ...experiment.storage import decode
from .. import child_processes, tracker_names
from ..engines import Watch, read_progress
from . import node_run, resources
from .node_run import Outcome, Parcel

WORKER = "yolo_attn.comparison.worker"  # the child's module
ATTEMPTS = 3  # times that a run is begun whose worker or node is lost
POLL = 0.5  # seconds between two looks at the tasks
SURVEY = 120.0  # seconds that a node may take to say whether it can perform runs
PATIENCE = 60.0  # seconds without a node that could perform a run, before giving up
LATE = 10.0  # seconds that a file on a network file system may come later than the word that it is there
LOST = {
    "WorkerCrashedError": "its worker process was lost",
    "NodeDiedError": "its node was lost",
    "LocalRayletDiedError": "its node was lost",
    "OutOfMemoryError": "Ray ended it, as its node had no memory left",
}


class RayEngine:
    """Performs the runs as Ray tasks, as many at once as there is room for.

    A run whose worker or node is lost is begun again elsewhere, :data:`ATTEMPTS` times at most; a run that fails by
    itself is not. On Ctrl-C the runs are ended; a Ray of this machine that was started here ends too, a cluster that
    was there stays.

    This package has to be installed on every node, in the same version, see :mod:`yolo_attn.comparison.ray.node_run`.
    Ultralytics takes no more loader workers than a node has cores, and the augmentation depends on their number: on
    nodes with different counts of cores give ``workers=`` no more than the smallest has.

    Args:
        gpus_per_run: GPUs of a run, above 0 up to 1; with 0.5 two runs share a GPU. By default 1 where there are GPUs
            and none where there are not or ``device=cpu`` is trained on.
        cpus_per_run: CPUs of a run, and the threads it computes with. By default a GPU's runs share the CPUs of their
            node, and runs without a GPU get at least four, more if there are fewer runs.
        address: A cluster: ``auto``, ``host:port`` or ``ray://host:port``. By default that of ``RAY_ADDRESS``, else
            Ray is started on this machine.

    Raises:
        ArgumentError: If ``ray`` is not installed or a number cannot be used.
    """

    def __init__(
        self,
        gpus_per_run: str | float | None = None,
        cpus_per_run: str | float | None = None,
        address: str | None = None,
    ) -> None:
        self.gpus = resources.read_gpus(gpus_per_run)
        self.cpus = resources.read_cpus(cpus_per_run)
        self.address = address
        load_ray()

    def perform(self, plan: Plan, runs: Sequence[Run], watch: Watch) -> None:
        """Perform ``runs``; see :class:`yolo_attn.comparison.engines.Engine`.

        Raises:
            ArgumentError: If the recipe names GPUs, there is no cluster at the address, no node can ever take a run, or a
                node lacks something.
            UserError: If no node is left, or the reason of a failure concerns every run.
        """
        resources.check_device(plan.arguments.get("device"), self.gpus)
        with connected(self.address) as ray, _token(plan.folder) as token:
            nodes = resources.nodes(ray)
            cpus, gpus = resources.share(nodes, len(runs), plan.arguments.get("device"), self.cpus, self.gpus)
            parcel = Parcel.pack(plan, WORKER, token)
            grid = _Grid(ray, plan, watch, parcel, cpus, gpus)
            try:
                grid.survey()
                grid.perform(runs)
            finally:
                grid.cancel()


def load_ray() -> Any:
    """Return the module ``ray``.

    Raises:
        ArgumentError: If it is not installed.
    """
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise ArgumentError('engine=ray needs the package ray; pip install "yolo-attn[ray]"') from None


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Connect to the cluster, or start Ray on this machine, and undo it at the end.

    A connection that this process has already is used and left.

    Raises:
        ArgumentError: If there is no cluster at ``address``.
    """
    ray = load_ray()
    if ray.is_initialized():
        yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    words: dict[str, Any] = {"address": address, "log_to_driver": False, "configure_logging": False}
    if address == "local":
        words["include_dashboard"] = False
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # a task without a GPU leaves the variables as they are; without it Ray warns that it will do so
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        _check_listens(address)
        ray.init(**words)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        if address == "local":
            raise UserError(f"engine=ray: Ray does not start on this machine: {_first_line(error)}") from error
        raise ArgumentError(
            f"engine=ray: no Ray cluster can be used at address={address} ({_first_line(error)}); start one with "
            "`ray start --head`, or leave address= out to use this machine"
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()


class Board:
    """Where the tasks leave notes for the head; a Ray actor."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, int, dict[str, Any]]] = []

    def tell(self, name: str, attempt: int, note: dict[str, Any]) -> None:
        """Leave a note about an attempt of a run."""
        self.notes.append((name, attempt, note))

    def take(self) -> list[tuple[str, int, dict[str, Any]]]:
        """Return the notes since the last call, in order."""
        notes, self.notes = self.notes, []
        return notes


def task(parcel: Parcel, name: str, attempt: int, extra: dict[str, str], gpus: float, board: Any) -> Outcome:
    """Perform one run; the Ray task."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "") if gpus else ""
    return node_run.perform(
        parcel, name, extra, lambda note: board.tell.remote(name, attempt, note), gpus=visible, poll=POLL
    )


class _Grid:
    """The runs of one call, as tasks."""

    def __init__(self, ray: Any, plan: Plan, watch: Watch, parcel: Parcel, cpus: float, gpus: float) -> None:
        strategies = importlib.import_module("ray.util.scheduling_strategies")
        self.ray, self.plan, self.watch, self.cpus, self.gpus = ray, plan, watch, cpus, gpus
        self.affinity = strategies.NodeAffinitySchedulingStrategy
        here = self.affinity(ray.get_runtime_context().get_node_id(), soft=True)
        self.board = ray.remote(num_cpus=0)(Board).options(scheduling_strategy=here).remote()
        self.parcel = ray.put(parcel)
        self.task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0, scheduling_strategy="SPREAD")(task)
        self.runs: dict[str, Run] = {}
        self.attempts: dict[str, int] = {}
        self.tasks: dict[Any, Run] = {}
        self.notes: Any = None  # the board's next answer
        self.asked: list[Any] = []  # tasks that ask nodes
        self.begun: dict[str, int] = {}  # the attempts of runs that the watch knows of
        self.places: dict[str, dict[str, Any]] = {}  # the last note of the runs that have begun
        self.room = time.monotonic()  # when there was last a node that could take a run

    def survey(self) -> None:
        """Ask every node that could take a run whether it can perform it.

        Raises:
            ArgumentError: What the first one lacks.
        """
        ask = self.ray.remote(num_cpus=0, max_retries=0)(node_run.survey)
        for node in resources.nodes(self.ray):
            if node.fits(self.cpus, self.gpus):
                there = self.affinity(node.id, soft=False)
                self.asked.append(ask.options(scheduling_strategy=there).remote(self.parcel))
        for answer in self.asked:
            try:
                self.ray.get(answer, timeout=SURVEY)
            except self.ray.exceptions.RayTaskError as error:
                raise self._told(error) from None
            except self.ray.exceptions.RayError:  # lost by now; its runs are performed elsewhere
                continue
        self.asked.clear()

    def perform(self, runs: Sequence[Run]) -> None:
        """Perform ``runs``, the first one ahead: it makes the label caches and downloads that the others read."""
        self.runs = {run.name: run for run in runs}
        queue = deque(runs)
        ahead = queue.popleft()
        self.submit(ahead)
        while self.tasks or queue:
            self.notes = self.notes or self.board.take.remote()
            done, _ = self.ray.wait(list(self.tasks), timeout=POLL)
            self.hear()
            for reference in done:
                self.settle(reference, self.tasks.pop(reference))
            for name in self.places:
                self.watch.progressed(self.runs[name], read_progress(self.plan, self.runs[name]))
            if queue and (ahead not in self.tasks.values() or self.is_training(ahead)):
                while queue:
                    self.submit(queue.popleft())
            self.check_room()

    def submit(self, run: Run) -> None:
        """Hand ``run`` to Ray."""
        attempt = self.attempts[run.name] = self.attempts.get(run.name, 0) + 1
        threads = str(max(1, int(self.cpus)))
        extra = {"OMP_NUM_THREADS": threads, "YOLO_ATTN_THREADS": threads}
        extra |= tracker_names.environment(self.plan.folder.name, run, self.plan.id)
        self.tasks[self.task.remote(self.parcel, run.name, attempt, extra, self.gpus, self.board)] = run

    def is_training(self, run: Run) -> bool:
        return run.name in self.places and read_progress(self.plan, run).phase != "starting"

    def hear(self) -> None:
        """Take the notes: tell the watch which runs have begun, and put down how far those elsewhere are."""
        if self.notes is None or not self.ray.wait([self.notes], timeout=0)[0]:
            return
        try:
            notes = self.ray.get(self.notes)
        except self.ray.exceptions.RayError:  # without the board the runs go on unseen
            notes = []
        self.notes = None
        for name, attempt, note in notes:
            run = self.runs[name]
            if attempt != self.attempts[name] or run not in self.tasks.values():
                continue
            if name not in self.places and not note["shared"]:
                run.progress.unlink(missing_ok=True)
            self.begin(run, note["host"], note["gpus"])
            self.places[name] = note
            for file in node_run.MIRRORED:
                # the rows of a half-trained run in this folder belong to its checkpoint
                if file in note and not (file != run.progress.name and (run.folder / "weights").exists()):
                    write_text(run.folder / file, note[file])

    def begin(self, run: Run, host: str, gpus: str = "") -> None:
        """Tell the watch that ``run`` has begun, and where: the node if there are several, and the GPU."""
        if self.begun.get(run.name) == self.attempts[run.name]:
            return
        self.begun[run.name] = self.attempts[run.name]
        gpu = f"GPU {gpus}" if gpus else ""
        host = host if len(resources.nodes(self.ray)) > 1 else ""
        self.watch.started(run, f"{host} ({gpu})" if host and gpu else host or gpu)

    def settle(self, reference: Any, run: Run) -> None:
        """Take what a task that has ended left."""
        self.places.pop(run.name, None)
        try:
            outcome = self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            told = self._told(error)
            if child_processes.concerns_every_run(told):
                raise told from None
            self.watch.failed(run, str(told))
            return
        except self.ray.exceptions.RayError as error:
            self.lost(run, LOST.get(type(error).__name__, _first_line(error)))
            return
        self.begin(run, outcome.host)  # the note of a short run may come after it
        if outcome.files is not None:
            self.receive(run, outcome)
        if outcome.status == 0 and self.has_record(run):
            self.watch.finished(run)
            return
        mistake = child_processes.error_of(run.error, outcome.status, run.log)
        if child_processes.concerns_every_run(mistake):
            raise type(mistake)(f"on {outcome.host}: {mistake}")
        self.watch.failed(run, str(mistake))

    def lost(self, run: Run, reason: str) -> None:
        """Begin ``run`` again, unless it was lost too often."""
        if self.has_record(run, wait=False):  # lost after its last act
            self.watch.finished(run)
        elif self.attempts[run.name] < ATTEMPTS:
            self.submit(run)
        else:
            self.watch.failed(run, f"{reason}; it was begun {ATTEMPTS} times")

    def receive(self, run: Run, outcome: Outcome) -> None:
        """Put what a run left elsewhere into its folder here, the record last.

        Raises:
            DataError: If it was validated on other boxes than the other runs.
        """
        files = dict(outcome.files or {})
        record = files.pop(run.record.name, None)
        for name, content in files.items():
            write_bytes(run.folder / name, content)
        if record is None:
            return
        for name in ("last.pt", "previous.pt", "best_copy.pt"):  # of a training begun here
            if f"weights/{name}" not in files:
                (run.folder / "weights" / name).unlink(missing_ok=True)
        if outcome.truth is not None:
            ground_truth_file.keep(
                self.plan,
                run.name,
                decode(outcome.truth, ground_truth_file.GroundTruth, Path(outcome.host)),
                outcome.host,
            )
        write_bytes(run.record, record)

    def has_record(self, run: Run, *, wait: bool = True) -> bool:
        end = time.monotonic() + (LATE if wait else 0.0)
        while not run.record.is_file() and time.monotonic() < end:
            time.sleep(POLL)
        return read_record(run.record, self.plan.id) is not None

    def check_room(self) -> None:
        """Give up once no node is left that could take a run.

        Raises:
            UserError: After :data:`PATIENCE` seconds.
        """
        now = time.monotonic()
        if self.places or any(node.fits(self.cpus, self.gpus) for node in resources.nodes(self.ray)):
            self.room = now
        elif now - self.room > PATIENCE:
            raise UserError(
                "engine=ray: no node is left that could take a run; the same command goes on with what is unfinished"
            )

    def cancel(self) -> None:
        """End the tasks that have not ended, and their children."""
        left = [*self.tasks, *self.asked]
        with contextlib.suppress(self.ray.exceptions.RayError):
            for reference in left:
                self.ray.cancel(reference)
            _, late = self.ray.wait(left, num_returns=len(left), timeout=LATE) if left else ([], [])
            for reference in late:
                self.ray.cancel(reference, force=True)
            self.ray.kill(self.board)

    def _told(self, error: Any) -> UserError:
        """Return what a task raised, as a line."""
        cause = getattr(error, "cause", error)
        if isinstance(cause, UserError):
            return cause
        if "No module named 'yolo_attn" in str(error):
            return ArgumentError("engine=ray: a node has no yolo-attn; pip install yolo-attn on every node")
        return UserError(f"{type(cause).__name__}: {_first_line(cause)}")


@contextlib.contextmanager
def _token(folder: Path) -> Iterator[str]:
    """Put a file of a name that no other folder has into ``folder``; yields the name, which is its content too."""
    name = f".ray-{secrets.token_hex(8)}"
    write_text(folder / name, name)
    try:
        yield name
    finally:
        (folder / name).unlink(missing_ok=True)


def _check_listens(address: str) -> None:
    """Raise an OSError if nobody listens at ``host:port``: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
