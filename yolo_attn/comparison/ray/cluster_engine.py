"""Perform the runs as Ray tasks: several at once, on this machine or on a cluster.

Each run is the same child process as without Ray, so records and report are the same. ``node_run`` is the part that
runs on a node; ``resources`` decides how many CPUs and GPUs a run gets.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import secrets
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...atomic_files import write_bytes, write_text
from ...errors import ArgumentError, UserError, described
from ...experiment.ground_truth_file import GroundTruth, keep
from ...experiment.plan import Plan, Run
from ...experiment.records import read_record
from ...experiment.storage import decode
from .. import child_processes, tracker_names
from ..engines import Watch, read_progress
from . import node_run, resources
from .node_run import Outcome, Parcel

ATTEMPTS = 3  # starts of a run whose worker or node is lost
POLL = 0.5  # seconds between two looks at the tasks
SURVEY_SECONDS = 120.0  # that a node may take to check whether it can perform runs
PATIENCE = 60.0  # seconds without a node for a run before giving up
LATE = 10.0  # seconds after which a file on a network file system must be visible
LOST = {
    "WorkerCrashedError": "its worker process was lost",
    "NodeDiedError": "its node was lost",
    "LocalRayletDiedError": "its node was lost",
    "OutOfMemoryError": "Ray ended it because its node ran out of memory",
}


class RayEngine:
    """Performs the runs as Ray tasks, as many at once as the resources allow.

    If a worker or node is lost, its run is started again elsewhere, at most :data:`ATTEMPTS` times in all. A run that
    fails by itself is not. Ctrl-C ends the runs and a Ray that was started here; an existing cluster stays.

    Every node needs the same version of this package, see :mod:`yolo_attn.comparison.ray.node_run`. Ultralytics uses at
    most as many data loader workers as a node has cores, and the augmentation depends on their number: if the nodes
    differ, set ``workers=`` to at most the cores of the smallest one.

    Args:
        gpus_per_run: GPUs of a run, above 0 and at most 1; with 0.5 two runs share a GPU. By default 1 if there are
            GPUs, and 0 if there are none or with ``device=cpu``.
        cpus_per_run: CPUs of a run, and its threads. By default the runs of a node's GPUs share its CPUs, and a run
            without a GPU gets at least four.
        address: A cluster: ``auto``, ``host:port`` or ``ray://host:port``. By default ``RAY_ADDRESS``, else Ray is
            started on this machine.

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
        """Perform ``runs`` as an :class:`yolo_attn.comparison.engines.Engine`.

        Raises:
            ArgumentError: If ``device`` names GPUs, there is no cluster at the address, no node has the resources for
                a run, or a node lacks something.
            UserError: If no node is left, or the reason of a failure concerns every run.
        """
        resources.check_device(plan.arguments.get("device"), self.gpus)
        with connected(self.address) as ray, _token(plan.folder) as token:
            nodes = resources.nodes(ray)
            cpus, gpus = resources.share(nodes, len(runs), plan.arguments.get("device"), self.cpus, self.gpus)
            parcel = Parcel.pack(plan, child_processes.WORKER, token)
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
    """Connect to the cluster, or start Ray on this machine alone, and disconnect at the end.

    An existing connection of this process is used and kept.

    Raises:
        ArgumentError: If there is no cluster at ``address``.
    """
    ray = load_ray()
    if ray.is_initialized():
        yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    options: dict[str, Any] = {"address": address, "log_to_driver": False, "configure_logging": False}
    protection: Any = _private() if address == "local" else contextlib.nullcontext({})
    with protection as more:
        try:
            _check_listens(address)
            ray.init(**options, **more)
        except (OSError, ValueError, RuntimeError, ImportError) as error:
            if address == "local":
                raise UserError(f"engine=ray: Ray cannot start on this machine: {described(error)}") from error
            raise ArgumentError(
                f"engine=ray: no usable Ray cluster at address={address} ({described(error)}); start one with "
                "`ray start --head`, or omit address= to use this machine"
            ) from None
        try:
            yield ray
        finally:
            ray.shutdown()


@contextlib.contextmanager
def _private() -> Iterator[dict[str, Any]]:
    """Let a Ray that starts here serve only this process and its children; yield arguments of ``ray.init``.

    By default Ray listens on all network interfaces of a Linux machine and runs what it is sent. Here it listens on
    the loopback interface and asks for a token that nobody else has.
    """
    given = dict(os.environ)
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray warns without it; it means that tasks without a GPU keep their environment variables
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    constants: Any = importlib.import_module("ray._private.ray_constants")
    # Ray replaces 127.0.0.1 by the machine's address, except where it makes no clusters by default: Windows and macOS
    clusters, constants.ENABLE_RAY_CLUSTER = constants.ENABLE_RAY_CLUSTER, False
    _read_variables_again()
    try:
        yield {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    finally:
        constants.ENABLE_RAY_CLUSTER = clusters
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
            os.environ.pop(name)
            os.environ.update({name: given[name]} if name in given else {})
        _read_variables_again()


def _read_variables_again() -> None:
    """Make Ray forget the settings and the token that it read when it was imported."""
    inner: Any = importlib.import_module("ray._raylet")
    inner.Config.initialize("")
    inner.AuthenticationTokenLoader.instance().reset_cache()


class Board:
    """Collects the notes of the tasks for the head; a Ray actor."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, int, dict[str, Any]]] = []

    def add(self, name: str, attempt: int, note: dict[str, Any]) -> None:
        """Add a note about an attempt of a run."""
        self.notes.append((name, attempt, note))

    def take(self) -> list[tuple[str, int, dict[str, Any]]]:
        """Return the notes since the last call in their order."""
        notes, self.notes = self.notes, []
        return notes


def task(parcel: Parcel, name: str, attempt: int, extra: dict[str, str], gpus: float, board: Any) -> Outcome:
    """Perform one run; the Ray task."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "") if gpus else ""
    return node_run.perform(parcel, name, extra, lambda note: board.add.remote(name, attempt, note), visible)


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
        self.announced: dict[str, int] = {}  # the last attempt of each run that the watch was told of
        self.latest: dict[str, dict[str, Any]] = {}  # the last note of each run that has started
        self.seen = time.monotonic()  # when there was last a node for a run

    def survey(self) -> None:
        """Check every node that has the resources for a run.

        Raises:
            ArgumentError: If a node lacks something; says what.
        """
        ask = self.ray.remote(num_cpus=0, max_retries=0)(node_run.survey)
        for node in resources.nodes(self.ray):
            if node.fits(self.cpus, self.gpus):
                there = self.affinity(node.id, soft=False)
                self.asked.append(ask.options(scheduling_strategy=there).remote(self.parcel))
        for answer in self.asked:
            try:
                self.ray.get(answer, timeout=SURVEY_SECONDS)
            except self.ray.exceptions.RayTaskError as error:
                raise self._user_error(error) from None
            except self.ray.exceptions.RayError:  # the node is lost; its runs are performed elsewhere
                continue
        self.asked.clear()

    def perform(self, runs: Sequence[Run]) -> None:
        """Perform ``runs``. The first one starts ahead: it downloads and caches what the others read."""
        self.runs = {run.name: run for run in runs}
        ahead, *others = runs
        self.submit(ahead)
        while self.tasks or others:
            self.notes = self.notes or self.board.take.remote()
            done, _ = self.ray.wait(list(self.tasks), timeout=POLL)
            self.read_notes()
            for reference in done:
                self.settle(reference, self.tasks.pop(reference))
            for name in self.latest:
                self.watch.progressed(self.runs[name], read_progress(self.plan, self.runs[name]))
            begun = ahead.name in self.latest and read_progress(self.plan, ahead).phase != "starting"
            if begun or ahead not in self.tasks.values():
                for run in others:
                    self.submit(run)
                others = []
            self.check_nodes()

    def submit(self, run: Run) -> None:
        """Submit ``run`` to Ray."""
        attempt = self.attempts[run.name] = self.attempts.get(run.name, 0) + 1
        threads = str(max(1, int(self.cpus)))
        extra = {"OMP_NUM_THREADS": threads, "YOLO_ATTN_THREADS": threads}
        extra |= tracker_names.variables(self.plan, run)
        self.tasks[self.task.remote(self.parcel, run.name, attempt, extra, self.gpus, self.board)] = run

    def read_notes(self) -> None:
        """Read the notes: announce started runs, and store the progress files of runs in other folders."""
        if self.notes is None or not self.ray.wait([self.notes], timeout=0)[0]:
            return
        try:
            notes = self.ray.get(self.notes)
        except self.ray.exceptions.RayError:  # without the board, the runs continue unseen
            notes = []
        self.notes = None
        for name, attempt, note in notes:
            run = self.runs[name]
            if attempt != self.attempts[name] or run not in self.tasks.values():
                continue
            if name not in self.latest and not note["shared"]:
                run.progress.unlink(missing_ok=True)
            self.announce(run, note["host"], note["gpus"])
            self.latest[name] = note
            for file in node_run.MIRRORED:
                # the rows of a half-trained run in this folder belong to its checkpoint
                if file in note and not (file != run.progress.name and run.weights.exists()):
                    write_text(run.folder / file, note[file])

    def announce(self, run: Run, host: str, gpus: str = "") -> None:
        """Tell the watch that ``run`` has started, and where: the node if there are several, and the GPU."""
        if self.announced.get(run.name) != self.attempts[run.name]:
            self.announced[run.name] = self.attempts[run.name]
            gpu = f"GPU {gpus}" if gpus else ""
            host = host if len(resources.nodes(self.ray)) > 1 else ""
            self.watch.started(run, f"{host} ({gpu})" if host and gpu else host or gpu)

    def settle(self, reference: Any, run: Run) -> None:
        """Process the outcome of a task."""
        self.latest.pop(run.name, None)
        try:
            outcome = self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            failure = self._user_error(error)
            if isinstance(failure, child_processes.EVERY_RUN):
                raise failure from None
            self.watch.failed(run, str(failure))
            return
        except self.ray.exceptions.RayError as error:
            self.lost(run, LOST.get(type(error).__name__, described(error)))
            return
        self.announce(run, outcome.host)  # a short run may end before its note arrives
        if outcome.files is not None:
            self.receive(run, outcome)
        if outcome.status == 0 and self.has_record(run):
            self.watch.finished(run)
            return
        failure = child_processes.error_of(run.error, outcome.status, run.log)
        if isinstance(failure, child_processes.EVERY_RUN):
            raise type(failure)(f"on {outcome.host}: {failure}")
        self.watch.failed(run, str(failure))

    def lost(self, run: Run, reason: str) -> None:
        """Start ``run`` again, unless it was lost too often."""
        if self.has_record(run, wait=False):  # lost after it had finished
            self.watch.finished(run)
        elif self.attempts[run.name] < ATTEMPTS:
            self.submit(run)
        else:
            self.watch.failed(run, f"{reason}; it was started {ATTEMPTS} times")

    def receive(self, run: Run, outcome: Outcome) -> None:
        """Store the files of a run from another machine in its folder here, the record last.

        Raises:
            DataError: If it was validated on other images or boxes than the other runs.
        """
        files = dict(outcome.files or {})
        record = files.pop(run.record.name, None)
        for name, content in files.items():
            write_bytes(run.folder / name, content)
        if record is None:
            return
        for name in ("last.pt", "previous.pt", "best_copy.pt"):  # of a training that was started here
            if f"weights/{name}" not in files:
                (run.weights / name).unlink(missing_ok=True)
        if outcome.truth is not None:
            truth = decode(outcome.truth, GroundTruth, Path(outcome.host))
            keep(self.plan, run.name, truth, outcome.host)
        write_bytes(run.record, record)

    def has_record(self, run: Run, *, wait: bool = True) -> bool:
        end = time.monotonic() + (LATE if wait else 0.0)
        while not run.record.is_file() and time.monotonic() < end:
            time.sleep(POLL)
        return read_record(run.record, self.plan.id) is not None

    def check_nodes(self) -> None:
        """Check that there is still a node for a run.

        Raises:
            UserError: If there was none for :data:`PATIENCE` seconds.
        """
        now = time.monotonic()
        if self.latest or any(node.fits(self.cpus, self.gpus) for node in resources.nodes(self.ray)):
            self.seen = now
        elif now - self.seen > PATIENCE:
            raise UserError("engine=ray: no node is left that can take a run; rerun the command to resume")

    def cancel(self) -> None:
        """Cancel the unfinished tasks, which end their child processes."""
        left = [*self.tasks, *self.asked]
        with contextlib.suppress(self.ray.exceptions.RayError):
            for reference in left:
                self.ray.cancel(reference)
            _, late = self.ray.wait(left, num_returns=len(left), timeout=LATE) if left else ([], [])
            for reference in late:
                self.ray.cancel(reference, force=True)
            self.ray.kill(self.board)

    def _user_error(self, error: Any) -> UserError:
        """Return the exception of a task as an error of one line."""
        cause = getattr(error, "cause", error)
        if isinstance(cause, UserError):
            return cause
        if "No module named 'yolo_attn" in str(error):
            return ArgumentError(
                "engine=ray: yolo-attn is not installed on a node; pip install yolo-attn on every node"
            )
        return UserError(described(cause))


@contextlib.contextmanager
def _token(folder: Path) -> Iterator[str]:
    """Write a file with a unique name into ``folder`` and yield the name, which is its content too."""
    name = f".ray-{secrets.token_hex(8)}"
    write_text(folder / name, name)
    try:
        yield name
    finally:
        (folder / name).unlink(missing_ok=True)


def _check_listens(address: str) -> None:
    """Raise an OSError if nothing listens at ``host:port``: Ray itself would retry for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
