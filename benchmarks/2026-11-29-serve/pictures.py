"""Pictures of the page with photos of your own: light, dark, phone, classify. Usage: pictures.py ADDRESS PHOTO OUT"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from browser import Browser

LOADED = "[...document.querySelectorAll('#photos img')].slice(0, 12).filter((image) => image.naturalWidth).length >= 8"
VIEWS = {"light": (1200, 760, "light"), "dark": (1200, 760, "dark"), "phone": (390, 780, "light")}

address, photo, out = sys.argv[1], sys.argv[2], Path(sys.argv[3])
out.mkdir(parents=True, exist_ok=True)
with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
    page = Browser(profile)
    for name, (width, height, scheme) in VIEWS.items():
        page.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        page.call("Page.navigate", url=address)
        page.wait("document.readyState === 'complete' && document.activeElement.id === 'words'")
        page.type("a dog in the water")
        page.wait(LOADED)
        time.sleep(0.3)
        (out / f"search-{name}.png").write_bytes(page.screenshot())
        page.run("document.getElementById('tab-classify').click()")
        page.choose_file("#photo-file", photo)
        page.wait("document.querySelectorAll('#bars li').length > 1")
        time.sleep(0.5)
        (out / f"classify-{name}.png").write_bytes(page.screenshot())
    page.close()
