"""What several folders of tests need: a model that can be checked by eye, and images of one colour."""

import functools
import io
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from seesay.base.settings import Settings
from seesay.data.images import Preprocess
from seesay.data.tokenizer import CaptionTokenizer
from seesay.formulas.similarity import unit
from seesay.model.bundle import Model
from seesay.nets.architecture import Architecture, BagOfWordsConfig, ConvNetConfig
from seesay.nets.clip import CaptionPredictor, DualEncoder, build_clip
from seesay.training.objectives import objective_of

COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "white": (255, 255, 255),
}


SQUARES = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "yellow": (230, 220, 40)}


class ColourTower(torch.nn.Module):
    """The mean colour of an image; embeddings are the same, so that zero-shot and probe see one thing."""

    def features(self, pixels_B3SS):
        return pixels_B3SS.mean((2, 3))

    def project(self, features_BW):
        return features_BW

    def forward(self, pixels_B3SS):
        return self.features(pixels_B3SS)

    def map_modules(self):
        return ()


class OneIdTokenizer:
    """An id for each text, whatever its capitals; nothing is ever cut."""

    context = 8

    def __call__(self, texts):
        return [[zlib.crc32(text.lower().encode())] for text in texts]


class ColourModel(Model):
    """Embeds an image as its mean colour and a text as the colours it names, so cosines can be worked out by hand."""

    logit_scale = 10.0
    logit_bias = None
    device = torch.device("cpu")

    def __init__(self):
        self.architecture = SimpleNamespace(
            embed_dim=3, image=Settings(), text=SimpleNamespace(kind="colours", model_dump=dict), widths=None
        )
        self.clip = DualEncoder(ColourTower(), torch.nn.Identity())
        self.tokenizer = OneIdTokenizer()
        self.preprocess = Preprocess(size=2, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        self.templates = ("a photo of something {}.",)
        self.name = "colours"
        self.facts = {}
        self.texts_seen: list[str] = []

    def to(self, device: str | torch.device) -> "ColourModel":
        return self

    def encode_pixels(self, pixels_B3SS: torch.Tensor) -> torch.Tensor:
        return unit(self.preprocess.normalise(pixels_B3SS).mean((2, 3)))

    def encode_texts(self, texts, *, batch_size: int = 256) -> torch.Tensor:
        self.texts_seen += texts
        words = [text.replace(".", "").split() for text in texts]
        rows = [
            torch.tensor([COLOURS[word] for word in named if word in COLOURS] or [(0, 0, 0)], dtype=torch.float32)
            for named in words
        ]
        return unit(torch.stack([row.mean(0) for row in rows]))


@pytest.fixture
def colour_model() -> ColourModel:
    return ColourModel()


@functools.cache
def _few_words() -> tuple[list[str], CaptionTokenizer, list[str]]:
    captions = ["a photo of a red dog", "a photo of a blue dog", "two red cats on a blue mat"] * 3
    tokenizer = CaptionTokenizer.train(captions, vocab_size=530, context=16)
    return captions, tokenizer, [tokenizer.decode([index]) for index in range(tokenizer.vocab_size)]


@pytest.fixture
def predictor() -> Callable[[str], Model]:
    """A small untrained model of an objective that predicts captions, its words learned from a few."""

    def build(name: str) -> Model:
        captions, tokenizer, spelling = _few_words()
        words = BagOfWordsConfig(width=16, context=16, vocab_size=tokenizer.vocab_size)
        base = Architecture(embed_dim=16, image=ConvNetConfig(image_size=16, width=8, depths=(1, 1)), text=words)
        objective = objective_of(name)
        architecture = objective.architecture(base)
        clip = build_clip(architecture, seed=0)
        assert isinstance(clip, CaptionPredictor)
        clip.head.fit_vocabulary(tokenizer(captions), spelling)
        templates = objective.templates or ("{}",)
        return Model(
            clip, architecture, tokenizer, preprocess=Preprocess(size=16), templates=templates, name="predictor"
        )

    return build


@pytest.fixture
def paint() -> Callable[..., Path]:
    """Write an image of one named colour; the folder is made, the suffix decides the format."""

    def write(path: Path, colour: str, side: int = 4) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        data = io.BytesIO()
        kind = {".png": "PNG", ".webp": "WEBP", ".gif": "GIF"}.get(path.suffix.lower(), "JPEG")
        Image.new("RGB", (side, side), COLOURS[colour]).save(data, kind)
        path.write_bytes(data.getvalue())
        return path

    return write


@pytest.fixture
def photos(tmp_path: Path, paint) -> Path:
    """red, green and blue in a folder, yellow in one below."""
    root = tmp_path / "photos"
    for name in ("red", "green", "blue"):
        paint(root / f"{name}.png", name, side=16)
    paint(root / "below" / "yellow.jpg", "yellow", side=16)
    return root


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums over several threads may differ in their last bit from one process to the next."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def write_tar() -> Callable[..., Path]:
    """Write a tar of these members, (name, data) each; the folder is made."""

    def write(
        path: Path, members: Mapping[str, bytes] | Iterable[tuple[str, bytes]], form: int = tarfile.USTAR_FORMAT
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        named: Iterable[tuple[str, bytes]] = members.items() if isinstance(members, Mapping) else members
        with tarfile.open(path, "w", format=form) as tar:
            for name, data in named:
                header = tarfile.TarInfo(name)
                header.size = len(data)
                tar.addfile(header, io.BytesIO(data))
        return path

    return write


@pytest.fixture
def coloured_pairs(tmp_path: Path) -> Callable[..., Path]:
    """Write `count` images of 16 px with two captions each; returns the folder."""

    def write(count: int = 48, *, name: str = "pairs") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        random = np.random.default_rng(0)
        for index in range(count):
            colour = list(SQUARES)[index % len(SQUARES)]
            noise = random.integers(-25, 26, (16, 16, 3))
            pixels = np.clip(np.array(SQUARES[colour]) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{index:03}.png")
            (folder / f"{index:03}.txt").write_text(f"a {colour} square\nsomething {colour}\n")
        return folder

    return write
