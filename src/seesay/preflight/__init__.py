"""A run examined before it starts: its pairs, memory, time, and whether it can learn. `seesay doctor`."""
