"""Daft, which maps work over processes of this machine or of a Ray cluster."""

import logging
import os
from dataclasses import dataclass
from typing import Any

from seesay.base.errors import UsageError
from seesay.base.extras import package

EXTRA = "ray"
# Neither of the two sends home how it is used, and no bars are drawn between the lines of the run.
QUIET = {"DO_NOT_TRACK": "1", "DAFT_ANALYTICS_ENABLED": "0", "DAFT_PROGRESS_BAR": "0", "RAY_USAGE_STATS_ENABLED": "0",
         "RAY_TQDM": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What Ray has: machines that are up, cores and GPUs."""

    machines: int
    cores: int
    gpus: int


def daft_here() -> Any:
    """The package, whose work is done on this machine; `UsageError` where it is missing."""
    os.environ.update({name: os.environ.get(name, value) for name, value in QUIET.items()})
    daft = package("daft", extra=EXTRA)
    daft.set_runner_native()
    return daft


def daft_on_ray() -> tuple[Any, Cluster]:
    """The package, whose work is done on the cluster of RAY_ADDRESS or on one that Ray starts here, and what that has.

    `UsageError` where a package is missing, or Daft runs in this process already and not on Ray.
    """
    os.environ.update({name: os.environ.get(name, value) for name, value in QUIET.items()})
    ray, daft = package("ray", extra=EXTRA), package("daft", extra=EXTRA)
    if not ray.is_initialized():
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    daft.set_runner_ray(noop_if_initialized=True)
    if daft.get_or_infer_runner_type() != "ray":
        raise UsageError("Daft runs in this process already, and not on Ray; use --engine ray in a new one.")
    there, machines = ray.cluster_resources(), sum(node["Alive"] for node in ray.nodes())
    cores = max(1, int(there.get("CPU", 1)))
    return daft, Cluster(machines=machines, cores=cores, gpus=int(there.get("GPU", 0)))
