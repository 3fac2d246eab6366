#!/bin/sh
# Check each training set below the folder that is given, then all of them together; results beside this script.
#   sh run.sh DATA [SECONDS]
set -u
data=$1
seconds=${2:-20}
here=$(cd "$(dirname "$0")" && pwd)
found=$(mktemp -d)
cd "$data" || exit 2
for set in train-*; do
    echo "\$ seesay doctor $set --seconds $seconds"
    seesay doctor "$set" --out "$found/run" --seconds "$seconds" --json "$found/$set.json"
    printf 'exit code %s, load %s\n\n' $? "$(cut -d' ' -f1 /proc/loadavg)"
done
echo "\$ seesay doctor train-* --seconds $((2 * seconds))"
seesay doctor train-* --out "$found/run" --seconds $((2 * seconds)) --json "$found/all.json"
printf 'exit code %s, load %s\n' $? "$(cut -d' ' -f1 /proc/loadavg)"
python3 - "$found" "$here/result.json" <<'PYTHON'
import json, pathlib, sys
folder, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
results = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
for found in results.values():
    # Names and captions of other people's data stay where they are.
    for part in (found["images"], found["captions"]):
        for name in [name for name in part if name.endswith(("_keys", "_examples"))]:
            del part[name]
out.write_text(json.dumps(results, indent=1) + "\n")
PYTHON
rm -r "$found"
