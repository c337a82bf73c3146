"""What the records of an experiment show: ``results.json``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..statistics import Effect, MetricEffect
from .costs import ModelCost, ThroughputTiming, Timing
from .data_set_file import Pairing
from .records import EvaluatedData, GitState, Hardware
from .storage import ControlKind, File, Part, Role


class MetricValues(Part, frozen=True):
    """One metric of a model.

    Attributes:
        values: One per seed, from 0 to 1; null where the metric is not defined.
        mean: Their mean; null if a value is missing.
        sd: Their standard deviation; null with one seed, or if a value is missing.
    """

    values: tuple[float | None, ...] = ()
    mean: float | None = None
    sd: float | None = None


class Training(Part, frozen=True, kw_only=True):
    """The trainings of a model.

    Attributes:
        seconds: Mean duration of a run.
        epoch_seconds: Median duration of an epoch, of the run where it is lowest: other work only raises it.
        resident_bytes: The most main memory of any run.
        gpu_bytes: The most GPU memory of any run.
        epochs: Number of epochs of each run.
        best_epochs: The epoch of each run whose checkpoint was evaluated.
        transfer: The line about the pretrained weights; null if none were loaded.
    """

    seconds: float | None
    epoch_seconds: float | None
    resident_bytes: int | None
    gpu_bytes: int | None
    epochs: tuple[int, ...]
    best_epochs: tuple[int | None, ...]
    transfer: str | None

    @property
    def memory(self) -> int | None:
        """GPU memory, without a GPU main memory."""
        return self.gpu_bytes or self.resident_bytes


class CostRatios(Part, frozen=True, kw_only=True):
    """Costs of a model over the baseline's; null where one is not known.

    Attributes:
        parameters: Parameters.
        gflops: Operations.
        latency: Latency, median of the ratios of each round.
        throughput: Images per second, median of the ratios of each round.
        epoch_seconds: Duration of an epoch; null also if the epochs of one run differ too much in time.
        resident_bytes: Main memory.
        gpu_bytes: GPU memory.
    """

    parameters: float | None
    gflops: float | None
    latency: float | None
    throughput: float | None
    epoch_seconds: float | None
    resident_bytes: float | None
    gpu_bytes: float | None

    @property
    def memory(self) -> float | None:
        """The ratio of GPU memory, without a GPU that of main memory."""
        return self.gpu_bytes or self.resident_bytes


class MeanErrors(Part, frozen=True):
    """TIDE's kinds of error; ``ap50`` and ``counts`` are means over the seeds.

    Attributes:
        ap50: AP at IoU 0.5 with 100 detections per image, from 0 to 1; null without objects.
        counts: Number of errors of each kind.
        dap: Rise of ``ap50`` if the errors of one kind were fixed, from 0 to 1, for each seed.
    """

    ap50: float | None
    counts: dict[str, float]
    dap: dict[str, MetricValues]


class ModelResult(Part, frozen=True, kw_only=True):
    """The results of one model.

    Attributes:
        name: Name in the tables.
        file: The model YAML or checkpoint that was trained.
        role: ``baseline``, ``variant`` or ``control``.
        control: ``identity``, ``capacity`` or ``repeat`` for a control, else null.
        variants: The variants that a control belongs to; empty for all.
        note: One line about a control.
        findings: The warnings of ``yolo-attn check`` about the model YAML.
        planned_seeds: The seeds of the plan.
        seeds: The seeds finished for both the model and the baseline; without one, those of the model.
        base_seeds: The baseline's seed that each is compared with.
        metrics: The metrics by name; COCO's AP of one class is ``AP[class]``.
        effect: The differences to the baseline, in points of 100, and the verdict; null without a common seed.
        cost: The costs; null if they were not measured.
        cost_ratios: The costs over the baseline's; null for the baseline.
        training: The trainings.
        errors: The kinds of error; null without predictions.
        curves: By column of Ultralytics' ``results.csv``, for each seed one value per epoch.
    """

    name: str
    file: str
    role: Role
    control: ControlKind | None
    variants: tuple[str, ...]
    note: str
    findings: tuple[str, ...]
    planned_seeds: tuple[int, ...]
    seeds: tuple[int, ...]
    base_seeds: tuple[int, ...]
    metrics: dict[str, MetricValues]
    effect: Effect | None = None
    cost: ModelCost | None
    cost_ratios: CostRatios | None = None
    training: Training
    errors: MeanErrors | None = None
    curves: dict[str, list[list[float | None]]]

    @property
    def label(self) -> str:
        """The name; for a control with its kind."""
        return f"{self.name} (control: {self.control})" if self.role == "control" else self.name

    def metric(self, name: str) -> MetricValues:
        """Return a metric; without values if the model does not have it."""
        return self.metrics.get(name, MetricValues())

    def change(self, name: str) -> MetricEffect | None:
        """Return the difference of a metric to the baseline's; None if there is none."""
        return self.effect.metrics.get(name) if self.effect else None


class RunResult(Part, frozen=True, kw_only=True):
    """A finished run.

    Attributes:
        run: Name of the run and of its folder.
        model: Name of the model.
        seed: The seed.
        ap: COCO's AP, from 0 to 1; null without objects.
        epochs: Number of epochs.
        best_epoch: The epoch whose checkpoint was evaluated; null if no epoch was validated.
        training_seconds: Duration of all sessions.
        sessions: Number of processes that trained the run; above 1 if it was resumed.
        started: When the training started, ISO 8601.
        git: The repository around the working directory; null outside of one.
    """

    run: str
    model: str
    seed: int
    ap: float | None
    epochs: int
    best_epoch: int | None
    training_seconds: float
    sessions: int
    started: str
    git: GitState | None


class MissingRun(Part, frozen=True):
    """A run without a record.

    Attributes:
        run: Name of the run.
        model: Name of the model.
        seed: The seed.
        reason: Why its last attempt failed; null if it has not been tried yet.
    """

    run: str
    model: str
    seed: int
    reason: str | None


class Setup(Part, frozen=True, kw_only=True):
    """What was asked for, as in ``plan.json``.

    Attributes:
        base: Model YAML or checkpoint of the baseline.
        models: Model YAMLs or checkpoints of the variants.
        data: Data YAML.
        seeds: The seeds.
        epochs: Number of epochs of each run.
        arguments: The arguments of ``yolo train`` that were given.
    """

    base: str
    models: tuple[str, ...]
    data: str
    seeds: tuple[int, ...]
    epochs: int
    arguments: dict[str, Any]


class Results(File, frozen=True, kw_only=True, tag=2):
    """The results of an experiment.

    Attributes:
        experiment: The ``id`` in ``plan.json``.
        setup: What was asked for.
        warnings: What must be read before any number.
        models: The models with a finished run: baseline, variants, controls.
        runs: The finished runs.
        missing: The other runs.
        notes: How the numbers were obtained, as printed below the tables.
        data: The images on which the metrics were computed; null without a finished run, as are the next four.
        arguments: All arguments of the first run, as Ultralytics completed them.
        versions: Version of each package that computed in the first run.
        hardware: The machine of the first run.
        git: The repository around the working directory of the first run.
        latency: How the latency was timed; null if it was not, as are the next two.
        throughput: How the throughput was timed.
        gflops_imgsz: Height and width of the image whose operations are counted, in pixels.
        pairing: Whether two runs with the same seed see the same images in the same order.
    """

    experiment: str
    setup: Setup
    warnings: tuple[str, ...] = ()
    models: tuple[ModelResult, ...]
    runs: tuple[RunResult, ...]
    missing: tuple[MissingRun, ...]
    notes: tuple[str, ...] = ()
    data: EvaluatedData | None
    arguments: dict[str, Any]
    versions: dict[str, str]
    hardware: Hardware | None
    git: GitState | None
    latency: Timing | None
    throughput: ThroughputTiming | None
    gflops_imgsz: int | None
    pairing: Pairing

    @property
    def baseline(self) -> ModelResult | None:
        """The baseline, None if it has no finished run."""
        return next((model for model in self.models if model.role == "baseline"), None)

    @property
    def compared(self) -> Sequence[ModelResult]:
        """The models with a difference to the baseline."""
        return [model for model in self.models if model.effect]

    @property
    def failed(self) -> dict[str, str]:
        """The reasons of the runs that failed, by name of the run."""
        return {run.run: run.reason for run in self.missing if run.reason}


def class_metric(name: str) -> str:
    """Return the name of the metric that is COCO's AP of the class ``name``."""
    return f"AP[{name}]"


def class_of(metric: str) -> str | None:
    """Return the class whose AP a metric is; None for a metric of all classes."""
    return metric[3:-1] if metric.startswith("AP[") else None
