#!/bin/bash
# What pip does in the Dockerfile's two stages, in two new environments below FOLDER: bash two_environments.sh FOLDER PYTHON [INDEX]
# INDEX is a folder with torch's CPU build, where torch's own index cannot be reached.
set -e
folder=$1 python=$2 home=$(cd "$(dirname "$0")/../.." && pwd)
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_FIND_LINKS=${3:-https://download.pytorch.org/whl/cpu}
mkdir -p "$folder/seesay"
$python -m venv "$folder/build"
$python -m venv "$folder/image"
cp -r "$home"/{locks/build.txt,pyproject.toml,README.md,LICENSE,src} "$folder/seesay"
"$folder"/build/bin/pip install --no-deps --require-hashes --only-binary :all: -r "$folder/seesay/build.txt"
"$folder"/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir "$folder/wheel" "$folder/seesay"
cd "$home/locks"
"$folder"/image/bin/pip install --no-deps --require-hashes --only-binary :all: \
    -r curate.txt -r onnx.txt -r photos.txt -r search.txt -r serve.txt -r cpu.txt
"$folder"/image/bin/pip install --no-deps "$folder"/wheel/*.whl
"$folder"/image/bin/pip check
cd "$folder"
du -sm image
image/bin/seesay --version
image/bin/seesay classify "$home/docs/explain.png" motorcycle cat
