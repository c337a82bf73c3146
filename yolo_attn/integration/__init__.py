"""The one package that touches Ultralytics' internals.

``install()`` teaches Ultralytics the layers of the registry: it wraps functions of Ultralytics. The start-up hook calls
it in every process. Where to find what:

``patches/``   the wrappers, one file for each wrapped function of Ultralytics, named after it
               ``import_hook``: waits for Ultralytics to be imported · ``wrapped_functions``: the list ·
               ``startup/``: the files that the installer puts beside the package
``weights/``   pretrained weights
               ``loading``: load weights with the layers aligned · ``transfer_outcome``: which tensors arrived ·
               ``weight_sources``: which weights came from where · ``checkpoint_transfer``: ``yolo_attn.transfer`` ·
               ``freezing``: ``freeze`` · ``learning_rates``: ``new_lr_mult``
``queries/``   what the rest of the project asks of Ultralytics; nothing here changes its behaviour
               model YAMLs: ``model_graph`` (layers, channels, strides), ``row_sources`` (``from``), ``row_arguments``,
               ``row_checks``, ``yaml_files``, ``layer_types``, ``model_layers`` (for the alignment), ``model_sizes``,
               ``gflops_count`` ·
               data: ``data_sets``, ``data_fingerprint`` ·
               trainings: ``training_arguments`` (those that we add), ``seed_pairing``, ``thread_limit``,
               ``tracker_project``, ``run_folder``, ``checkpoints``, ``validation`` ·
               exports: ``export_limits`` (what a format cannot do), ``export_verification`` (``verify=True``),
               ``output_differences``, ``export_tolerances``, ``forward_timing``, ``openvino_models``, ``onnx_on_gpu`` ·
               the ``yolo`` command line: ``yolo_command``, ``ultralytics_arguments``, ``ultralytics_versions``
``strict_mode``  the switch that extends this package's rules to stock models

A stock model has no layer of the registry. Outside strict mode it gets Ultralytics' own behaviour, byte for byte.
"""


def install() -> None:
    """Teach this process's Ultralytics the layers, now or as soon as it is imported. Calling it again changes nothing.

    The start-up hook does the same by itself unless ``YOLO_ATTN_AUTOLOAD=0``.
    """
    guard_names()
    from .patches import import_hook  # start-up time

    import_hook.arm()


def uninstall() -> None:
    """Restore Ultralytics as it was before :func:`install`, in this process."""
    import sys

    from .patches import import_hook  # start-up time

    import_hook.disarm()
    wrapped_functions = sys.modules.get(f"{__name__}.patches.wrapped_functions")
    if wrapped_functions is not None:
        wrapped_functions.undo()


def guard_names() -> None:
    """Make the registry refuse names that Ultralytics uses."""
    from .. import registry  # start-up time
    from .queries import layer_types  # start-up time

    registry.add_name_check(layer_types.owner_in_ultralytics)
