"""The one package that touches Ultralytics' internals.

===================  ==================================================================================
``hook``             at interpreter start: waits, without importing anything, for Ultralytics to be imported
``patching``         the list of the functions that are wrapped, putting the wrappers in and taking them out
``layers``           the layers that are installed; who has which name
``parser``           ``parse_model`` with one more branch
``rows``             one row of a model YAML to constructor arguments
``checkpoints``      ``.pt`` files that hold our layers, or layers that are not installed
``pretrained``       weights that follow their layers, whatever the layers' numbers
``provenance``       which layers and parameters of a model came from which weights
``training``         those weights in a training: its words ``freeze``, ``new_lr_mult`` and ``partial``
``freezing``         layers that a training leaves as they are
``learning_rates``   another learning rate for what is new
``arguments``        the words that we add to those of ``yolo train``
``transfer``         the weights of a checkpoint in another model, as a checkpoint
``files``            model and data set YAMLs by bare name
``datasets``         data sets that are missing, images and labels that cannot be used
``ddp``              the processes that multi-GPU training starts
``evaluation``       predictions and ground truth of a validation; where a training stopped
``pairing``          the same images and augmentation for all models trained with one seed
``tracking``         the name of a project for experiment trackers
``sizes``            parameters and operations of a model YAML
``yolo``             the words of the ``yolo`` command, and calling it
``mistakes``         exceptions by which Ultralytics itself complains about input
``startup/``         the files that the installer puts beside the package
===================  ==================================================================================
"""


def install() -> None:
    """Teach this process's Ultralytics the layers, now if it is imported, else as soon as it is. Idempotent."""
    guard_names()
    from .patches import hook

    hook.arm()


def uninstall() -> None:
    """Take everything out of Ultralytics again that :func:`install` put in. Idempotent."""
    import sys

    from .patches import hook

    hook.disarm()
    patching = sys.modules.get(f"{__name__}.patches.patching")
    if patching is not None:
        patching.undo()


def guard_names() -> None:
    """Have the registry refuse names that Ultralytics has."""
    from .. import registry
    from .queries import layer_types

    registry.add_name_check(layer_types.owner_in_ultralytics)
