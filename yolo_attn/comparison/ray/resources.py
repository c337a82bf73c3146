"""Decide how many CPUs and GPUs of a Ray cluster a run gets. Imports no Ray."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import ArgumentError

FEWEST = 4  # CPUs of a run without a GPU, if a node has them


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the cluster: its name, and all its CPUs and GPUs."""

    id: str
    name: str
    cpus: float
    gpus: float

    def fits(self, cpus: float, gpus: float) -> bool:
        """Return whether it has the resources for a run."""
        return self.cpus >= cpus and self.gpus >= gpus

    def __str__(self) -> str:
        return f"{self.name}: {self.cpus:g} CPU, {self.gpus:g} GPU"


def nodes(ray: Any) -> list[Node]:
    """Return the nodes that are alive."""
    return [
        Node(
            node["NodeID"], node["NodeManagerHostname"], *(node["Resources"].get(kind, 0.0) for kind in ("CPU", "GPU"))
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def read_gpus(given: str | float | None) -> float | None:
    """Return ``gpus_per_run`` as a number.

    Raises:
        ArgumentError: If it is not above 0 and at most 1.
    """
    gpus = _number("gpus_per_run", given, "e.g. 0.5: two runs share a GPU")
    if gpus is not None and gpus > 1:
        raise ArgumentError(
            f"gpus_per_run={given} must be at most 1; to train one run on several GPUs, use device=0,1 "
            "without engine=ray"
        )
    return gpus


def read_cpus(given: str | float | None) -> float | None:
    """Return ``cpus_per_run`` as a number.

    Raises:
        ArgumentError: If it is not above 0, or above 1 and not a whole number, which Ray refuses.
    """
    cpus = _number("cpus_per_run", given, "e.g. 4")
    if cpus is not None and cpus > 1 and cpus != int(cpus):
        raise ArgumentError(f"cpus_per_run={given} must be a whole number, e.g. {int(cpus)}")
    return cpus


def check_device(device: Any, gpus: float | None) -> None:
    """Check that ``device`` leaves the choice of GPUs to Ray; Ultralytics before 8.4 would override it.

    Raises:
        ArgumentError: If ``device`` names GPUs, or excludes them while ``gpus`` asks for some.
    """
    text = "" if device is None else str(device).strip()
    if text in ("cpu", "mps"):
        if gpus is not None:
            raise ArgumentError(f"gpus_per_run={gpus:g} contradicts device={text}; omit one of them")
    elif text:
        several = "," in text
        raise ArgumentError(
            f"device={text} cannot be used with engine=ray, which gives each run a GPU of its own; "
            + ("omit engine= to train on several GPUs" if several else "omit device=, see gpus_per_run=")
        )


def share(
    nodes: Sequence[Node], runs: int, device: Any = None, cpus: float | None = None, gpus: float | None = None
) -> tuple[float, float]:
    """Return the CPUs and GPUs of one run.

    Args:
        nodes: The nodes of the cluster.
        runs: How many runs there are.
        device: The training's ``device``.
        cpus: ``cpus_per_run``.
        gpus: ``gpus_per_run``.

    Raises:
        ArgumentError: If no node has these resources; says what the nodes have.
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
    """Divide the CPUs of ``nodes`` among the runs that fit at once."""
    if not nodes:
        return 1.0
    if gpus:  # as many runs as a node's GPUs take
        return max(1.0, min(node.cpus // (max(1, math.floor(node.gpus)) * math.floor(1 / gpus)) for node in nodes))
    smallest = max(1.0, min(node.cpus for node in nodes) // 1)
    return float(min(smallest, max(FEWEST, sum(node.cpus for node in nodes) // max(1, runs))))


def _number(name: str, given: str | float | None, example: str) -> float | None:
    if given is None:
        return None
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise ArgumentError(f"{name}={given} must be a number above 0, {example}")
    return value
