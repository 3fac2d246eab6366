"""Hides from Python what Windows does not have, some of it macOS neither. A process with this on PYTHONPATH starts so.

Only names of this package's own use are hidden, and of those none that Python's own modules need on this system, as
`signal.SIGKILL` and `os.statvfs`.
"""

import faulthandler
import multiprocessing
import multiprocessing.context
import os
import signal
import sys

# None makes an import of the module an ImportError.
sys.modules.update({"fcntl": None, "resource": None})
for module, names in {
    os: "fork forkpty sched_getaffinity O_DIRECTORY O_CLOEXEC O_NOFOLLOW geteuid pread posix_fadvise posix_fallocate",
    signal: "SIGHUP SIGUSR1 SIGUSR2 pthread_sigmask",
    faulthandler: "register",
}.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
for name in ("fork", "forkserver"):
    multiprocessing.context._concrete_contexts.pop(name, None)
multiprocessing.context._default_context.set_start_method("spawn")
multiprocessing.get_all_start_methods = lambda: ["spawn"]
