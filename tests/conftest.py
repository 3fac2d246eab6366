"""How the tests are run; what several folders of them need is in `shared_fixtures`."""

import gc
import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

# No test, and no command that one starts, reads or leaves anything in the home folder of who runs it.
os.environ["SEESAY_CACHE"] = "off"
# Both measure time on the wall, which says something of the other work of the machine and nothing of an example.
hypothesis_settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("busy")
# A job in the background has Ctrl-C ignored, and what it starts inherits that: what a test interrupts must hear it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """The process that deals the tests out to others runs none of them, and does without torch."""
    is_dealer = config.getoption("numprocesses", None) and not hasattr(config, "workerinput")
    if not is_dealer:
        config.pluginmanager.import_plugin("shared_fixtures")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Nothing of the 900,000 objects that come with the imports goes away: no search for rubbish looks at them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
