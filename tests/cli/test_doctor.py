"""The table of findings as it is printed."""

import json
import re

from seesay.cli.doctor import as_text
from seesay.preflight.report import CaptionReport, DoctorReport, Finding, ImageReport

IMAGES = ImageReport(
    total=2, examined=2, broken=1, broken_by_reason={"empty file": 1}, broken_keys=("a",), duplicates=0,
    near_duplicates=0, duplicate_keys=(), near_duplicate_keys=(), median_side=4, smallest=(4, 4), largest=(4, 4),
    model_side=4, below_model_side=0.0, seconds_per_image=0.1,
)  # fmt: skip
CAPTIONS = CaptionReport(
    count=2, most_per_pair=1, duplicates=0, wordless=0, empty=0, file_names=0, file_name_examples=(), vocabulary=514,
    context=8, median_length=3, longest=3, length_of_99_percent=3, truncated_share=0.0, repeated_in_batch=0.0,
    shares_repeats=False,
)  # fmt: skip


def report_of(*findings: Finding) -> DoctorReport:
    return DoctorReport(
        name="two\x1b[2J", pairs=2, held_out=0, unusable={}, notes=(), plan=("model    tiny",), images=IMAGES,
        captions=CAPTIONS, overfit=None, memory=None, time=None, findings=findings,
    )  # fmt: skip


WELL = Finding(topic="pairs", level="ok", message="2 pairs")
POOR = Finding(topic="images", level="warning", message="1 broken", hint="remove it")
BAD = Finding(topic="memory", level="stop", message="too much", hint="--micro-batch 2")


def test_the_worst_finding_is_the_verdict_and_each_fault_has_its_hint():
    text = as_text(report_of(WELL, POOR, BAD))
    assert text.endswith("warning: images: remove it\nSTOP: memory: --micro-batch 2\nverdict: STOP\n")
    assert re.search(r"^pairs +ok +2 pairs$", text, re.MULTILINE)
    assert as_text(report_of(WELL)).endswith("verdict: ok\n")


def test_names_cannot_steer_a_terminal_and_no_colour_is_used():
    assert "\x1b" not in as_text(report_of(WELL, POOR))


def test_on_a_narrow_terminal_long_findings_are_folded(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    long = Finding(topic="time", level="ok", message="many words " * 40)
    assert max(map(len, as_text(report_of(long)).splitlines())) <= 80


def test_a_report_is_one_line_in_a_console_and_a_table_in_a_notebook(monkeypatch):
    report = report_of(WELL, POOR)
    assert repr(report) == "<DoctorReport of two\\x1b[2J: 2 pairs, warning (images)>"
    assert repr(report_of(WELL)).endswith("2 pairs, ok>")
    assert "<td>images</td><td>warning</td><td>1 broken</td><td>remove it</td>" in report._repr_html_()
    monkeypatch.setattr("seesay.preflight.report.to_pandas", list)
    assert report.to_pandas()[1] == {"topic": "images", "level": "warning", "message": "1 broken", "hint": "remove it"}


def test_the_report_is_json_with_its_verdict():
    values = json.loads(json.dumps(report_of(WELL, BAD).to_json()))
    assert (values["verdict"], values["findings"][1]["message"], values["images"]["examined"]) == (
        "stop",
        "too much",
        2,
    )


def test_options_of_a_run_without_pairs_are_refused(seesay):
    for words in (["--batch-size", "3"], ["--set", "seed=1"], ["--seconds", "2"], ["--max-bad", "0.3"]):
        code, _, err = seesay("doctor", "--model", "box", *words)
        assert code == 2 and err == (
            f"error: {words[0]} is for a run, and PAIRS are missing: name images with captions, or leave it out.\n"
        )
