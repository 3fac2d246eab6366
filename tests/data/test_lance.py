"""What of LanceDB is imported when."""

import importlib
import sys
import threading
from types import SimpleNamespace

import pytest
from patience import PATIENCE

from seesay.data import lance


def test_a_deferred_package_runs_when_a_name_of_it_is_asked_for(tmp_path, monkeypatch):
    folder = tmp_path / "deferred_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("from .client import Client\n")
    (folder / "client.py").write_text("class Client: pass\n")
    (folder / "models.py").write_text("Model = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("", ".client", ".models"):
        monkeypatch.delitem(sys.modules, f"deferred_package{name}", raising=False)
    lance._defer("deferred_package")
    assert importlib.import_module("deferred_package.models").Model == 1
    assert "deferred_package.client" not in sys.modules
    package = importlib.import_module("deferred_package")
    assert package.Client is sys.modules["deferred_package.client"].Client
    lance._defer("deferred_package")
    assert sys.modules["deferred_package"] is package
    for name in ("", ".client", ".models"):
        del sys.modules[f"deferred_package{name}"]


def test_a_deferred_package_that_is_running_has_its_names_for_other_threads_too(tmp_path, monkeypatch):
    begun, gate, names = threading.Event(), threading.Event(), []
    (tmp_path / "slow_package.py").write_text("import gate_of_test as test\ntest.begun.set()\ntest.wait()\nName = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    waited = SimpleNamespace(begun=begun, wait=lambda: gate.wait(PATIENCE))
    monkeypatch.setitem(sys.modules, "gate_of_test", waited)
    lance._defer("slow_package")
    package = sys.modules["slow_package"]
    threads = [threading.Thread(target=lambda: names.append(getattr(package, "Name", None))) for _ in range(2)]
    threads[0].start()
    assert begun.wait(PATIENCE)
    threads[1].start()
    threads[1].join(0.2)
    gate.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert names == [1, 1]
    assert not hasattr(package, "other")
    del sys.modules["slow_package"]


def test_a_package_that_is_not_there_is_left_alone():
    lance._defer("no_package_of_this_name")
    assert "no_package_of_this_name" not in sys.modules


def test_a_deferred_package_that_raises_says_so_each_time_until_it_runs(tmp_path, monkeypatch):
    package = tmp_path / "raising_package"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import os\nif not os.environ.get('MAY_RUN'): raise OSError('no disk')\nNAME = 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    lance._defer("raising_package")
    import raising_package

    for _ in range(2):
        with pytest.raises(OSError, match="no disk"):
            _ = raising_package.NAME
    monkeypatch.setenv("MAY_RUN", "1")
    assert raising_package.NAME == 1
    monkeypatch.delitem(sys.modules, "raising_package")
