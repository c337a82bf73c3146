"""How much of a Ray cluster one run gets. Imports no Ray."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import ArgumentError

FEWEST = 4  # CPUs of a run without a GPU, where a node has them


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the cluster: its name and what it has in all."""

    id: str
    name: str
    cpus: float
    gpus: float

    def fits(self, cpus: float, gpus: float) -> bool:
        """Return whether it could ever take a run."""
        return self.cpus >= cpus and self.gpus >= gpus

    def __str__(self) -> str:
        return f"{self.name}: {self.cpus:g} CPU, {self.gpus:g} GPU"


def nodes(ray: Any) -> list[Node]:
    """Return the nodes that are alive."""
    found = [(node, node.get("Resources", {})) for node in ray.nodes() if node.get("Alive")]
    return [
        Node(node["NodeID"], node["NodeManagerHostname"], has.get("CPU", 0.0), has.get("GPU", 0.0))
        for node, has in found
    ]


def read_gpus(given: str | float | None) -> float | None:
    """Return ``gpus_per_run`` as a number.

    Raises:
        ArgumentError: If it is none above 0 and up to 1.
    """
    if given is None:
        return None
    gpus = _number("gpus_per_run", given, "e.g. 0.5: two runs share a GPU")
    if gpus > 1:
        raise ArgumentError(
            f"gpus_per_run={given} must be at most 1; one run over several GPUs is Ultralytics' device=0,1 "
            "and goes without engine=ray"
        )
    return gpus


def read_cpus(given: str | float | None) -> float | None:
    """Return ``cpus_per_run`` as a number.

    Raises:
        ArgumentError: If it is none above 0, or above 1 and not whole, which Ray does not take.
    """
    if given is None:
        return None
    cpus = _number("cpus_per_run", given, "e.g. 4")
    if cpus > 1 and cpus != int(cpus):
        raise ArgumentError(f"cpus_per_run={given} must be a whole number, e.g. {int(cpus)}")
    return cpus


def check_device(device: Any, gpus: float | None) -> None:
    """Refuse a recipe that names GPUs: Ray chooses them, and Ultralytics before 8.4 would take them from it.

    Raises:
        ArgumentError: If it does, or if it excludes the GPUs that are asked for.
    """
    text = "" if device is None else str(device).strip()
    if text in ("cpu", "mps"):
        if gpus is not None:
            raise ArgumentError(f"gpus_per_run={gpus:g} contradicts device={text}; leave one of them out")
    elif text:
        several = "," in text
        raise ArgumentError(
            f"device={text} cannot be used with engine=ray, which gives each run a GPU of its own; "
            + ("leave engine= out to train over several GPUs" if several else "leave device= out, see gpus_per_run=")
        )


def share(
    nodes: Sequence[Node], runs: int, device: Any = None, cpus: float | None = None, gpus: float | None = None
) -> tuple[float, float]:
    """Return the CPUs and GPUs of one run.

    Args:
        nodes: The nodes of the cluster.
        runs: How many runs there are.
        device: The recipe's ``device``.
        cpus: What was asked for, if anything was.
        gpus: Likewise.

    Raises:
        ArgumentError: If no node could ever take such a run; says what they have.
    """
    if gpus is None:
        gpus = 1.0 if str(device) not in ("cpu", "mps") and any(node.gpus >= 1 for node in nodes) else 0.0
    if cpus is None:
        cpus = _cpus([node for node in nodes if node.gpus >= gpus and node.cpus > 0], runs, gpus)
    if not any(node.fits(cpus, gpus) for node in nodes):
        has = "; ".join(map(str, nodes))
        raise ArgumentError(f"engine=ray: no node has {cpus:g} CPU and {gpus:g} GPU for a run; the cluster has {has}")
    return cpus, gpus


def _cpus(nodes: Sequence[Node], runs: int, gpus: float) -> float:
    """Divide the CPUs of ``nodes`` among the runs that have room at once."""
    if not nodes:
        return 1.0
    if gpus:  # as many runs as the GPUs of a node take
        return max(1.0, min(node.cpus // (max(1, math.floor(node.gpus)) * math.floor(1 / gpus)) for node in nodes))
    smallest = max(1.0, min(node.cpus for node in nodes) // 1)
    return float(min(smallest, max(FEWEST, sum(node.cpus for node in nodes) // max(1, runs))))


def _number(word: str, given: str | float, example: str) -> float:
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise ArgumentError(f"{word}={given} must be a number above 0, {example}")
    return value
