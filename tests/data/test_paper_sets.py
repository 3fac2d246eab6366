"""Sets of the paper in their publishers' layouts: what is read of them, and what is said where they are otherwise."""

import io
import sys

import numpy as np
import pytest
from paper_layouts import paint, write_iiit5k, write_im2gps, write_memes, write_rareact, write_svhn, write_ucf101
from PIL import Image
from scipy.io import savemat

from seesay.base.errors import RefusedInput, SeesayError, UsageError
from seesay.data.class_names import known_set
from seesay.data.clips import frames_of
from seesay.data.evalsets import name_of_set, open_evalset, open_train_part
from seesay.data.paper_sets import files, is_paper_set, open_paper_set
from seesay.data.paper_sets.files import refuse_unpacked


def labels(found):
    return [found.label(index) for index in range(len(found))]


def pixel(data):
    return Image.open(io.BytesIO(data)).convert("RGB").getpixel((1, 1))


def test_iiit5k_has_a_lexicon_for_each_image_in_which_capitals_do_not_count(tmp_path):
    rows = [
        ("RED", "red", ["Red", "GREEN", "red", "blue"]),
        ("BLUE", "blue", ["BLUE", "TEAL"]),
        ("GREEN", None, ["GREEN", "RED"]),
        ("GOLD", "red", ["GREEN", "RED"]),
    ]
    found = open_paper_set(f"iiit5k:{write_iiit5k(tmp_path / 'IIIT5K', rows)}")
    assert list(found.keys) == ["test/0_1.png", "test/1_1.png"] and found.words == ("red", "green", "blue", "teal")
    assert [lexicon.tolist() for lexicon in found.lexicons] == [[0, 1, 2], [2, 3]] and found.label == (0, 2)
    assert pixel(found.image(1)) == (0, 0, 255)
    assert [item.reason for item in found.problems] == ["missing file", "its word is not in its lexicon"]


def test_svhn_has_a_ten_for_a_zero_and_a_part_to_learn_from(tmp_path):
    source = f"svhn:{write_svhn(tmp_path / 'svhn', [1, 10, 9])}"
    found = open_evalset(source)
    assert labels(found) == [1, 0, 9] and found.class_names == tuple("0123456789") and found.name == "svhn"
    assert [pixel(found.image(index)) for index in range(3)] == [(20, 0, 0), (200, 0, 0), (180, 0, 0)]
    assert open_train_part(source) is None
    write_svhn(tmp_path / "svhn", [3, 4], part="train")
    assert labels(open_train_part(source)) == [3, 4] and name_of_set(source) == "svhn"


def test_hateful_memes_are_those_of_dev_and_missing_ones_are_counted(tmp_path):
    folder = write_memes(tmp_path / "memes", [(0, "red"), (1, "blue"), (1, None)])
    found = open_evalset(f"hateful_memes:{folder}")
    assert labels(found) == [0, 1] and found.class_names == ("meme", "hatespeech meme")
    assert [(item.key, item.reason) for item in found.problems] == [("00002.png", "missing file")]
    write_memes(folder, [(1, "red")], name="train.jsonl")
    assert labels(open_train_part(f"hateful_memes:{folder}")) == [1]


def test_ucf101_is_the_first_test_list_with_the_papers_names(tmp_path):
    clips = [
        ("ApplyEyeMakeup", "v_ApplyEyeMakeup_g01_c01", ["red"] * 40),
        ("HandstandPushups", "v_HandStandPushups_g01_c02", ["red", "blue"]),
        ("HandstandPushups", "v_HandStandPushups_g01_c03", []),
    ]
    found = open_evalset(f"ucf101:{write_ucf101(tmp_path / 'ucf', clips)}")
    assert found.class_names == ("Apply Eye Makeup", "Handstand Pushups") and labels(found) == [0, 1]
    assert known_set("ucf101").names_for(found.class_names) == ["Apply Eye Makeup", "Hand Stand Pushups"]
    assert [len(frames_of(clip)) for clip in found.images] == [16, 2]
    assert [frame.path.rpartition("/")[2] for frame in frames_of(found.images[0])][:3] == ["2.png", "4.png", "7.png"]
    assert pixel(found.image(1)) == (0, 0, 255)
    assert [(item.key, item.reason) for item in found.problems] == [
        ("HandstandPushups/v_HandStandPushups_g01_c03.avi", "missing video")
    ]


def test_lists_of_ucf101_may_lie_beside_its_folder_of_videos_for_either_part(tmp_path):
    clips = [("A", "v_A_g01_c01", ["red"]), ("B", "v_B_g01_c01", ["blue"])]
    folder = write_ucf101(tmp_path / "ucf", clips)
    for path in (folder / "ucfTrainTestlist").iterdir():
        path.rename(folder / path.name)
    (folder / "ucfTrainTestlist").rmdir()
    assert open_train_part(f"ucf101:{folder}") is None
    (folder / "trainlist01.txt").write_text("B/v_B_g01_c01.avi 2\n")
    assert labels(open_evalset(f"ucf101:{folder}")) == [0, 1] and labels(open_train_part(f"ucf101:{folder}")) == [1]


def test_kinetics_has_a_class_for_each_folder(tmp_path):
    for name, colour in [("shaking_hands/a_1_11/1.png", "red"), ("abseiling/b_1_11/1.png", "blue")]:
        paint(tmp_path / "k700/val" / name, colour)
    paint(tmp_path / "k700/train/yoga/c/1.png", "red")
    found = open_evalset(f"kinetics700:{tmp_path}/k700")
    assert found.class_names == ("abseiling", "shaking hands") and labels(found) == [0, 1]
    assert found.notes[-1] == "2 classes are there, of 700: fewer are easier to tell apart."


def test_rareact_has_each_clip_once_and_all_its_rows(tmp_path):
    rows = [
        ("abc", 0, 7, "blend", "phone", 1, "red"),
        ("abc", 0, 9, "cut", "phone", 3, None),
        ("abc", 10, 7, "blend", "phone", 0, "blue"),
        ("gone", 0, 9, "cut", "phone", 1, None),
        ("gone", 0, 9, "cut", "phone", 1, None),
    ]
    found = open_paper_set(f"rareact:{write_rareact(tmp_path / 'rareact', rows)}")
    assert list(found.keys) == ["abc_0_10", "abc_10_20"] and found.actions == (("blend", "phone"), ("cut", "phone"))
    assert found.clip_N.tolist() == [0, 0, 1] and found.video_N.tolist() == [0, 0, 0]
    assert found.class_N.tolist() == [0, 1, 0] and found.annotation_N.tolist() == [1, 3, 0]
    assert [(item.key, item.reason) for item in found.problems] == [("gone_0_10", "missing video")]


def test_im2gps_has_photos_and_others_that_tell_where(tmp_path):
    test = [("a.jpg", "red", 48.85, 2.35), ("b.jpg", None, 0, 0)]
    reference = [("x/c.jpg", "red", -16.66, 145.56), ("d.jpg", "blue", 10, 20), ("e.jpg", None, 1, 1)]
    found = open_paper_set(f"im2gps:{write_im2gps(tmp_path / 'im2gps', test=test, reference=reference)}")
    assert list(found.keys) == ["test/images/a.jpg", "reference/images/x/c.jpg", "reference/images/d.jpg"]
    assert found.tests == 1 and found.degrees_N2.tolist() == [[48.85, 2.35], [-16.66, 145.56], [10, 20]]
    assert [item.key for item in found.problems] == ["b.jpg"]
    assert found.notes == ("2 reference photos, 1 not there; the paper has 1,000,000.",)


def test_a_row_that_ends_early_is_refused_by_its_line_and_empty_lines_count(tmp_path):
    folder = write_im2gps(tmp_path / "im2gps", test=[("a.jpg", "red", 1, 2)], reference=[("b.jpg", "red", 1, 2)])
    table = folder / "test/test_places365.csv"
    with table.open("a") as file:
        file.write("\n")
    assert open_paper_set(f"im2gps:{folder}").tests == 1
    with table.open("a") as file:
        file.write("c.jpg,somebody,3\n")
    with pytest.raises(RefusedInput, match=r"line 4 of .* has 3 of 5 columns"):
        open_paper_set(f"im2gps:{folder}")


def test_country211_is_a_folder_per_country_called_as_in_the_paper(tmp_path):
    for part in ("train", "valid", "test"):
        for code in ("DE", "CI"):
            paint(tmp_path / "country211" / part / code / "1.jpg", "red")
    found = open_evalset(tmp_path / "country211")
    assert known_set(found.name).names_for(found.class_names) == ["Cote d'Ivoire", "Germany"] and len(found) == 2


@pytest.mark.parametrize(
    ("source", "is_one"),
    [
        ("svhn:x", True),
        ("svhn:", False),
        ("svhn", False),
        ("./svhn:x", False),
        ("C:\\svhn", False),
        ("hf:a/b:c", False),
    ],
)
def test_a_set_of_the_paper_is_written_with_its_name(source, is_one):
    assert is_paper_set(source) == is_one


def wrong(tmp_path):
    """(source, what is said) for folders that are not as their publishers'."""
    empty, text = tmp_path / "empty", tmp_path / "text"
    empty.mkdir(), text.mkdir()
    for name in ("testdata.mat", "test_32x32.mat"):
        (text / name).write_text("no MATLAB file " * 100)
    other = tmp_path / "other"
    other.mkdir()
    savemat(other / "testdata.mat", {"traindata": 1})
    savemat(other / "test_32x32.mat", {"X": np.zeros((2, 2), np.uint8), "y": np.ones((3, 1), np.uint8)})
    (text / "dev.jsonl").write_bytes(b'{"id": 1, "img": "img/1.png", "label": 0, "text": "caf\xe9"}\n')
    (other / "dev.jsonl").write_text('{"id": 1, "img": "img/1.png"}\n')
    (other / "rareact.csv").write_text("video_id,start,end,class_id,verb,noun\n")
    for part in ("test", "reference"):
        (other / part).mkdir()
        (other / part / "a.csv").write_text("IMG_ID,LAT,LON\n1.jpg,91,0\n")
    yield from [
        ("svhn:nowhere", "There is no 'nowhere'"),
        (f"svhn:{text}/testdata.mat", "is a file; name the folder"),
        (f"iiit5k:{empty}", "has no testdata.mat"),
        (f"iiit5k:{text}", "is no MATLAB file of version 5"),
        (f"iiit5k:{other}", "has no 'testdata'"),
        (f"svhn:{empty}", "has no test_32x32.mat"),
        (f"svhn:{other}", r"X is uint8 \(2, 2\)"),
        (f"hateful_memes:{empty}", "name the folder with dev.jsonl and img/"),
        (f"hateful_memes:{text}", "cannot be read .'utf-8' codec"),
        (f"hateful_memes:{other}", 'no "img" with a "label" of 0 or 1'),
        (f"ucf101:{empty}", "has no classInd.txt"),
        (f"kinetics700:{empty}", "has no folder of videos per class"),
        (f"rareact:{empty}", "has no rareact.csv"),
        (f"rareact:{other}", "has no column 'annotation'"),
        (f"im2gps:{empty}", "it has not there|not there"),
        (f"im2gps:{other}", "line 2 of .* has '91', '0'"),
    ]


def test_a_folder_that_is_laid_out_otherwise_is_refused_in_one_line(tmp_path):
    for source, complaint in wrong(tmp_path):
        with pytest.raises(SeesayError, match=complaint) as caught:
            open_paper_set(source)
        assert "\n" not in str(caught.value), source


def test_a_set_with_its_own_measures_is_for_evaluate_alone_and_a_layout_is_called_by_its_name(tmp_path):
    folder = write_iiit5k(tmp_path / "IIIT5K", [("RED", "red", ["RED", "BLUE"])])
    with pytest.raises(UsageError, match="only `seesay evaluate` takes it"):
        open_evalset(f"iiit5k:{folder}")
    with pytest.raises(UsageError, match=f"name it iiit5k:{folder}"):
        open_evalset(folder)


@pytest.fixture(autouse=True)
def trusted_files(monkeypatch):
    """Files are read without a process of their own, which takes a third of a second to start."""
    monkeypatch.setattr(files, "refuse_deadly", lambda path, variable: None)


def test_a_matlab_file_of_which_its_reader_dies_is_refused(tmp_path, monkeypatch):
    monkeypatch.undo()
    savemat(tmp_path / "a.mat", {"X": 1})
    assert files.read_mat(tmp_path / "a.mat", "X") == 1
    monkeypatch.setattr(files, "_TRIAL", "import os; os._exit(9)")
    with pytest.raises(RefusedInput, match=r"a.mat is damaged \(what reads it ends with code 9\); fetch it again"):
        files.read_mat(tmp_path / "a.mat", "X")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals")
def test_a_matlab_file_whose_reader_was_killed_is_not_called_damaged(tmp_path, monkeypatch):
    monkeypatch.undo()
    savemat(tmp_path / "a.mat", {"X": 1})
    monkeypatch.setattr(files, "_TRIAL", "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(SeesayError, match=r"a.mat was not read: what tried it was killed, as where memory runs out"):
        files.read_mat(tmp_path / "a.mat", "X")


@pytest.mark.parametrize("error", [UnboundLocalError, ZeroDivisionError, MemoryError])
def test_what_scipy_raises_for_a_damaged_matlab_file_is_one_line(tmp_path, error, monkeypatch):
    def fail(*_, **named):
        raise error("arr")

    savemat(tmp_path / "a.mat", {"X": 1})
    monkeypatch.setattr("scipy.io.loadmat", fail)
    with pytest.raises(RefusedInput, match="is no MATLAB file of version 5"):
        files.read_mat(tmp_path / "a.mat", "X")


def test_a_matlab_file_that_ends_early_is_refused(tmp_path):
    folder = write_svhn(tmp_path / "svhn", [1, 2])
    whole = (folder / "test_32x32.mat").read_bytes()
    for kept in (0, 4, 100, 200, len(whole) // 2, len(whole) - 1):
        (folder / "test_32x32.mat").write_bytes(whole[:kept])
        with pytest.raises(RefusedInput, match="fetch it again"):
            open_paper_set(f"svhn:{folder}")


def test_what_a_matlab_file_unpacks_to_is_limited(tmp_path, monkeypatch):
    savemat(tmp_path / "large.mat", {"X": np.zeros(1 << 20, np.uint8)}, do_compression=True)
    refuse_unpacked(tmp_path / "large.mat")
    monkeypatch.setattr(files, "UNPACKED_BYTES", 1 << 19)
    with pytest.raises(RefusedInput, match="unpacks to more than"):
        refuse_unpacked(tmp_path / "large.mat")
