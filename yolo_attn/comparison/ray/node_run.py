"""One run on a node of a Ray cluster, or on this machine: what happens inside a Ray task. Imports no Ray.

Where the comparison's folder can be seen on the node under the same path, the run works in it, and a lost run goes on
there from its last epoch. Elsewhere it works in a scratch folder, and what it leaves travels back: all but the
checkpoints that only a resumed training needs.

The nodes are taken to be alike: this package, Ultralytics and torch are installed on each in the same versions (which
is checked), and hold the same data set (its fingerprint is checked by the run itself).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
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
LARGEST = 256 * 2**20  # bytes of a file that is sent along; larger weights have to lie on the nodes
ALIKE = ("yolo-attn", "ultralytics", "torch", "torchvision", "numpy", "faster-coco-eval")
# Words for Ultralytics and the trackers that a node has not set itself.
FORWARDED = ("YOLO_", "WANDB_", "MLFLOW_", "COMET_", "CLEARML_", "NEPTUNE_", "DVC")
STAYS = ("YOLO_CONFIG_DIR", "YOLO_ATTN_PARENT")
MIRRORED = ("progress.json", "results.csv")


@dataclass(frozen=True, slots=True)
class Input:
    """A local file that the plan names.

    Attributes:
        digest: SHA-256 of its content.
        content: The content, if it is sent along; None if the node must have it.
    """

    digest: str
    content: bytes | None


@dataclass(frozen=True, slots=True)
class Parcel:
    """What every run of a comparison needs on its node.

    Attributes:
        module: The child's module.
        folder: The comparison's folder on the head, absolute.
        token: Name of a file in it, whose content is this name: seen on a node, the folder is the same one.
        directory: The head's working directory.
        files: Content of the folder's files that a run reads, by path relative to it.
        inputs: Model and data YAMLs and weights given as paths, by the path as it was given.
        versions: Versions on the head.
        variables: Environment variables of the head that mean something to the run.
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
        """Return the parcel of ``plan``, whose folder holds ``token``."""
        folder = Path(os.path.abspath(plan.folder))  # noqa: PTH100 - links may lead elsewhere on a node
        names = ["plan.json", "data.json", "pairing.json"]
        names += [path.relative_to(folder).as_posix() for path in sorted((folder / "controls").glob("*.yaml"))]
        return cls(
            module,
            str(folder),
            token,
            str(Path.cwd()),
            {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()},
            {path: _input(path) for path in _named(plan) if Path(path).is_file()},
            alike(),
            {name: value for name, value in os.environ.items() if name.startswith(FORWARDED) and name not in STAYS},
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended on its node.

    Attributes:
        status: Exit status of the child.
        host: Name of the node.
        files: What it left, by path relative to the run's folder, if that is not the head's; None if it is.
        truth: ``ground_truth.json``, with the images' folder absolute, if it does not lie on the head already.
    """

    status: int
    host: str
    files: dict[str, bytes] | None = None
    truth: bytes | None = None


def alike() -> dict[str, str]:
    """Return the versions that have to be the same on every node; builds of one version are."""
    return {name: version.split("+")[0] for name, version in environment.versions().items() if name in ALIKE}


def survey(parcel: Parcel) -> bool:
    """Return whether the comparison's folder is seen here, after checking that its runs can be performed here.

    Raises:
        ArgumentError: If versions differ, or a file that the plan names is not here and was not sent along.
    """
    host, mine = socket.gethostname(), alike()
    for name in sorted({*parcel.versions, *mine}):
        there, here = parcel.versions.get(name, "none"), mine.get(name, "none")
        if there != here:
            raise ArgumentError(
                f"engine=ray: node {host} has {name} {here}, not {there}; install {name}=={there} there"
            )
    shared = _is_shared(parcel)
    _directory(parcel, None if shared else Path())
    return shared


def perform(
    parcel: Parcel,
    name: str,
    extra: Mapping[str, str],
    tell: Callable[[dict[str, Any]], None],
    *,
    gpus: str = "",
    poll: float = POLL,
) -> Outcome:
    """Let a child train and validate one run.

    Args:
        parcel: What it needs.
        name: Name of the run.
        extra: Environment variables for the child.
        tell: Takes notes for the head: ``host``, ``gpus``, ``shared``, and the text of ``MIRRORED`` files that are
            new and that the head cannot see.
        gpus: The GPUs that it may use, as numbers.
        poll: Seconds between two looks at the child.

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
        with _at(_directory(parcel, None)):
            status = _child(parcel.module, folder, name, extra, lambda run: tell(about), poll)
        return Outcome(status, host)
    scratch = Path(tempfile.mkdtemp(prefix="yolo-attn-")).resolve()
    try:
        folder = scratch / Path(parcel.folder).name
        for path, content in parcel.files.items():
            write_bytes(folder / path, content)
        sent: dict[str, str] = {}

        def mirror(run: Run) -> None:
            new = _news(run, sent)
            sent.update(new)
            tell({**about, **new})

        with _at(_directory(parcel, scratch / "files")):
            status = _child(parcel.module, folder, name, extra, mirror, poll)
        run = Plan.load(folder).run(name)
        return Outcome(status, host, left_behind(run, checkpoint=status == 0), _truth(folder))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def left_behind(run: Run, *, checkpoint: bool) -> dict[str, bytes]:
    """Return the files of a run that are worth keeping, by path relative to its folder.

    Args:
        run: The run.
        checkpoint: Whether the checkpoint of the chosen epoch is among them.
    """
    weights = run.folder / "weights"
    found = [path for path in run.folder.rglob("*") if path.is_file() and weights not in path.parents]
    found = [
        path for path in found if path != run.progress and "/." not in f"/{path.relative_to(run.folder).as_posix()}"
    ]
    if checkpoint:
        found += [path for path in (weights / "best.pt", weights / "last.pt") if path.is_file()][:1]
    return {path.relative_to(run.folder).as_posix(): path.read_bytes() for path in found}


def _child(
    module: str, folder: Path, name: str, extra: dict[str, str], look: Callable[[Run], None], poll: float
) -> int:
    run = Plan.load(folder).run(name)
    run.folder.mkdir(parents=True, exist_ok=True)
    run.progress.unlink(missing_ok=True)
    with run.log.open("ab") as log:
        process = child_processes.start(module, folder, name, log=log, extra=extra)
        try:
            while True:
                try:
                    return process.wait(poll)
                except subprocess.TimeoutExpired:
                    look(run)
        except BaseException:  # cancelled by the head; Ray's workers and their children do not receive SIGINT
            process.terminate()
            child_processes.end(process)
            raise


def _is_shared(parcel: Parcel) -> bool:
    try:
        return (Path(parcel.folder) / parcel.token).read_text(encoding="utf-8") == parcel.token
    except (OSError, ValueError):
        return False


def _directory(parcel: Parcel, spare: Path | None) -> Path:
    """Return the working directory in which every path of the plan leads to the file that it led to on the head.

    Args:
        parcel: What the head sent.
        spare: A folder into which files may be put that are not here; ``Path()``: only say whether it could be done;
            None: they must be here.

    Raises:
        ArgumentError: If there is no such directory.
    """
    there = Path(parcel.directory)
    missing = [path for path, file in parcel.inputs.items() if not _is_same(there / path, file)]
    if not missing and there.is_dir():
        return there
    host = socket.gethostname()
    if spare is None and missing:
        raise ArgumentError(
            f"engine=ray: {there / missing[0]} is not on node {host}, or is another file there, although the "
            "comparison's folder is; put it there"
        )
    for path, file in parcel.inputs.items():
        fixed = Path(path).is_absolute()
        if (path in missing and (fixed or file.content is None)) or (not fixed and ".." in Path(path).parts):
            raise ArgumentError(
                f"engine=ray: {there / path} is not on node {host}, or is another file there; put it there"
            )
        if spare and spare != Path() and not fixed:
            write_bytes(spare / path, file.content if file.content is not None else (there / path).read_bytes())
    if spare is None or spare == Path():
        return Path(parcel.folder)
    spare.mkdir(parents=True, exist_ok=True)
    return spare


def _is_same(path: Path, file: Input) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == file.digest
    except OSError:
        return False


@contextlib.contextmanager
def _at(directory: Path) -> Iterator[None]:
    """Work in ``directory``; ``contextlib.chdir`` is of Python 3.11."""
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


def _named(plan: Plan) -> list[str]:
    """Return what the plan names that may be a file."""
    pretrained = plan.arguments.get("pretrained")
    return [plan.data, plan.base, *plan.models, *([pretrained] if isinstance(pretrained, str) else [])]


def _input(path: str) -> Input:
    content = Path(path).read_bytes()
    return Input(hashlib.sha256(content).hexdigest(), content if len(content) <= LARGEST else None)
