# seesay with torch's CPU build: docker build -t seesay . && docker run --rm -v "$PWD:/data" seesay --help
# Every file that pip installs is named by its SHA-256 in constraints.txt and locks/.
FROM python:3.11-slim-bookworm

COPY constraints.txt pyproject.toml README.md LICENSE /seesay/
COPY locks /seesay/locks
ENV PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN cd /seesay && pip install --no-deps --require-hashes --only-binary :all: -r constraints.txt -r locks/cpu.txt
COPY src /seesay/src
RUN pip install --no-deps --no-build-isolation /seesay && useradd --create-home user
USER user
WORKDIR /data
ENTRYPOINT ["seesay"]
