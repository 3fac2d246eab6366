"""The reference of the package: one page per public name, by mkdocstrings, with an example that the tests run."""

import re

import seesay

GROUPS = {
    "Functions": lambda value: callable(value) and not isinstance(value, type),
    "Classes": lambda value: isinstance(value, type) and not issubclass(value, Exception),
    "Errors": lambda value: isinstance(value, type) and issubclass(value, Exception),
}


def example_blocks(text: str) -> dict[str, str]:
    """Heading -> what stands below it, of `docs/python-examples.md`."""
    parts = re.split(r"^## (\w+)\n", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], (part.strip() for part in parts[1::2]), strict=True))


def python_pages(examples: dict[str, str]) -> dict[str, str]:
    """Path -> text: the list of names, and a page for each."""
    lines = [
        "# The package",
        "",
        "`import seesay` brings these names and loads what is behind them when they are used.",
    ]
    pages = {}
    for title, belongs in GROUPS.items():
        lines += ["", f"## {title}", "", "| name | what it is |", "|---|---|"]
        for name in seesay.__all__:
            value = getattr(seesay, name)
            if belongs(value):
                first = re.split(r"\n\s*\n|(?<=[.;:]) (?=[A-Z`])", (value.__doc__ or "").strip())[0]
                page = page_of(name)
                lines.append(f"| [`{name}`]({page}) | {' '.join(first.split()).replace('|', chr(92) + '|')} |")
                pages[f"reference/python/{page}"] = _page(name, examples.get(name, ""))
    return {"reference/python/index.md": "\n".join(lines) + "\n", **pages}


def page_of(name: str) -> str:
    """The page of a public name below reference/python, in folders: some disks take `Audit` and `audit` for one."""
    (title,) = (title for title, belongs in GROUPS.items() if belongs(getattr(seesay, name)))
    return f"{title.lower()}/{name}.md"


def _page(name: str, example: str) -> str:
    path = f"seesay.{seesay._MODULES[name]}.{name}"
    return f"# seesay.{name}\n\n::: {path}\n    options:\n      show_root_heading: true\n\n## Example\n\n{example}\n"
