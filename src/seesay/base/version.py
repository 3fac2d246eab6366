"""The version of the package, and the folder that holds it."""

from pathlib import Path

__version__ = "0.1.0"

# What a child process needs on its path to import the same package.
IMPORT_PATH = Path(__file__).resolve().parents[2]
