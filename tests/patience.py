"""How long a test waits for what has to happen: longer than a machine with other work needs, below its timeout.

How fast it happens on a free machine is measured in `benchmarks/` and not here.
"""

PATIENCE = 300.0
"""Seconds."""
