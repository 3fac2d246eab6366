"""transformers.js under node beside seesay: ids and rows of texts, rows of images, and the order of labels.

    npm install --prefix MODULES @huggingface/transformers@4.3.2
    python javascript.py MODULES PHOTOS OUT.json

PHOTOS is a folder of photos with a caption in a .txt file beside each. Photos go three ways: as squares that seesay
made, resized by the example's page (examples/browser/pixels.js), and resized by that library itself.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import seesay
from seesay.data.class_names import imagenet_names
from seesay.data.images import open_image

MODULES, PHOTOS, OUT = (Path(word).resolve() for word in sys.argv[1:4])
PIXELS = Path(__file__).resolve().parents[2] / "examples" / "browser" / "pixels.js"
LABELS = ["a dog", "a person", "a child", "water", "grass", "a bicycle", "snow", "a street", "food", "a ball"]
# What a caption may hold beside words, from tests/tasks/test_export_cleaning.py.
ODD = [
    "", " \t\n", "Caf&eacute; &amp; bar", "&amp;amp;lt;b&gt; 5 &lt; 6", "“fish’n’chips” ‘a’ „b‟", "ﬁne ﬂow oﬃce Ǆ ĳ ŉ",
    "ＡＢＣ １２３！ ｶﾞ ＆lt;b＆gt;", "a\u00a0b\u2003c\u3000d &nbsp; e&ensp;f",
    "red \x1b[31mcar\x1b[0m, zero\u200bwidth, mark\ufeff",
    "cafe\u0301 A\u030a", "&#233; &#xE9; &#x000e9 &#38;lt; &#65; &#039;s dog&#8217;s &rsquo;",
    "line\r\nbreak\x85\u2028end \x00\x01bell\x07", "AT&T R&D &copy2020 &notin; &not a &amp b 5 &gt 4",
    "ΟΔΥΣΣΕΥΣ ΣΑΣ. İstanbul STRASSE ẞ", "&EACUTE; &LT;b&GT; &QUOT;x &Dagger;&dagger;",
    "\x80\x93quoted\x94 snake_case, x-ray", "日本語の猫 🐱", "x" * 3000,
]  # fmt: skip
SCRIPT = """
import fs from 'fs';
import { env, AutoTokenizer, AutoProcessor, CLIPTextModelWithProjection, CLIPVisionModelWithProjection, RawImage }
  from '@huggingface/transformers';
import { recipe, square } from './pixels.mjs';
env.allowRemoteModels = false; env.localModelPath = process.cwd() + '/';
const options = { dtype: 'fp32', device: 'cpu' };
const { texts, squares, photos } = JSON.parse(fs.readFileSync('asked.json', 'utf8'));
const tokenizer = await AutoTokenizer.from_pretrained('exported');
const processor = await AutoProcessor.from_pretrained('exported');
const text = await CLIPTextModelWithProjection.from_pretrained('exported', options);
const vision = await CLIPVisionModelWithProjection.from_pretrained('exported', options);
const json = (name) => JSON.parse(fs.readFileSync(`exported/${name}`, 'utf8'));
const own = recipe(json('preprocessor_config.json'), json('export.json'));
const context = json('export.json').text.context;
const answer = { ids: [], texts: [], squares: [], page: [], library: [] };
for (const each of texts) {
  answer.ids.push(tokenizer.encode(each).length > context ? null : tokenizer.encode(each));
  const ids = tokenizer([each], { padding: true, truncation: true, max_length: context });
  answer.texts.push((await text(ids)).text_embeds.tolist()[0]);
}
const row = async (image) => (await vision(await processor(image))).image_embeds.tolist()[0];
for (const path of squares) answer.squares.push(await row(await RawImage.read(path)));
for (const path of photos) {
  const image = await RawImage.read(path);
  const { data, width, height } = image.clone().rgba();
  answer.page.push(await row(new RawImage(square(data, width, height, own), own.side, own.side, 3)));
  answer.library.push(await row(image));
}
fs.writeFileSync('answer.json', JSON.stringify(answer));
"""


def asked_of_node(model, photos: list[Path], texts: list[str], folder: Path) -> dict:
    """What that library answers, from an export in `folder`."""
    seesay.export(model, folder / "exported", to="transformers.js")
    squares = []
    for number, photo in enumerate(photos):
        squares.append(str(folder / f"{number}.png"))
        pixels_3SS = model.preprocess.pixels(open_image(photo))
        Image.fromarray(pixels_3SS.permute(1, 2, 0).numpy()).save(squares[-1])
    (folder / "node_modules").symlink_to(MODULES / "node_modules")
    (folder / "pixels.mjs").write_text(PIXELS.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "run.mjs").write_text(SCRIPT, encoding="utf-8")
    asked = {"texts": texts, "squares": squares, "photos": list(map(str, photos))}
    (folder / "asked.json").write_text(json.dumps(asked), encoding="utf-8")
    subprocess.run(["node", "run.mjs"], cwd=folder, check=True)
    return json.loads((folder / "answer.json").read_text(encoding="utf-8"))


def main() -> None:
    torch.set_num_threads(1)
    model = seesay.load("box")
    photos = sorted(path for path in PHOTOS.iterdir() if path.suffix != ".txt")
    captions = [photo.with_suffix(".txt").read_text(encoding="utf-8").splitlines()[0] for photo in photos]
    texts = [*ODD, *(f"a photo of a {name}." for name in imagenet_names().values()), *captions, *LABELS]
    with tempfile.TemporaryDirectory() as folder:
        answer = asked_of_node(model, photos, texts, Path(folder))
    ids = [(row, right) for row, right in zip(answer["ids"], model.tokenizer(texts), strict=True) if row is not None]
    text_ND, image_ND = model.encode_texts(texts).numpy(), model.encode_images(photos).numpy()
    found = {
        "texts": len(texts),
        "texts longer than the context": len(texts) - len(ids),
        "texts of other ids": sum(row != right for row, right in ids),
        "texts, largest difference": float(np.abs(np.array(answer["texts"]) - text_ND).max()),
        "photos": len(photos),
    }
    label_CD = text_ND[-len(LABELS) :]
    order_NC = np.argsort(-(image_ND @ label_CD.T), axis=1)
    for way in ("squares", "page", "library"):
        own_ND = np.array(answer[way])
        own_NC = np.argsort(-(own_ND @ np.array(answer["texts"])[-len(LABELS) :].T), axis=1)
        found[way] = {
            "largest difference": float(np.abs(own_ND - image_ND).max()),
            "smallest cosine": float((own_ND * image_ND).sum(1).min()),
            "photos with all ten labels in the same order": int((own_NC == order_NC).all(1).sum()),
            "photos with the same first label": int((own_NC[:, 0] == order_NC[:, 0]).sum()),
        }
    OUT.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


main()
