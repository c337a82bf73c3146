"""Perform one run on a node of a Ray cluster, or on this machine: the inside of a Ray task. Imports no Ray.

If the node has the experiment's folder under the same path, the run works in it, and a lost run resumes after its last
epoch. Otherwise it works in a scratch folder and sends its files back, except the checkpoints that only a resumed
training needs.

All nodes must have the same versions of this package, Ultralytics and PyTorch (this is checked) and the same data set
(the run itself checks its digest).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from ...atomic_files import write_bytes
from ...errors import ArgumentError
from ...experiment.ground_truth_file import GroundTruth
from ...experiment.plan import Plan, Run
from ...experiment.storage import encode, read
from .. import child_processes, environment

POLL = 0.5  # seconds between two looks at the child
LARGEST = 256 * 2**20  # bytes of a file that is sent to the nodes; they must have larger files already
SAME_VERSIONS = ("yolo-attn", "ultralytics", "torch", "torchvision", "numpy", "faster-coco-eval")
# Prefixes of variables for Ultralytics and trackers, sent to nodes that do not set them.
FORWARDED = ("YOLO_", "WANDB_", "MLFLOW_", "COMET_", "CLEARML_", "NEPTUNE_", "DVC")
NOT_FORWARDED = ("YOLO_CONFIG_DIR", "YOLO_ATTN_PARENT")
MIRRORED = ("progress.json", "results.csv")


@dataclass(frozen=True, slots=True)
class Input:
    """A local file that the plan names.

    Attributes:
        digest: SHA-256 of its content.
        content: The content if it is sent; None if the node must have the file.
    """

    digest: str
    content: bytes | None


@dataclass(frozen=True, slots=True)
class Parcel:
    """What every run of an experiment needs on its node.

    Attributes:
        module: The child's module.
        folder: The experiment's folder on the head, absolute.
        token: Name of a file in it with this name as its content; a node that finds it sees the same folder.
        directory: The head's working directory.
        files: The folder's files that a run reads: content by relative path.
        inputs: Model and data YAMLs and weights, by the path as it was given.
        versions: Versions on the head.
        variables: Environment variables of the head for the run.
    """

    module: str
    folder: str
    token: str
    directory: str
    files: Mapping[str, bytes]
    inputs: Mapping[str, Input]
    versions: Mapping[str, str]
    variables: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def pack(cls, plan: Plan, module: str, token: str) -> Parcel:
        """Return the parcel of ``plan``, whose folder has the file ``token``."""
        folder = Path(os.path.abspath(plan.folder))  # noqa: PTH100 - keep links, which may lead elsewhere on a node
        names = ["plan.json", "data.json", "pairing.json"]
        named = (plan.data, plan.base, *plan.models, str(plan.arguments.get("pretrained", "")))
        names += [path.relative_to(folder).as_posix() for path in sorted((folder / "controls").glob("*.yaml"))]
        return cls(
            module,
            str(folder),
            token,
            str(Path.cwd()),
            {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()},
            {path: _input(path) for path in named if Path(path).is_file()},
            versions_to_match(),
            {
                name: value
                for name, value in os.environ.items()
                if name.startswith(FORWARDED) and name not in NOT_FORWARDED
            },
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a run on its node.

    Attributes:
        status: Exit status of the child.
        host: Name of the node.
        files: The run's files, content by relative path; None if it worked in the head's folder.
        truth: ``ground_truth.json`` with an absolute image folder; None if it worked in the head's folder.
    """

    status: int
    host: str
    files: dict[str, bytes] | None = None
    truth: bytes | None = None


def versions_to_match() -> dict[str, str]:
    """Return the versions that must be the same on every node, without the build."""
    return {name: version.split("+")[0] for name, version in environment.versions().items() if name in SAME_VERSIONS}


def survey(parcel: Parcel) -> bool:
    """Check that runs can be performed on this node; return whether it has the experiment's folder.

    Raises:
        ArgumentError: If versions differ, or a file of the plan is missing and was not sent.
    """
    host, mine = socket.gethostname(), versions_to_match()
    for name in sorted({*parcel.versions, *mine}):
        wanted, here = parcel.versions.get(name, "none"), mine.get(name, "none")
        if wanted != here:
            raise ArgumentError(
                f"engine=ray: node {host} has {name} {here}, not {wanted}; install {name}=={wanted} there"
            )
    shared = _is_shared(parcel)
    there, missing = Path(parcel.directory), _missing(parcel)
    for path, file in parcel.inputs.items() if missing or not there.is_dir() else ():
        fixed = Path(path).is_absolute()
        sent = not shared and not fixed and file.content is not None
        if (path in missing and not sent) or (not fixed and ".." in Path(path).parts):
            although = ", although the experiment's folder is there" if shared else ""
            raise ArgumentError(
                f"engine=ray: {there / path} is missing on node {host}, or differs there{although}; copy it to the node"
            )
    return shared


def perform(
    parcel: Parcel,
    name: str,
    extra: Mapping[str, str],
    tell: Callable[[dict[str, Any]], None],
    gpus: str = "",
) -> Outcome:
    """Train and validate one run in a child process.

    Args:
        parcel: What it needs.
        name: Name of the run.
        extra: Environment variables for the child.
        tell: Receives notes for the head: ``host``, ``gpus``, ``shared``, and the changed ``MIRRORED`` files that the
            head cannot see.
        gpus: The numbers of its GPUs.

    Raises:
        ArgumentError: As :func:`survey` does.
    """
    host = socket.gethostname()
    shared = survey(parcel)
    about = {"host": host, "gpus": gpus, "shared": shared}
    set_here = {key: value for key, value in parcel.variables.items() if key not in os.environ}
    extra = {**set_here, **extra}
    tell(about)
    if shared:
        folder = Path(parcel.folder)
        with _at(_working_directory(parcel, folder)):
            status = _child(parcel.module, folder, name, extra, lambda run: tell(about))
        return Outcome(status, host)
    with tempfile.TemporaryDirectory(prefix="yolo-attn-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch).resolve() / Path(parcel.folder).name
        for path, content in parcel.files.items():
            write_bytes(folder / path, content)
        sent: dict[str, str] = {}

        def mirror(run: Run) -> None:
            new = _news(run, sent)
            sent.update(new)
            tell({**about, **new})

        with _at(_working_directory(parcel, folder.with_name("files"))):
            status = _child(parcel.module, folder, name, extra, mirror)
        run = Plan.load(folder).run(name)
        return Outcome(status, host, left_behind(run, checkpoint=status == 0), _truth(folder))


def left_behind(run: Run, *, checkpoint: bool) -> dict[str, bytes]:
    """Return the files of a run that are sent back, by path relative to its folder.

    Args:
        run: The run.
        checkpoint: Include the checkpoint of the chosen epoch.
    """
    files = {path.relative_to(run.folder).as_posix(): path for path in run.folder.rglob("*") if path.is_file()}
    sent = [name for name in files if name != run.progress.name and not name.startswith("weights/")]
    sent = [name for name in sent if not name.startswith(".") and "/." not in name]
    if checkpoint:
        sent += [name for name in ("weights/best.pt", "weights/last.pt") if name in files][:1]
    return {name: files[name].read_bytes() for name in sent}


def _child(module: str, folder: Path, name: str, extra: dict[str, str], look: Callable[[Run], None]) -> int:
    run = Plan.load(folder).run(name)
    run.folder.mkdir(parents=True, exist_ok=True)
    run.progress.unlink(missing_ok=True)
    with run.log.open("ab") as log:
        process = child_processes.start(module, folder, name, log=log, extra=extra)
        try:
            while True:
                try:
                    return process.wait(POLL)
                except subprocess.TimeoutExpired:
                    look(run)
        except BaseException:  # cancelled by the head; Ray's workers and their children get no SIGINT
            process.terminate()
            child_processes.end(process)
            raise


def _is_shared(parcel: Parcel) -> bool:
    try:
        return (Path(parcel.folder) / parcel.token).read_text(encoding="utf-8") == parcel.token
    except (OSError, ValueError):
        return False


def _working_directory(parcel: Parcel, spare: Path) -> Path:
    """Return a working directory in which every path of the plan names the same file as on the head.

    It is the head's if that has all of them here, else ``spare``, which gets those that are not absolute.
    """
    there = Path(parcel.directory)
    if there.is_dir() and not _missing(parcel):
        return there
    spare.mkdir(parents=True, exist_ok=True)
    for path, file in parcel.inputs.items():
        if not Path(path).is_absolute():
            write_bytes(spare / path, file.content if file.content is not None else (there / path).read_bytes())
    return spare


def _missing(parcel: Parcel) -> list[str]:
    """Return the paths of the plan that do not name the same file here as on the head."""
    there = Path(parcel.directory)
    return [path for path, file in parcel.inputs.items() if not _is_same(there / path, file)]


def _is_same(path: Path, file: Input) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == file.digest
    except OSError:
        return False


@contextlib.contextmanager
def _at(directory: Path) -> Iterator[None]:
    """Work in ``directory``; ``contextlib.chdir`` needs Python 3.11."""
    before = Path.cwd()
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(before)


def _news(run: Run, sent: Mapping[str, str]) -> dict[str, str]:
    new = {}
    for name in MIRRORED:
        with contextlib.suppress(OSError, ValueError):
            text = (run.folder / name).read_text(encoding="utf-8")
            if text != sent.get(name):
                new[name] = text
    return new


def _truth(folder: Path) -> bytes | None:
    truth = read(folder / "ground_truth.json", GroundTruth)
    if truth is None:
        return None
    images = os.path.abspath(folder / truth.info.image_folder)  # noqa: PTH100 - resolve follows links
    return encode(replace(truth, info=replace(truth.info, image_folder=images)))


def _input(path: str) -> Input:
    content = Path(path).read_bytes()
    return Input(hashlib.sha256(content).hexdigest(), content if len(content) <= LARGEST else None)
