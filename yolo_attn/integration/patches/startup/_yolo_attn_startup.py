"""Start the import hook. ``yolo_attn.pth`` and ``yolo_attn.start`` call this at interpreter start.

It is installed beside them, outside the package, so that it imports without an error even if the folder of an editable
install is gone.
"""


def start() -> None:
    """Arm the import hook, if the package exists."""
    try:
        from yolo_attn.integration.patches.import_hook import at_startup
    except ImportError:
        return
    at_startup()
