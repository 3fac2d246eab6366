"""The lock files hold what pyproject.toml asks for, each package once and each file by its SHA-256."""

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
LOCKS = [ROOT / "constraints.txt", *sorted((ROOT / "locks").glob("*.txt"))]


def blocks(path):
    """(package, version, its lines) of a lock file."""
    found = [block for block in re.split(r"\n(?=\S)", path.read_text()) if re.match("[a-z0-9]", block)]
    return [(*re.match(r"([a-z0-9-]+)==([^ \\]+)", block).groups(), block) for block in found]


def versions(*names):
    return {name: version for lock in names for name, version, _ in blocks(ROOT / lock)}


def asked_by(extra):
    """What an extra asks for, those of the package itself and of the extras that it names included."""
    listed = [Requirement(line) for line in EXTRAS.get(extra, PROJECT["project"]["dependencies"])]
    others = [name for requirement in listed if requirement.name == "seesay" for name in requirement.extras]
    own = [requirement for requirement in listed if requirement.name != "seesay"]
    return own + [requirement for name in others for requirement in asked_by(name)]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_package_of_a_lock_has_a_version_and_the_sha_256_of_its_files(lock):
    assert blocks(lock)
    for name, _, block in blocks(lock):
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", block), name
        assert len(block.splitlines()) == 1 + block.count("--hash="), name


@pytest.mark.parametrize("extra", ["", *EXTRAS])
def test_the_lock_of_an_extra_holds_what_it_asks_for(extra):
    held = versions("locks/cuda.txt", "locks/seesay.txt", *([f"locks/{extra}.txt"] if extra else []))
    missing = [str(one) for one in asked_by(extra) if held.get(one.name.lower(), "") not in one.specifier]
    assert not missing, "run `make lock`"


def test_what_make_installs_holds_what_it_builds_with():
    held = versions("constraints.txt", "locks/cpu.txt")
    built = [Requirement(line) for line in PROJECT["build-system"]["requires"]]
    asked = [*built, *asked_by(""), *asked_by("dev"), *asked_by("demo")]
    missing = [str(one) for one in asked if not one.specifier.contains(held.get(one.name.lower(), ""))]
    assert not missing, "run `make lock`"


def test_the_image_has_what_runs_and_nothing_of_tests_and_builds():
    first, second = (ROOT / "Dockerfile").read_text().split("\nFROM ")[1:]
    assert re.findall(r"\w+\.txt", first) == ["build.txt", "build.txt"]
    held = versions(*(f"locks/{name}" for name in re.findall(r"\w+\.txt", second)), "locks/seesay.txt")
    asked = [
        *asked_by(""),
        *(one for extra in ("curate", "onnx", "photos", "search", "serve") for one in asked_by(extra)),
    ]
    assert not [str(one) for one in asked if not one.specifier.contains(held.get(one.name.lower(), ""))]
    others = versions("constraints.txt").keys() - held.keys()
    assert {"pytest", "hypothesis", "ruff", "pyright", "import-linter", "hatchling"} <= others
    built = versions("locks/build.txt")
    missing = [
        one for one in map(Requirement, PROJECT["build-system"]["requires"]) if built.get(one.name) not in one.specifier
    ]
    assert not missing, "run `make lock`"


def test_a_package_has_one_version_in_all_locks():
    found = {}
    for lock in LOCKS:
        for name, version, _ in blocks(lock):
            found.setdefault(name, set()).add(version.removesuffix("+cpu"))
    assert {name: several for name, several in found.items() if len(several) > 1} == {}


FLAW = {"id": "PYSEC-1", "fix_versions": ["2.0"]}


@pytest.mark.parametrize(
    ("dependencies", "code", "line"),
    [
        ([{"name": "a", "version": "1", "vulns": []}], 0, "1 of 1 packages asked for, 0 vulnerabilities known"),
        ([{"name": "a", "version": "1", "vulns": [FLAW]}], 1, "a 1: PYSEC-1, fixed in 2.0"),
        ([{"name": "a", "skip_reason": "not found"}], 3, "not audited: 1 packages: not found; run this where"),
        ([{"name": "a", "skip_reason": "no"}, {"name": "b", "version": "1", "vulns": [FLAW]}], 1, "b 1: PYSEC-1"),
    ],
)
def test_an_audit_that_could_not_ask_is_not_clean(dependencies, code, line):
    """pip-audit itself ends with 0 and "No known vulnerabilities found" where its database knew no package at all."""
    found = importlib.util.spec_from_file_location("audit", ROOT / "tools" / "audit.py")
    audit = importlib.util.module_from_spec(found)
    found.loader.exec_module(audit)
    ended, lines = audit.report(dependencies)
    assert ended == code and any(text.startswith(line) for text in lines)
