"""Every case of cases_*.py against one version of the package, or two: outcome, exit code, seconds, peak memory.

    python benchmarks/2026-11-28-hostile/run.py --version before=EXPORT/src --version after=src --out result.json

Each case makes its input in a folder of its own and runs a child process with at most 6 GB and 150 s. The result is
written after every case, and cases that are in it already are not run again.
"""

import argparse
import importlib.util
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PARTS = ("pixels", "tables", "words", "streams")


def cases_of(part: str) -> list[tuple[str, Any]]:
    """The cases of one file, by name."""
    sys.path.insert(0, str(HERE))
    spec = importlib.util.spec_from_file_location(f"cases_{part}", HERE / f"cases_{part}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CASES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="append", required=True, metavar="NAME=SRC")
    parser.add_argument("--out", type=Path, default=HERE / "result.json")
    parser.add_argument("--only", nargs="*", default=PARTS, choices=PARTS)
    options = parser.parse_args()
    result = json.loads(options.out.read_text()) if options.out.exists() else {}
    for part in options.only:
        for name, case in cases_of(part):
            row = result.setdefault(part, {}).setdefault(name, {})
            for version in options.version:
                label, _, source = version.partition("=")
                if label in row:
                    continue
                os.environ["PYTHONPATH"] = str(Path(source).absolute())
                with tempfile.TemporaryDirectory() as folder:
                    try:
                        row[label] = case(Path(folder))
                    except Exception as error:  # noqa: BLE001 - one case must not end the others
                        row[label] = {"outcome": f"the case itself failed: {error!r}"[:200]}
                    text = json.dumps(row[label], ensure_ascii=True).replace(folder, "FOLDER")
                row[label] = json.loads(text)
                options.out.write_text(json.dumps(result, indent=1) + "\n")
                print(part, "|", name, "|", label, json.dumps(row[label])[:200], flush=True)
    (options.out.with_suffix(".md")).write_text(table(result))


def table(result: dict[str, dict[str, dict[str, Any]]]) -> str:
    """The result as a Markdown table, a row for each case and two versions side by side."""
    labels = list(dict.fromkeys(label for part in result.values() for row in part.values() for label in row))
    head = ["part", "case", *(f"{label}: {what}" for label in labels for what in ("exit", "s", "MB", "outcome"))]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for part, rows in result.items():
        for name, row in rows.items():
            cells = [part, name]
            for label in labels:
                seen = row.get(label, {})
                outcome = str(seen.get("outcome", "")).replace("|", "/").replace("`", "'")[:110]
                cells += [str(seen.get(key, "")) for key in ("exit", "seconds", "peak_mb")] + [outcome]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
