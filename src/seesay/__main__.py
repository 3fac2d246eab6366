"""`python -m seesay` is the command `seesay`."""

import sys

from seesay.cli.interrupts import ended_at_once

with ended_at_once():
    from seesay.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
