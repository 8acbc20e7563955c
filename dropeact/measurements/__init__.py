"""One phenomenon a file: what to read during a forward pass, and the labelled arrays it becomes."""
