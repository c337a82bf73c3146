"""The contract of a layer, run on the blocks that ``--block`` names."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from ..registry import BlockSpec
from . import export_contract, layer_contract, model_contract, option_contract, precision_contract
from .block_inputs import BrokenContractError
from .pytest_plugin import LAYOUT, SPECS

pytestmark = pytest.mark.filterwarnings(
    "default",  # whatever the settings in the folder are
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore::UserWarning",
    "ignore::torch.jit.TracerWarning",
)


def _number_type(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


training_and_eval = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
halves = pytest.mark.parametrize("dtype", precision_contract.HALVES, ids=_number_type)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test on each block; on none without the plugin."""
    specs = metafunc.config.stash.get(SPECS, [])
    metafunc.parametrize("spec", specs, ids=[spec.name for spec in specs])


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    torch.manual_seed(0)


@contextmanager
def on_this_cpu() -> Iterator[None]:
    """Skip the test if PyTorch lacks an operation for the number type on CPUs, which is no fault of the block."""
    try:
        yield
    except BrokenContractError as error:
        if "not implemented for" not in str(error):
            raise
        pytest.skip(str(error))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, *precision_contract.HALVES], ids=_number_type)
def test_keeps_shape_and_dtype(spec: BlockSpec, dtype: torch.dtype) -> None:
    with on_this_cpu():
        layer_contract.keeps_shape_and_dtype(spec, dtype)


@pytest.mark.parametrize("channels", layer_contract.WIDTHS)
def test_every_width_builds_or_is_refused(spec: BlockSpec, channels: int) -> None:
    layer_contract.builds_or_refuses(spec, channels)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (8, 8)], ids=["1x1", "2x2", "8x8"])
def test_trains_with_one_image(spec: BlockSpec, size: tuple[int, int]) -> None:
    layer_contract.trains_with_one_image(spec, size)


def test_every_parameter_learns(spec: BlockSpec) -> None:
    layer_contract.every_parameter_learns(spec)


def test_does_not_mix_samples_in_eval(spec: BlockSpec) -> None:
    layer_contract.does_not_mix_samples(spec)


@training_and_eval
def test_leaves_its_input_alone(spec: BlockSpec, training: bool) -> None:
    layer_contract.leaves_its_input_alone(spec, training)


def test_copies_pickles_and_reloads(spec: BlockSpec) -> None:
    layer_contract.copies_agree(spec)


def test_is_deterministic_in_eval(spec: BlockSpec) -> None:
    layer_contract.is_deterministic_in_eval(spec)


def test_right_after_ultralytics_sets_inplace(spec: BlockSpec) -> None:
    layer_contract.works_after_inplace_is_set(spec)


def test_keeps_nothing_from_forward(spec: BlockSpec) -> None:
    layer_contract.keeps_nothing_from_forward(spec)


def test_takes_no_name_that_ultralytics_uses(spec: BlockSpec) -> None:
    layer_contract.takes_no_reserved_name(spec)


def test_starts_as_the_identity_with_residual(spec: BlockSpec) -> None:
    layer_contract.starts_as_the_identity(spec)


@training_and_eval
def test_channels_last_agrees(spec: BlockSpec, training: bool, record_property: Callable[[str, object], None]) -> None:
    layout = precision_contract.agrees_in_channels_last(spec, training)
    record_property(LAYOUT, f"{spec.name}: a map in channels_last comes out in the {layout} layout")


@training_and_eval
@pytest.mark.parametrize("dtype", [torch.float32, *precision_contract.HALVES], ids=_number_type)
def test_large_inputs_stay_finite_under_autocast(spec: BlockSpec, dtype: torch.dtype, training: bool) -> None:
    with on_this_cpu():
        precision_contract.large_inputs_stay_finite_under_autocast(spec, dtype, training)


@halves
def test_large_inputs_stay_finite_in_a_half_model(spec: BlockSpec, dtype: torch.dtype) -> None:
    with on_this_cpu():
        precision_contract.large_inputs_stay_finite_in_a_half_model(spec, dtype)


@halves
def test_half_precision_stays_near_float32(spec: BlockSpec, dtype: torch.dtype) -> None:
    with on_this_cpu():
        precision_contract.half_precision_stays_near_float32(spec, dtype)


def test_refuses_unknown_options(spec: BlockSpec) -> None:
    option_contract.refuses_unknown_options(spec)


def test_ignores_no_option(spec: BlockSpec) -> None:
    option_contract.no_option_is_ignored(spec)


def test_exports_to_torchscript(spec: BlockSpec) -> None:
    export_contract.torchscript_agrees(spec)


def test_exports_to_onnx(spec: BlockSpec) -> None:
    missing = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"needs pip install {' '.join(missing)}")
    export_contract.onnx_agrees(spec)


def test_trains_in_a_model(spec: BlockSpec, tmp_path: Path) -> None:
    if not model_contract.has_place(spec):
        pytest.skip("reads the maps of another block; test that one in a model")
    model_contract.trains_in_a_model(spec, tmp_path)


def test_fuses_saves_and_loads_in_a_model(spec: BlockSpec, tmp_path: Path) -> None:
    if not model_contract.has_place(spec):
        pytest.skip("reads the maps of another block; test that one in a model")
    model_contract.fuses_saves_and_loads(spec, tmp_path)
