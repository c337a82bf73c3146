"""Functions of Ultralytics that are wrapped, and the hook that wraps them."""
