"""Photos found by words: their vectors in a folder of its own, and what is asked of them."""
