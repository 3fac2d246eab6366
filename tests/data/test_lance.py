"""What of LanceDB is imported when."""

import importlib
import sys

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


def test_a_package_that_is_not_there_is_left_alone():
    lance._defer("no_package_of_this_name")
    assert "no_package_of_this_name" not in sys.modules
