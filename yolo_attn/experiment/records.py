"""The files in a run's folder: its record, and what its process notes while it trains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeAlias

import msgspec

from ..errors import DataError
from ..metrics.coco_format import Predictions
from .epochs import Epoch
from .storage import ControlKind, File, Part, Role, read

Share: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1)]


class GitState(Part, frozen=True):
    """The state of the git repository around the working directory.

    Attributes:
        commit: The hash of the commit.
        dirty: Whether files differed from the commit.
    """

    commit: str
    dirty: bool


class Hardware(Part, frozen=True):
    """The machine.

    Attributes:
        cpu: Name of the processor.
        cores: Number of cores that the process could use.
        threads: Number of threads that PyTorch computed with.
        gpus: Names of the GPUs.
        platform: The operating system.
    """

    cpu: str
    cores: int
    threads: int
    gpus: list[str]
    platform: str


class PeakMemory(Part, frozen=True):
    """The most memory that the training process held.

    Attributes:
        resident_bytes: Main memory of the process without its data loaders; null on Windows.
        gpu_bytes: Memory of PyTorch's tensors on all GPUs; null without a GPU and for a training on several GPUs.
    """

    resident_bytes: int | None = None
    gpu_bytes: int | None = None


class EvaluatedData(Part, frozen=True):
    """The images on which the metrics were computed.

    Attributes:
        file: The data YAML.
        split: The split.
        split_reason: Why this split was used.
        images: Number of images.
        boxes: Number of boxes in the labels.
        annotation_boxes: Number of boxes in the COCO JSON, without crowd regions, if COCO's metrics are computed from
            it; null if they are computed from the labels.
        class_names: Names of the classes, in the order of their indices.
        digest: Digest of the whole data set, as in ``data.json``.
        warnings: What is wrong with the data set, as in ``data.json``.
    """

    file: str
    split: str
    split_reason: str
    images: int
    boxes: int
    class_names: list[str]
    digest: str
    warnings: list[str] = msgspec.field(default_factory=list)
    annotation_boxes: int | None = None


class Metrics(Part, frozen=True):
    """The metrics of the chosen epoch, from 0 to 1; null where a metric is not defined.

    Attributes:
        coco: COCO's twelve metrics by name (``AP``, ``AP50``, ``AP_small``, ``AR100`` ...), by faster-coco-eval.
        ultralytics: ``mAP50``, ``mAP50-95``, ``precision`` and ``recall``, as ``yolo val`` prints them.
    """

    coco: dict[str, Share | None]
    ultralytics: dict[str, Share | None]


class Record(File, frozen=True, kw_only=True, tag=2):
    """The result of a finished run. A run is finished when this file exists.

    Attributes:
        experiment: The ``id`` in ``plan.json``; a record of another experiment is refused.
        run: Name of the run and of its folder.
        model: Name of the model in the tables.
        model_file: The model YAML or checkpoint that was trained.
        role: ``baseline``, ``variant`` or ``control``.
        control: ``identity``, ``capacity`` or ``repeat`` for a control, else null.
        seed: The seed.
        arguments: All arguments of the training, as Ultralytics completed them, without paths of the machine.
        model_yaml: The layers of the trained model, with its scale and number of classes.
        checkpoint: The checkpoint that was evaluated, relative to the run's folder.
        git: The repository around the working directory; null outside of one.
        versions: Version of each package that computes.
        hardware: The machine.
        data: The images on which the metrics were computed.
        started: When the training started, ISO 8601.
        ended: When the evaluation ended, ISO 8601.
        sessions: Number of processes that trained the run; above 1 if it was resumed.
        resumed_versions: The versions of each session after the first.
        transfer: The line about the pretrained weights; null if none were loaded.
        weights_digest: SHA-256 of the file of pretrained weights; null if none were loaded, or it was not recorded.
        findings: The warnings of ``yolo-attn check`` about the model YAML.
        training_seconds: Duration of all sessions.
        epoch_seconds: Median duration of an epoch with its validation; null with fewer than two epochs.
        peak_memory: The most memory of any session.
        epochs: The rows of Ultralytics' ``results.csv``.
        best_epoch: The epoch whose checkpoint was evaluated; null if no epoch was validated.
        metrics: The metrics.
        predictions: All predicted boxes.
    """

    remedy: ClassVar[str] = "delete it and rerun the compare command, which repeats this run"
    indented: ClassVar[bool] = False

    experiment: str
    run: str
    model: str
    model_file: str
    role: Role
    control: ControlKind | None
    seed: int
    arguments: dict[str, Any]
    model_yaml: dict[str, Any] | None
    checkpoint: str
    git: GitState | None
    versions: dict[str, str]
    hardware: Hardware
    data: EvaluatedData
    started: str
    ended: str
    sessions: int
    resumed_versions: list[dict[str, str]]
    transfer: str | None
    weights_digest: str | None
    findings: list[str]
    training_seconds: float
    epoch_seconds: float | None
    peak_memory: PeakMemory
    epochs: list[Epoch]
    best_epoch: int | None
    metrics: Metrics
    predictions: Predictions | None


class Session(Part, frozen=True, kw_only=True):
    """One process that trained a run.

    Attributes:
        started: Seconds since 1970.
        ended: Seconds since 1970 at the last note; null if there is none.
        open: Whether the process had not ended at the last note.
        process: Its process id.
        git: The repository around the working directory; null outside of one.
        versions: Version of each package that computes.
        hardware: The machine.
        peak_memory: The most memory it held; null if the process did not end by itself.
    """

    started: float
    ended: float | None = None
    open: bool = True
    process: int
    git: GitState | None
    versions: dict[str, str]
    hardware: Hardware
    peak_memory: PeakMemory | None = None


class Sessions(File, frozen=True):
    """The processes that trained the run: more than one if it was resumed.

    Attributes:
        sessions: In order of time.
    """

    sessions: tuple[Session, ...] = ()


class Transfer(File, frozen=True):
    """What was loaded from the pretrained weights.

    Attributes:
        line: The line that the training printed; null if no weights were loaded.
    """

    line: str | None


class Progress(File, frozen=True):
    """How far a running training is.

    Attributes:
        phase: ``starting``, ``training`` or ``validating``.
        epoch: Number of finished epochs.
        epochs: Number of planned epochs.
        batch: Finished batches of the current epoch.
        batches: Batches of an epoch; 0 if not known.
    """

    phase: str
    epoch: int
    epochs: int
    batch: int = 0
    batches: int = 0


class RunError(File, frozen=True):
    """Why the last attempt failed.

    Attributes:
        message: One line.
        error: The class in ``yolo_attn.errors`` if the input was wrong; null for a fault of the program.
    """

    remedy: ClassVar[str] = "delete it"

    message: str
    error: str | None = None

    def line(self, output: str) -> str:
        """Return the reason as one line; for a fault of the program with ``output``, the place of its traceback."""
        message = self.message.strip() or "no reason was kept"
        return message if self.error else f"{message} (its output: {output})"


def read_record(path: Path, experiment: str) -> Record | None:
    """Return a run's record, or None if the run has none.

    Args:
        path: Its ``record.json``.
        experiment: The ``id`` of the plan it must belong to.

    Raises:
        DataError: If it cannot be read, has another format, or belongs to another experiment or run.
    """
    record = read(path, Record)
    if record is not None and record.experiment != experiment:
        raise DataError(
            f"{path} belongs to experiment {record.experiment}, not to {experiment}; move its folder away or delete it"
        )
    if record is not None and record.run != path.parent.name:
        raise DataError(f"{path} is the record of the run {record.run!r}; move it to that folder, or delete it")
    return record
