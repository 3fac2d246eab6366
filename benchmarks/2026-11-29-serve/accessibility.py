"""What axe-core finds on the page, light and dark. Usage: accessibility.py ADDRESS PHOTO AXE.min.js"""

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from browser import Browser

address, photo, axe = sys.argv[1:]
found, passes = {}, {}
with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
    page = Browser(profile)
    page.call("Page.setBypassCSP", enabled=True)
    for scheme in ("light", "dark"):
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        page.call("Page.navigate", url=address)
        page.wait("document.readyState === 'complete' && document.activeElement.id === 'words'")
        page.run(Path(axe).read_text())
        page.type("a dog")
        page.wait("document.querySelectorAll('#photos img').length > 0")
        for view in ("search", "classify"):
            if view == "classify":
                page.run("document.getElementById('tab-classify').click()")
                page.choose_file("#photo-file", photo)
                page.wait("document.querySelectorAll('#bars li').length > 1")
            result = page.run("axe.run(document).then((r) => ({v: r.violations, p: r.passes.length}))")
            name = f"{view}, {scheme}"
            passes[name] = result["p"]
            found[name] = [[v["id"], v["impact"], v["nodes"][0]["html"][:120]] for v in result["v"]]
    page.close()
print(json.dumps({"rules_passed": passes, "violations": found}, indent=1))
