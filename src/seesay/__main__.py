"""`python -m seesay` is the command `seesay`."""

import gc
import sys
from types import TracebackType


def main() -> int:
    """Run the command `seesay` and return its exit code."""
    # The first thing of all, for Ctrl-C in the imports of what answers it from then on.
    sys.excepthook = _silent_for_ctrl_c
    from seesay.cli.interrupts import end_at_once

    end_at_once()
    from seesay.cli.main import main as run

    code = run()
    # Python looks at everything that torch has made before it ends, which takes half a second of a core.
    gc.freeze()
    return code


def _silent_for_ctrl_c(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)


if __name__ == "__main__":
    sys.exit(main())
