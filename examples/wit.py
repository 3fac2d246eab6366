"""From the web to a training set as the paper describes it, on a web of one computer.

python examples/wit.py --out wit

Photographs inside scikit-image are laid out as a site on 127.0.0.1, with what its documentation says of each as the
caption, and with what a crawl has too: copies, file names in place of captions, dead links, a link into a private
network. Queries come from the documentation of scikit-image and scikit-learn. Nothing leaves this computer.
"""

import argparse
import functools
import http.server
import inspect
import re
import threading
from contextlib import contextmanager
from pathlib import Path

import skimage
import skimage.data
import sklearn.datasets
from PIL import Image

import seesay

# Photographs that are files of the package, and the functions of skimage.data that describe them.
PHOTOS = {
    "astronaut.png": "astronaut",
    "brick.png": "brick",
    "camera.png": "camera",
    "cell.png": "cell",
    "chelsea.png": "chelsea",
    "clock_motion.png": "clock",
    "coffee.png": "coffee",
    "coins.png": "coins",
    "grass.png": "grass",
    "gravel.png": "gravel",
    "horse.png": "horse",
    "hubble_deep_field.jpg": "hubble_deep_field",
    "ihc.png": "immunohistochemistry",
    "moon.png": "moon",
    "motorcycle_left.png": "stereo_motorcycle",
    "page.png": "page",
    "retina.jpg": "retina",
    "rocket.jpg": "rocket",
    "text.png": "text",
}
FOLDER = Path(skimage.__file__).parent / "data"


def description(name: str) -> str:
    """What the documentation says of a photograph, before its first heading."""
    text = inspect.getdoc(getattr(skimage.data, name)) or ""
    return " ".join(re.split(r"\n\s*(?:Returns|Notes|References)\n", text)[0].split())


def write_site(folder: Path) -> list[tuple[str, str]]:
    """Lay out the images; returns (path on the site, caption) of every link that a crawl would find."""
    folder.mkdir(parents=True, exist_ok=True)
    links = []
    for number, (file, name) in enumerate(PHOTOS.items()):
        caption = description(name)
        (folder / file).write_bytes((FOLDER / file).read_bytes())
        links.append((f"/{file}", caption))
        # The same photograph again, smaller and as a JPEG, under its first sentence.
        copy = f"copy-{number}.jpg"
        image = Image.open(FOLDER / file).convert("RGB")
        image.resize((image.width * 3 // 4, image.height * 3 // 4)).save(folder / copy, quality=90)
        links.append((f"/{copy}", f"A picture: {caption.split('. ')[0]}"))
        links.append((f"/{file}", f"IMG_{number:04d}"))
        links.append((f"/gone-{number}.jpg", caption))
    return links


def write_corpus(path: Path) -> None:
    """Real text: what scikit-image and scikit-learn say of their data."""
    texts = [inspect.getdoc(value) or "" for _, value in sorted(vars(skimage.data).items()) if callable(value)]
    texts += [path.read_text("utf-8") for path in sorted(Path(sklearn.datasets.__file__).parent.rglob("*.rst"))]
    path.write_text("\n".join(texts), encoding="utf-8")


@contextmanager
def serving(folder: Path):
    """The address of a server of `folder`, while it is up."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("wit"))
    out = parser.parse_args(arguments).out
    links = write_site(out / "site")
    write_corpus(out / "corpus.txt")
    print(seesay.queries(out / "corpus.txt", out=out / "queries.tsv", least=3, pmi=4.0))
    with serving(out / "site") as address:
        rows = [(f"{address}{path}", caption) for path, caption in links]
        rows.append(("http://169.254.169.254/latest/meta-data/photo.jpg", "a photograph of the moon"))
        lines = ["url\tcaption", *("\t".join(row) for row in rows)]
        (out / "pool.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        result = seesay.curate(
            out / "pool.tsv",
            queries=out / "queries.tsv",
            out=out / "set",
            per_query=20,
            image_size=224,
            allow_private="127.0.0.1",
            overrides=["shards.pairs=10"],
        )
    print(result)
    print(f"card: {out / 'set' / 'card.html'}")


if __name__ == "__main__":
    main()
