"""Words from the network to values: a model and an index of photos behind HTTP, with a page of its own."""
