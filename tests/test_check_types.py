"""What the type checker looks at again: what changed, and all that imports it."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = {
    "house/__init__.py": "from house.door import enter\n",
    "house/ground.py": "import os\n",
    "house/room/__init__.py": "",
    "house/room/wall.py": "def paint():\n    from house.ground import colour\n",
    "house/room/bed.py": "from . import wall\n",
    "house/door.py": "from house.room import bed\n",
    "house/window.py": "import house.ground\n",
    "house/key.py": "import re\n",
}


@pytest.fixture(scope="module")
def check_types():
    found = importlib.util.spec_from_file_location("check_types", ROOT / "tools" / "check_types.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def changed_by(check_types, folder: Path, name: str) -> set[str]:
    """The files whose digests another line in `name` changes."""
    for file, text in FILES.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
    before = check_types.digests(folder)
    (folder / name).write_text(FILES[name] + "more = 1\n")
    after = check_types.digests(folder)
    return {file.relative_to(folder).as_posix() for file in after if after[file] != before[file]}


@pytest.mark.parametrize(
    ("name", "again"),
    [
        ("house/key.py", {"house/key.py"}),
        ("house/door.py", {"house/door.py", "house/__init__.py", "house/window.py"}),
        ("house/room/bed.py", {"house/room/bed.py", "house/door.py", "house/__init__.py", "house/window.py"}),
        ("house/ground.py", FILES.keys() - {"house/key.py", "house/room/__init__.py"}),
    ],
)
def test_a_file_is_checked_again_with_all_that_import_it_and_no_other(check_types, tmp_path: Path, name, again):
    assert changed_by(check_types, tmp_path, name) == again


def test_another_checker_checks_everything_again(check_types, tmp_path: Path):
    (tmp_path / "a.py").write_text("")
    assert check_types.digests(tmp_path, b"pyright 1") != check_types.digests(tmp_path, b"pyright 2")


def test_only_what_changed_is_given_to_the_checker_and_nothing_is_remembered_of_what_fails(
    check_types, tmp_path: Path, monkeypatch
):
    for name in (*check_types.LOCKS, "src/a.py", "src/b.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "pyproject.toml").write_text("[tool.pyright]")
    given, codes = [], iter([0, 1, 0])

    def run(command, **_):
        given.append([Path(word).name for word in command[5:]])
        return check_types.subprocess.CompletedProcess(command, next(codes))

    monkeypatch.setattr(check_types.subprocess, "run", run)
    for name, value in {"ROOT": tmp_path, "SOURCE": tmp_path / "src", "PASSED": tmp_path / "passed"}.items():
        monkeypatch.setattr(check_types, name, value)
    assert check_types.main() == 0 and given == [[]]
    assert check_types.main() == 0 and given == [[]]
    (tmp_path / "src/b.py").write_text("x = 1")
    assert check_types.main() == 1 and check_types.main() == 0
    assert given[1:] == [["b.py"], ["b.py"]]
