"""Pages made from benchmarks/, docs/decisions, recipes/ and what is installed."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

from seesay.model.known_models import KNOWN, PACKAGED
from seesay.model.open_clip_names import OPEN_CLIP

ROOT = Path(__file__).resolve().parents[2]
MOST_LETTERS = 60  # of a licence in one cell (a guess): above it is a text and no name


def benchmark_pages(root: Path) -> dict[str, str]:
    """Path in the repository -> path on the site, of every page of benchmarks/."""
    pages = {}
    for path in sorted((root / "benchmarks").rglob("*.md")):
        name = path.relative_to(root).as_posix()
        folder = path.parent.name
        if name == "benchmarks/README.md":
            pages[name] = "benchmarks/index.md"
        elif path.name == "README.md":
            pages[name] = f"benchmarks/{folder}.md"
        else:
            pages[name] = f"benchmarks/details/{folder}-{path.stem}.md"
    return pages


def detail_list(root: Path) -> dict[str, str]:
    """The list of details that belong to a folder of benchmarks/, where there are any."""
    details = sorted(target for target in benchmark_pages(root).values() if "/details/" in target)
    lines = ["# Tables in full", "", "What is too long for the page of its folder.", ""]
    lines += [f"- [{Path(target).stem}]({Path(target).name})" for target in details]
    return {"benchmarks/details/index.md": "\n".join(lines) + "\n"}


def decision_list(folder: Path) -> str:
    """The decisions in order."""
    lines = ["# Decisions", "", "Why things are as they are, one note for each larger choice.", ""]
    for path in sorted(folder.glob("0*.md")):
        title = path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        lines.append(f"- [{title}]({path.name})")
    return "\n".join(lines) + "\n"


def recipe_page(folder: Path) -> str:
    """Every recipe as it stands, with the comment at its top as its text."""
    lines = [
        "# Recipes",
        "",
        "Files of settings that come with the repository. [Settings](settings.md) says what each key does.",
    ]
    for path in sorted(folder.glob("*.toml")):
        lines += ["", f"## {path.name}", "", "```toml", path.read_text(encoding="utf-8").rstrip(), "```"]
    return "\n".join(lines) + "\n"


def licence_page() -> str:
    """The licences of the package, its dependencies as they are installed, the weights in it and those with a name."""
    lines = [
        "# Licences",
        "",
        "seesay is under the MIT licence. What it needs, and what it can fetch, has licences of its own.",
        "",
    ]
    lines += [
        "## Packages that it needs",
        "",
        "As their own metadata say, in the versions that this site was built with.",
        "",
    ]
    lines += ["| package | version | licence | for |", "|---|---|---|---|"]
    lines += [_package(requirement, extra) for requirement, extra in _direct()]
    lines += ["", "They need others in turn; `make sbom` writes the full list of a release with its licences."]
    lines += [
        "",
        "## Models",
        "",
        "A licence is what was seen on the model's card, which decides.",
        "",
        "| name | where | licence |",
    ]
    lines += ["|---|---|---|"]
    lines += [f"| {name} | in the package | [research use only](box.md) |" for name in PACKAGED]
    lines += [f"| {name} | `{known.repository}` | {known.licence} |" for name, known in KNOWN.items()]
    lines += ["", f"The {len(OPEN_CLIP)} names of open_clip (`seesay models --all`) have the licences of their cards."]
    lines += [
        "",
        "## Images",
        "",
        "The photographs of the examples come with scikit-image, the handwriting with scikit-learn; neither is in",
    ]
    lines += ["this repository. Label sets and words of prompts name their source in the file."]
    return "\n".join(lines) + "\n"


def _direct() -> list[tuple[Requirement, str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = [(Requirement(line), "always") for line in project["dependencies"]]
    for extra, lines in project["optional-dependencies"].items():
        found += [(Requirement(line), f"extra `{extra}`") for line in lines if not line.startswith("seesay")]
    seen: dict[str, tuple[Requirement, str]] = {}
    for requirement, extra in found:
        seen.setdefault(requirement.name.lower(), (requirement, extra))
    return list(seen.values())


def _package(requirement: Requirement, extra: str) -> str:
    try:
        about = importlib.metadata.metadata(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return f"| {requirement.name} | not installed here | see its page | {extra} |"
    said = about.get("License-Expression") or about.get("License") or ""
    is_text = not about.get("License-Expression") and len(said) > MOST_LETTERS
    if not said or is_text or said == "UNKNOWN":
        kinds = [
            line.rpartition(" :: ")[2] for line in about.get_all("Classifier") or () if line.startswith("License ::")
        ]
        said = ", ".join(kinds) or re.split(r"\n", said)[0][:MOST_LETTERS] or "not named"
    return f"| {requirement.name} | {about['Version']} | {' '.join(said.split())} | {extra} |"
