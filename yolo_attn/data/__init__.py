"""Data sets: the embedded handwritten digits and COCO JSON to YOLO labels. Imports neither torch nor Ultralytics."""
