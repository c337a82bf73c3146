"""What ``yolo_attn.pth`` and ``yolo_attn.start`` call at interpreter start.

Installed beside them, outside the package: where an editable install's folder is gone it still imports, silently.
"""


def start() -> None:
    """Arm the import hook, if the package is there."""
    try:
        from yolo_attn.integration.patches.hook import at_startup
    except ImportError:
        return
    at_startup()
