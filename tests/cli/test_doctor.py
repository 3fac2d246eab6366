"""The table of findings, for people."""

import re

from seesay.cli.doctor import as_text
from seesay.preflight.report import CaptionReport, DoctorReport, Finding, ImageReport

IMAGES = ImageReport(
    of=2, looked_at=2, broken=1, broken_by_reason={"empty file": 1}, broken_keys=("a",), equal=0, alike=0,
    equal_keys=(), alike_keys=(), median_side=4, smallest=(4, 4), largest=(4, 4), model_side=4, below_model_side=0.0,
    seconds_each=0.1,
)  # fmt: skip
CAPTIONS = CaptionReport(
    count=2, most_per_pair=1, same=0, wordless=0, empty=0, file_names=0, file_name_examples=(), vocabulary=514,
    context=8, median_length=3, longest=3, enough_for_most=3, cut_share=0.0, repeated_in_batch=0.0,
    shares_targets=False,
)  # fmt: skip


def diagnosis(*findings: Finding) -> DoctorReport:
    return DoctorReport(
        name="two\x1b[2J", pairs=2, held_out=0, unusable={}, plan=("model    tiny",), images=IMAGES,
        captions=CAPTIONS, overfit=None, memory=None, time=None, findings=findings,
    )  # fmt: skip


WELL = Finding(topic="pairs", level="ok", found="2 pairs")
POOR = Finding(topic="images", level="warning", found="1 broken", hint="remove it")
BAD = Finding(topic="memory", level="stop", found="too much", hint="--micro-batch 2")


def test_the_worst_finding_is_the_verdict_and_each_fault_has_its_way_out():
    text = as_text(diagnosis(WELL, POOR, BAD))
    assert text.endswith("warning: images: remove it\nSTOP: memory: --micro-batch 2\nverdict: STOP\n")
    assert re.search(r"^pairs +ok +2 pairs$", text, re.MULTILINE)
    assert as_text(diagnosis(WELL)).endswith("verdict: ok\n")


def test_names_cannot_steer_a_terminal_and_no_colour_is_used():
    assert "\x1b" not in as_text(diagnosis(WELL, POOR))


def test_on_a_narrow_terminal_long_findings_are_folded(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    long = Finding(topic="time", level="ok", found="many words " * 40)
    assert max(map(len, as_text(diagnosis(long)).splitlines())) <= 80
