"""Edit, check and draw model YAMLs, and derive control models from them."""
