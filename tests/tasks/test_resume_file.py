import json
import subprocess
import sys
from pathlib import Path

import pytest
from systems import needs_locks

from seesay.base.errors import RefusedInput, StorageError, UsageError
from seesay.tasks.resume_file import ResumeFile

ASKED = {"labels": ("cat", "dog"), "top": 5}
ROWS = [[f"{number}.jpg", [0, 1], [0.1 + number, 1 / 3], None] for number in range(10)]


def part_file(folder: Path, *, asked=ASKED, force: bool = False) -> ResumeFile:
    return ResumeFile(folder / "out.csv", asked, count=10, block=4, force=force)


def half(folder: Path) -> Path:
    """Two blocks of three, as a kill leaves them."""
    with part_file(folder) as part:
        part.append(ROWS[:4])
        part.append(ROWS[4:8])
    return folder / "out.csv.part"


def test_rows_come_back_as_they_were_and_the_file_goes_when_it_is_done(tmp_path: Path):
    with part_file(tmp_path) as part:
        for first in (0, 4, 8):
            part.append(ROWS[first : first + 4])
        assert part.done == 10
        assert list(part.rows()) == ROWS
        part.remove()
    assert list(tmp_path.iterdir()) == []


def test_the_same_work_goes_on_after_the_whole_blocks(tmp_path: Path):
    half(tmp_path)
    with part_file(tmp_path) as part:
        assert part.done == 8
        part.append(ROWS[8:])
        assert list(part.rows()) == ROWS


def test_wherever_the_file_was_cut_it_goes_on_with_what_is_whole(tmp_path: Path):
    whole = half(tmp_path).read_bytes()
    ends = [place + 1 for place, byte in enumerate(whole) if byte == ord("\n")]
    for cut in [0, 5, *(end + shift for end in ends[:-1] for shift in (-1, 0, 1, 7))]:
        (tmp_path / "out.csv.part").write_bytes(whole[:cut] + b"\0" * (cut % 3))
        with part_file(tmp_path) as part:
            lines = sum(end <= cut for end in ends) - 1
            assert part.done == (4 if 4 <= lines < 8 else 0)
            part.append(ROWS[part.done :])
            assert list(part.rows()) == ROWS


def test_all_rows_are_kept_where_the_last_block_is_a_short_one(tmp_path: Path):
    with part_file(tmp_path) as part:
        part.append(ROWS)
    with part_file(tmp_path) as part:
        assert part.done == 10


def test_other_work_is_refused_with_the_difference_and_left_alone(tmp_path: Path):
    path = half(tmp_path)
    before = path.read_bytes()
    with pytest.raises(UsageError, match=r'labels: \["cat", "dog"\] -> \["cat"\]; .* force'):
        part_file(tmp_path, asked=ASKED | {"labels": ["cat"]}).__enter__()
    assert path.read_bytes() == before


def test_other_work_begins_anew_by_force(tmp_path: Path):
    half(tmp_path)
    with part_file(tmp_path, asked={"top": 1}, force=True) as part:
        assert part.done == 0
        assert list(part.rows()) == []
    assert json.loads((tmp_path / "out.csv.part").read_text().splitlines()[0])["top"] == 1


def test_a_file_that_is_none_of_ours_is_not_overwritten(tmp_path: Path):
    (tmp_path / "out.csv.part").write_text("a book, half of it")
    with pytest.raises(RefusedInput, match="no part file of seesay"):
        part_file(tmp_path).__enter__()
    assert (tmp_path / "out.csv.part").read_text() == "a book, half of it"


@needs_locks
def test_two_processes_do_not_write_one_file(tmp_path: Path):
    held = "import fcntl, sys; f = open(sys.argv[1], 'a'); fcntl.flock(f, 2); print(flush=True); sys.stdin.read()"
    path = half(tmp_path)
    with subprocess.Popen([sys.executable, "-c", held, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(StorageError, match="in use by another process"):
            part_file(tmp_path).__enter__()
        other.communicate()
    with part_file(tmp_path) as part:
        assert part.done == 8


def test_work_that_fails_before_its_first_row_leaves_nothing(tmp_path: Path):
    with pytest.raises(ValueError, match="no such luck"), part_file(tmp_path):
        raise ValueError("no such luck")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises((UsageError, StorageError), match=r"out\.csv\.part cannot be written"):
        ResumeFile(tmp_path / "file" / "out.csv", ASKED, count=1, block=1).__enter__()
