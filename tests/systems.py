"""Marks for tests of what not every system has: skipped where it is missing, with what is missing as the reason."""

import os
from importlib.util import find_spec

import pytest


def needs(has_it: object, reason: str) -> pytest.MarkDecorator:
    """A mark that skips a test with `reason`, unless this system has it."""
    return pytest.mark.skipif(not has_it, reason=reason)


needs_fork = needs(hasattr(os, "fork"), "this system has no fork")
needs_locks = needs(find_spec("fcntl") or find_spec("msvcrt"), "this system has no locks for files")
needs_limits = needs(find_spec("resource"), "this system does not limit what a process takes")
needs_folder_sync = needs(hasattr(os, "O_DIRECTORY"), "this system does not sync folders")
