"""Audits on drawn answers with known rates, on the constructed case of an added class, and of the command."""

import json

import numpy as np
import pytest
import torch

import seesay
from seesay.cli.main import main
from seesay.data.audit_files import LabelSet, read_group_table, read_label_set
from seesay.tasks.audit import Answers, audit_answers, rates_of
from seesay.tasks.audit_page import audit_page


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


LABELS = """
title = "colours"
templates = ["a photo of something {}."]
harmful = ["bad"]
[classes]
fine = ["blue", "green"]
bad = ["red"]
[added]
fine = ["yellow"]
"""


@pytest.fixture
def case(tmp_path, paint):
    """20 photos: of the young 6 of 10 are yellow, which is nearer to red than to blue; of the old 1 of 10 is red."""
    rows = ["photo,age,id"]
    for group, colours in (("young", ["yellow"] * 6 + ["blue"] * 4), ("old", ["red"] + ["blue"] * 9)):
        for number, colour in enumerate(colours):
            paint(tmp_path / "photos" / f"{group}-{number}.png", colour)
            rows.append(f"{group}-{number}.png,{group},{number}")
    table = write(tmp_path / "groups.csv", "\n".join(rows) + "\n")
    return tmp_path / "photos", table, write(tmp_path / "labels.toml", LABELS)


def test_an_added_class_lowers_the_rate_of_the_group_it_is_made_for(case, colour_model):
    """As 'child' does in table 7 of the paper: whom no class fits gets the harmful one."""
    photos, table, labels = case
    text = labels.read_text().replace('["blue", "green"]', '["blue"]')
    result = seesay.audit(colour_model, photos, groups=table, labels=write(labels, text))
    before, after = ({own.group: own.rate for own in rates[0].groups} for rates in (result.without, result.with_added))
    assert before == {"old": 0.1, "young": 0.6} and after == {"old": 0.1, "young": 0.0}
    assert result.without[0].gap == pytest.approx(0.5) and result.without[0].p < 0.05
    changes = {own.group: own for own in result.changes}
    assert (changes["young"].freed, changes["young"].got) == (6, 0)
    assert changes["young"].p == pytest.approx(2 * 0.5**6) and changes["old"].p == 1.0


def test_labels_of_a_group_and_whom_a_search_finds(case, colour_model):
    photos, table, labels = case
    result = seesay.audit(colour_model, photos, groups=table, labels=labels)
    first = next(own for own in result.top_labels if own.group == "young" and own.threshold == 0.04)
    assert first.label in ("yellow", "green") and first.share > first.share_of_others
    found = {own.group: own for own in result.retrieved}
    assert found["young"].k == 10 and found["young"].hits + found["old"].hits == 10
    assert found["young"].hits >= 6 and found["young"].expected == 5.0
    assert any("groups of fewer than 30 photos: age 'old' (10), age 'young' (10)" in note for note in result.notes)


def test_intervals_cover_known_rates_in_93_of_100_repetitions():
    """Six groups with a rate each; the share of repetitions in which a group's interval covers its rate."""
    rates = np.array([0.02, 0.05, 0.1, 0.165, 0.3, 0.5])
    random = np.random.default_rng(0)
    group_N = np.repeat(np.arange(6), 80)
    covered = np.zeros(6, int)
    for _ in range(100):
        hit_N = random.random(len(group_N)) < rates[group_N]
        (found,) = rates_of({"harmful": hit_N}, {"group": ([*"abcdef"], group_N)})
        covered += [
            own.interval95[0] <= rate <= own.interval95[1] for own, rate in zip(found.groups, rates, strict=True)
        ]
    assert covered.min() >= 93


def test_accuracy_by_group_and_its_gap(colour_model):
    names = ["red", "green", "blue"]
    label_set = LabelSet(classes={"all": tuple(names)}, truth="colour", templates=("{}",))
    truths = ["red", "red", "green", "blue", "red", "green"]
    answered = ["red", "green", "green", "blue", "red", "red"]
    scores = torch.stack([torch.eye(3)[names.index(name)] for name in answered])
    values = tuple({"colour": t, "camera": camera} for t, camera in zip(truths, "aaabbb", strict=True))
    classifier = colour_model.classifier(names, ["{}"])
    answers = Answers(score_NK=scores, classifier=classifier, values=values)
    result = audit_answers(answers, label_set, model="drawn", columns=["colour", "camera"])
    (accuracy,) = result.accuracy
    assert [(own.group, own.hits, own.n) for own in accuracy.groups] == [("a", 2, 3), ("b", 2, 3)]
    assert accuracy.gap == 0.0 and result.without == () and "accuracy by camera" in repr(result)


def test_photos_and_rows_without_each_other_are_counted(case, colour_model, paint):
    photos, table, labels = case
    paint(photos / "other.png", "red")
    (photos / "young-0.png").unlink()
    (photos / "young-1.png").write_bytes(b"no image")
    result = seesay.audit(colour_model, photos, groups=table, labels=labels)
    assert result.n == 18 and result.skipped == 1
    assert "1 photos are not in the table, and left out." in result.notes
    assert "1 rows of the table have no photo." in result.notes


def test_the_packages_label_sets_are_the_papers():
    found = read_label_set("denigration")
    assert len(found.labels()) == 21 and len(found.labels(is_added=True)) == 22
    assert found.harmful_labels() == {
        *("animal", "gorilla", "chimpanzee", "orangutan", "thief", "criminal", "suspicious person")
    }
    assert read_label_set("occupations").thresholds == (0.005, 0.04)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("classes = 3", "classes"),
        ("[classes]\na = ['x']", "1 label"),
        ("[classes]\na = ['x', 'x']", "comes twice"),
        ("harmful = ['harmful', 'b']\n[classes]\nharmful = ['x']\nb = ['y']", "rename it"),
        ("harmful = ['b']\n[classes]\na = ['x', 'y']", "no list of classes"),
        ("[classes\n", "no TOML"),
        ("unknown = 1\n[classes]\na = ['x', 'y']", "unknown"),
    ],
)
def test_a_wrong_label_set_is_refused(tmp_path, text, error):
    with pytest.raises(seesay.UsageError, match=error):
        read_label_set(write(tmp_path / "labels.toml", text))


def test_accuracy_is_measured_without_and_with_and_only_of_truths_that_are_labels(colour_model):
    labels = LabelSet(
        classes={"all": ("red", "blue")},
        added={"all": ("yellow",)},
        truth="truth",
        templates=("a {}.",),
        thresholds=(0.04,),
    )
    classifier = colour_model.classifier(["red", "blue", "yellow"], "none")
    # The added label is the best of the first two, one of which shows it; without it the nearest is red.
    score_NK = torch.tensor([[0.5, 0.1, 0.9], [0.5, 0.1, 0.9], [0.1, 0.9, 0.0], [0.1, 0.9, 0.0], [0.9, 0.1, 0.0]])
    truths = ["red", "yellow", "blue", "", "Red"]
    values = tuple({"truth": truth, "camera": "ab"[number % 2]} for number, truth in enumerate(truths))
    answers = Answers(score_NK=score_NK, classifier=classifier, values=values)
    result = audit_answers(answers, labels, model="m", columns=["truth", "camera"])
    hits = [[(own.group, own.hits, own.n) for own in rates[0].groups] for rates in (result.accuracy, result.with_added)]
    assert hits == [[("a", 2, 2), ("b", 0, 1)], [("a", 1, 2), ("b", 1, 1)]]
    assert "1 photos have an empty 'truth' and are left out of accuracy." in result.notes
    assert "1 photos have a 'truth' that is no label ('Red'), left out of accuracy." in result.notes


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("photo\na.png\n", "has no column of groups or no rows"),
        ("photo,age\n", "has no column of groups or no rows"),
        ("photo,age\n\na.png\n", "line 3 has 1 cells"),
        ('photo,age\n"a.png,old\nb.png,young\n', "line 2: a quote is not closed"),
        ("photo,age\na.png,1\na.png,2\n", "comes twice"),
        ("photo,age,age\na.png,1,2\n", "several columns"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path, text, error):
    with pytest.raises(seesay.SeesayError, match=error):
        read_group_table(write(tmp_path / "groups.csv", text))


def test_names_may_be_paths_or_bare_and_must_be_of_one_photo(tmp_path):
    photos = [tmp_path / "a" / "1.png", tmp_path / "b" / "1.png", tmp_path / "b" / "2.png"]
    table = read_group_table(write(tmp_path / "groups.tsv", "age\tfile\nold\ta/1.png\nyoung\t2.png\n"))
    rows = table.of_photos(photos, tmp_path)
    assert [row and row["age"] for row in rows] == ["old", None, "young"]
    table = read_group_table(write(tmp_path / "groups.csv", "file,age\n1.png,old\n"))
    with pytest.raises(seesay.UsageError, match="2 photos are called that"):
        table.of_photos(photos, tmp_path)
    # At the top it is the path itself, and the photo below that is called so has no row.
    rows = table.of_photos([tmp_path / "1.png", tmp_path / "a" / "1.png"], tmp_path)
    assert [row and row["age"] for row in rows] == ["old", None]
    semicolons = read_group_table(write(tmp_path / "groups.csv", "file;age\n1.png;old\n"))
    assert semicolons.columns == ("age",)


def test_the_page_escapes_and_shows_no_photo(case, colour_model):
    photos, table, labels = case
    write(table, table.read_text().replace("young", "<b>young</b>").replace("<b>young</b>-", "young-"))
    page = audit_page(seesay.audit(colour_model, photos, groups=table, labels=labels))
    assert "&lt;b&gt;young" in page and "<b>" not in page and "<img" not in page and "<script" not in page


def test_the_command_writes_page_and_numbers(case, tmp_path, capsys):
    photos, table, labels = case
    page, numbers = tmp_path / "audit.html", tmp_path / "audit.json"
    words = ["audit", "box", str(photos), "--groups", str(table), "--labels", str(labels)]
    assert main([*words, "--report", str(page), "--json", str(numbers)]) == 0
    shown = capsys.readouterr()
    assert "largest gap" in shown.out and "somebody's view" in shown.err
    assert f"page: {page}\n" in shown.err and f"numbers: {numbers}\n" in shown.err
    value = json.loads(numbers.read_text())
    assert value["n"] == 20 and {rates["column"] for rates in value["without"]} == {"age", "id"}
    assert page.read_text().startswith("<!doctype html>")


def test_photos_that_cannot_be_read_are_told_by_reason(case, capsys):
    photos, table, labels = case
    (photos / "young-1.png").write_bytes(b"no image")
    assert main(["audit", "box", str(photos), "--groups", str(table), "--labels", str(labels)]) == 0
    assert "skipped 1 of 20 images: 1 x not an image\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["--groups", "no.csv"], 2, "no.csv"),
        (["--groups", "TABLE", "--labels", "denigratio"], 2, "Nearest: denigration"),
        (["--groups", "TABLE", "--json", "a.csv"], 2, "let its name end in .json"),
        ([], 2, "--groups"),
    ],
)
def test_wrong_input_is_one_line(case, words, code, error, capsys):
    photos, table, _ = case
    assert main(["audit", "box", str(photos), *[str(table) if word == "TABLE" else word for word in words]]) == code
    assert error in capsys.readouterr().err.strip().splitlines()[-1]


def test_names_that_steer_a_terminal_are_shown_as_what_they_are(case, capsys):
    photos, table, labels = case
    write(table, table.read_text().replace("photo,age", "photo,a\x1b[31mge").replace(",young", ",yo\x1b[2Jung"))
    write(labels, labels.read_text().replace('"colours"', '"col\\u001b[31mours"'))
    assert main(["audit", "box", str(photos), "--groups", str(table), "--labels", str(labels)]) == 0
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err and "\\x1b[31m" in shown.out


def test_a_table_of_other_names_is_answered_with_a_name_of_each_side(case, capsys):
    photos, table, _ = case
    write(table, "photo,age\nelsewhere/a.png,young\nelsewhere/b.png,old\n")
    assert main(["audit", "box", str(photos), "--groups", str(table)]) == 2
    error = capsys.readouterr().err
    assert "'elsewhere/a.png'" in error and any(repr(path.name) in error for path in photos.iterdir())
