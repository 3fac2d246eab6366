# seesay with torch's CPU build: docker build -t seesay . && docker run --rm -v "$PWD:/data" seesay --help
# Every file that pip installs is named by its SHA-256 in locks/. What builds the package stays behind in its own stage.
FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY locks/build.txt pyproject.toml README.md LICENSE /seesay/
RUN pip install --no-deps --require-hashes --only-binary :all: -r /seesay/build.txt
COPY src /seesay/src
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheel /seesay

FROM python:3.11-slim-bookworm
ENV PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY locks /locks
RUN cd /locks && pip install --no-deps --require-hashes --only-binary :all: \
    -r curate.txt -r onnx.txt -r photos.txt -r search.txt -r serve.txt -r cpu.txt
COPY --from=build /wheel /wheel
RUN pip install --no-deps /wheel/*.whl && useradd --create-home user
USER user
WORKDIR /data
ENTRYPOINT ["seesay"]
