"""Make data sets: the embedded handwritten digits, and COCO JSON to YOLO labels. No torch, no Ultralytics."""

SPLITS = ("train", "val", "test")
