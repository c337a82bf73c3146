"""What each model of an experiment costs: ``cost.json``."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from .records import Hardware
from .storage import File, Part

Measured = Annotated[float, Meta(gt=0, le=1e15)]


class Spread(Part, frozen=True):
    """Median, 10th and 90th percentile over the rounds of a measurement; all are above 0.

    Attributes:
        median: The median.
        p10: The 10th percentile.
        p90: The 90th percentile.
    """

    median: Measured
    p10: Measured
    p90: Measured

    def __post_init__(self) -> None:
        """Refuse percentiles that are not in order.

        Raises:
            ValueError: Gives the three numbers.
        """
        if not self.p10 <= self.median <= self.p90:
            raise ValueError(f"10th percentile {self.p10}, median {self.median}, 90th percentile {self.p90}")

    def scaled(self, factor: float) -> Spread:
        """Return the spread of the values times ``factor``."""
        return Spread(factor * self.median, factor * self.p10, factor * self.p90)


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
        latency_ms: Milliseconds of one image. ``cost.json`` has the model's own rounds. ``results.json`` has, as the
            report, the baseline's median times ``latency_ratio``, and null if the machine was busy.
        latency_ratio: Latency over the baseline's, round by round; null without the baseline.
        images_per_s: Images per second in batches, in the same way.
        throughput_ratio: Throughput over the baseline's, round by round; null without the baseline.
    """

    run: str
    parameters: int
    gflops: float
    latency_ms: Spread | None
    latency_ratio: Spread | None
    images_per_s: Spread | None
    throughput_ratio: Spread | None


class Costs(File, frozen=True, kw_only=True):
    """The costs of the models, all measured in one process.

    Attributes:
        models: The costs by name of the model.
        gflops_imgsz: Height and width of the image whose operations are counted, in pixels.
        latency: How the latency was timed.
        throughput: How the throughput was timed.
        latency_check: The baseline is timed twice in each round; its second latency over its first. 1, unless the
            machine was busy. Null without the baseline.
        throughput_check: The same for the throughput.
        versions: Version of each package that computes.
        hardware: The machine.
    """

    models: dict[str, ModelCost]
    gflops_imgsz: int
    latency: Timing
    throughput: ThroughputTiming
    latency_check: Spread | None = None
    throughput_check: Spread | None = None
    versions: dict[str, str]
    hardware: Hardware
