"""Draw a model as its graph: ``yolo-attn diagram``."""
