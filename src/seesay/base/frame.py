"""The frame of every page that is written as one HTML file: its policy, and how it looks by day and by night."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Template

FRAME = Path(__file__).with_name("frame.html")


def page_template(file: Path = FRAME) -> "Template":
    """A template that may extend "frame.html"; the frame by itself takes `title` and `body`. All text is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([file.parent, FRAME.parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(file.name)
