"""`python -m seesay` is the command `seesay`."""

import os
import sys
from types import TracebackType


def main() -> int:
    """Run the command `seesay` and return its exit code."""
    # The first thing of all, for Ctrl-C in the imports of what answers it from then on.
    sys.excepthook = _silent_for_ctrl_c
    rest_while_waiting()
    from seesay.cli.interrupts import end_at_once

    end_at_once()
    from seesay.cli.main import main as run

    return run()


def rest_while_waiting() -> None:
    """Let threads that wait for one another sleep, unless the user has said how; torch reads it when it is imported.

    They would spin, and take the time of whatever else this machine does.
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "0"


def _silent_for_ctrl_c(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)


if __name__ == "__main__":
    sys.exit(main())
