"""``python -m yolo_attn`` is ``yolo-attn``."""

import sys

from .cli import main

sys.exit(main())
