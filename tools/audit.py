"""Ask PyPI for the known vulnerabilities of every locked package; `make audit`.

    .tools/bin/python tools/audit.py

Exit code 0: all were asked for and none has any. 1: some have; each is a line. 3: none is known, but not every package
could be asked for, as without PyPI's database of advisories (some mirrors have none); pip-audit alone calls that clean.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# All of them together: what the package, its extras, `make` and the scripts here may install.
LOCKS = ("constraints.txt", "locks/cuda.txt", "locks/track.txt", "locks/photos.txt", "locks/tools.txt")
VULNERABLE, NOT_ASKED = 1, 3
# Seconds for one answer: a guess, and pip-audit's own default.
TIMEOUT = "15"


def report(dependencies: list[dict]) -> tuple[int, list[str]]:
    """The exit code, and the lines to print, for what pip-audit says of each package."""
    packages = {entry["name"]: entry for entry in dependencies}
    skipped = {name: entry["skip_reason"] for name, entry in packages.items() if "skip_reason" in entry}
    found = [
        f"{name} {entry['version']}: {flaw['id']}, fixed in {', '.join(flaw['fix_versions']) or 'no release yet'}"
        for name, entry in packages.items()
        for flaw in entry.get("vulns", [])
    ]
    counted = (
        f"{len(packages) - len(skipped)} of {len(packages)} packages asked for, {len(found)} vulnerabilities known"
    )
    reason = f": {next(iter(skipped.values()))}" if skipped else ""
    unasked = [f"not audited: {len(skipped)} packages{reason}; run this where PyPI itself can be reached"]
    return (VULNERABLE if found else NOT_ASKED if skipped else 0), [*found, *(unasked if skipped else []), counted]


def main() -> int:
    """Run pip-audit on all lock files; what it cannot ask for is counted and not taken for clean."""
    words = [word for lock in LOCKS for word in ("-r", lock)]
    command = [sys.executable, "-m", "pip_audit", *words, "--require-hashes", "--disable-pip", "--format=json"]
    done = subprocess.run(  # noqa: S603
        [*command, "--progress-spinner=off", f"--timeout={TIMEOUT}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if not done.stdout.strip():
        last = (done.stderr.strip().splitlines() or ["no word from pip-audit"])[-1]
        print(f"not audited: pip-audit got no answer ({last[:200]})")
        return NOT_ASKED
    code, lines = report(json.loads(done.stdout)["dependencies"])
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main())
