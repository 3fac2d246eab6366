"""What a person reads: controls are spelt out, lines stay lines, and no message is longer than a screen."""

import os
import subprocess
import sys

import pytest

from seesay.base.errors import BrokenSample, UsageError
from seesay.base.printable import LONGEST, printable
from seesay.base.streams import say


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("gpj.\u202eexe", "gpj.\\u202eexe"),
        ("one\u2028two\u2029three", "one\\u2028two\\u2029three"),
        ("in\u200bvisible\ufeff", "in\\u200bvisible\\ufeff"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("c1\x9b2J", "c1\\x9b2J"),
        ("caf\udce9.jpg", "caf\\udce9.jpg"),
        ("two\nlines\r\tand a tab", "two\\nlines\\r\\tand a tab"),
        ("naïve 猫 🐈 ½ -- \xa0", "naïve 猫 🐈 ½ -- \xa0"),
    ],
)
def test_what_cannot_be_seen_is_spelt_out_and_letters_stay(hostile, shown):
    assert printable(hostile) == shown


@pytest.mark.parametrize("letter", ["a", "\x1b", "\U000e0041"])
def test_of_a_long_text_beginning_and_end_are_shown(letter):
    shown = printable(f"{letter * 5_000_000}; choose another.")
    assert shown.startswith(printable(letter * 3)) and shown.endswith("; choose another.")
    assert " [... of 5,000,017 characters ...] " in shown
    assert len(shown) == LONGEST


def test_what_is_printable_stays_as_it_is():
    once = printable("\x1b" * LONGEST)
    assert printable(once) == once


def test_a_message_has_the_lines_it_was_given(capfd):
    say("a\x1b", "b\nerror: no line of ours", start="\r", end="!\n")
    assert capfd.readouterr().err == "\ra\\x1b\nb\\nerror: no line of ours!\n"


def test_every_error_is_one_printable_line_wherever_it_is_shown():
    assert str(UsageError("no \x1b]0;owned\x07;\n  look again.")) == "no \\x1b]0;owned\\x07; look again."
    assert str(BrokenSample("damaged image", "\u202e")) == "damaged image: \\u202e"
    assert len(str(UsageError("x" * 5_000_000))) == LONGEST


PROGRAM = """
import sys
from seesay.base.streams import REDRAW, guard_streams, say
guard_streams()
hostile = "\\x1b]0;owned\\x07\\u202e\\r\\tx"
print(hostile)
sys.stdout.writelines([hostile, "\\n"])
sys.stdout.flush()
say(hostile, start=REDRAW)
print(hostile, file=sys.stderr)
"""


@pytest.mark.journey
def test_a_terminal_is_sent_no_control_but_our_own_whatever_writes_it():
    controller, terminal = os.openpty()
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, stdout=terminal, stderr=terminal)
    shown = os.read(controller, 10_000).decode()
    spelt_out = "\\x1b]0;owned\\x07\\u202e\\r"
    assert shown == f"{spelt_out}\tx\r\n" * 2 + f"\r\x1b[K{spelt_out}\\tx\r\n" + f"{spelt_out}\tx\r\n"


@pytest.mark.journey
def test_a_file_gets_results_as_they_are():
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True)
    assert done.stdout.decode() == "\x1b]0;owned\x07\u202e\r\tx\n" * 2
    assert "\x1b]" not in done.stderr.decode() and "\u202e" not in done.stderr.decode()
