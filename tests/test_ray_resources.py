"""The choice of an engine, and the resources of a run on a cluster. Needs no Ray."""

from __future__ import annotations

import sys

import pytest

from yolo_attn.comparison import engines
from yolo_attn.comparison.engines import OneByOne
from yolo_attn.comparison.ray import resources
from yolo_attn.comparison.ray.resources import Node, check_device, share
from yolo_attn.errors import ArgumentError

pytestmark = pytest.mark.fast

SMALL, LARGE, GPUS = Node("a", "small", 8, 0), Node("b", "large", 64, 0), Node("c", "gpus", 16, 2)
HEAD = Node("d", "head", 0, 0)


@pytest.mark.parametrize("engine", [None, "one-by-one"])
def test_one_by_one_is_the_default(engine):
    assert isinstance(engines.choose_engine(engine), OneByOne)


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ({"engine": "raay"}, r"engine=raay .*'ray'"),
        ({"gpus_per_run": "0.5"}, r"gpus_per_run=0\.5 .*engine=ray"),
        ({"engine": "one-by-one", "address": "auto"}, r"address=auto .*engine=ray"),
        ({"engine": "ray", "gpus_per_run": "half"}, r"gpus_per_run=half .* 0\.5"),
        ({"engine": "ray", "gpus_per_run": "0"}, "gpus_per_run=0 "),
        ({"engine": "ray", "gpus_per_run": "nan"}, "gpus_per_run=nan "),
        ({"engine": "ray", "gpus_per_run": "2"}, "gpus_per_run=2 .* 1; .* device=0,1"),
        ({"engine": "ray", "cpus_per_run": "-1"}, "cpus_per_run=-1 "),
        ({"engine": "ray", "cpus_per_run": "2.5"}, r"cpus_per_run=2\.5 .* 2"),
    ],
)
def test_arguments_that_cannot_be_used(given, values):
    with pytest.raises(ArgumentError, match=values):
        engines.choose_engine(**given)


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ArgumentError, match=r'pip install "yolo-attn\[ray\]"$'):
        engines.choose_engine("ray")


@pytest.mark.parametrize("device", [None, "", "cpu", "mps"])
def test_devices_that_leave_the_choice_to_ray(device):
    check_device(device, None)


@pytest.mark.parametrize(
    ("device", "gpus", "line"),
    [
        ("cpu", 0.5, r"gpus_per_run=0\.5 contradicts device=cpu"),
        (0, None, r"device=0 .*engine=ray.*omit device="),
        ("cuda:1", 1, r"device=cuda:1 cannot be used with engine=ray"),
        ("0,1", None, r"device=0,1 .*engine=ray.*omit engine="),
        ([0, 1], None, r"device=\[0, 1\] .*engine=ray.*omit engine="),
    ],
)
def test_a_device_that_names_gpus_is_refused(device, gpus, line):
    with pytest.raises(ArgumentError, match=line):
        check_device(device, gpus)


@pytest.mark.parametrize(
    ("nodes", "runs", "given", "expected"),
    [
        ([SMALL], 4, {}, (4, 0)),  # at least four each
        ([SMALL], 1, {}, (8, 0)),  # one run has all
        ([LARGE], 4, {}, (16, 0)),
        ([SMALL, LARGE, HEAD], 2, {}, (8, 0)),  # of a size that fits on each node
        ([Node("e", "tiny", 2, 0)], 9, {}, (2, 0)),
        ([GPUS], 9, {}, (8, 1)),  # two GPUs, 16 CPUs
        ([GPUS, LARGE], 9, {"gpus": 0.5}, (4, 0.5)),
        ([GPUS], 9, {"gpus": 0.3}, (2, 0.3)),  # three share a GPU
        ([GPUS], 2, {"device": "cpu"}, (8, 0)),
        ([GPUS], 9, {"cpus": 1.0, "gpus": 0.5}, (1, 0.5)),
    ],
)
def test_the_share_of_a_run(nodes, runs, given, expected):
    assert share(nodes, runs, **given) == expected


def test_what_no_node_has_is_refused():
    with pytest.raises(ArgumentError, match=r"1 CPU and 1 GPU .* small: 8 CPU, 0 GPU; head: 0 CPU, 0 GPU$"):
        share([SMALL, HEAD], 3, gpus=1.0)
    with pytest.raises(ArgumentError, match="99 CPU and 0 GPU"):
        share([SMALL, LARGE], 3, cpus=99.0)


def test_nodes_that_are_alive():
    class Ray:
        def nodes():
            here = {"NodeID": "1", "NodeManagerHostname": "x", "Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0}}
            return [here, here | {"NodeID": "2", "Alive": False}, here | {"NodeID": "3", "Resources": {}}]

    assert resources.nodes(Ray) == [Node("1", "x", 4, 1), Node("3", "x", 0, 0)]
