"""``yolo-attn diagram``: a model drawn as its graph."""
