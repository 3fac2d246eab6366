"""Many tasks on many sets, one report."""
