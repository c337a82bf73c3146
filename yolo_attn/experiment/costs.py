"""What each model of an experiment costs: ``cost.json``."""

from __future__ import annotations

from typing import Literal

from .records import Hardware
from .storage import File, Part


class Spread(Part, frozen=True):
    """Median, 10th and 90th percentile over the rounds of a measurement.

    Attributes:
        median: The median.
        p10: The 10th percentile.
        p90: The 90th percentile.
    """

    median: float
    p10: float
    p90: float


class Timing(Part, frozen=True, kw_only=True):
    """How the models were timed.

    Attributes:
        imgsz: Height and width of the images in pixels.
        dtype: Type of the weights and images.
        device: Name of the processor or GPU.
        threads: Number of threads on a CPU, else null.
        batch: Images of a forward pass.
        rounds: Number of rounds; each round times every model once.
    """

    imgsz: int
    dtype: str
    device: str
    threads: int | None
    batch: int
    rounds: int


class ThroughputTiming(Timing, frozen=True, kw_only=True):
    """How the throughput was timed.

    Attributes:
        requested_batch: The batch of the training, or 16 if that is not a number.
        batch_limit: Why the batch is smaller than requested, ``time`` or ``memory``; null if it is not.
    """

    requested_batch: int
    batch_limit: Literal["time", "memory"] | None


class ModelCost(Part, frozen=True, kw_only=True):
    """The costs of one model.

    Attributes:
        run: The run whose checkpoint was measured.
        parameters: Number of parameters before fusing.
        gflops: Operations of one image in billions, a multiply-add as two.
        latency_ms: Milliseconds of one image.
        latency_ratio: Latency over the baseline's, round by round; null without the baseline.
        images_per_s: Images per second in batches.
        throughput_ratio: Throughput over the baseline's, round by round; null without the baseline.
    """

    run: str
    parameters: int
    gflops: float
    latency_ms: Spread
    latency_ratio: Spread | None
    images_per_s: Spread
    throughput_ratio: Spread | None


class Costs(File, frozen=True, kw_only=True):
    """The costs of the models, all measured in one process.

    Attributes:
        models: The costs by name of the model.
        gflops_imgsz: Height and width of the image whose operations are counted, in pixels.
        latency: How the latency was timed.
        throughput: How the throughput was timed.
        versions: Version of each package that computes.
        hardware: The machine.
    """

    models: dict[str, ModelCost]
    gflops_imgsz: int
    latency: Timing
    throughput: ThroughputTiming
    versions: dict[str, str]
    hardware: Hardware
