"""What each engine that is installed makes of a model on this machine, in seconds, and which to take.

N = images or texts, S = side in pixels.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from seesay.base.errors import UsageError
from seesay.base.journal import progress
from seesay.data.class_names import imagenet_names
from seesay.data.drawn_sets import open_drawn_set
from seesay.data.prompts import fill
from seesay.model.bundle import Model
from seesay.model.encode import read_pixels
from seesay.model.engines import installed_engines

# Guesses: images and texts of a batch, seconds for each of three measurements, and the fewest calls of one.
IMAGES, TEXTS, SECONDS, CALLS = 32, 64, 0.7, 3
DRAWN = f"limits:species:{2 * IMAGES}"
# A cosine below which an engine is not advised: seldom another answer (benchmarks/2026-11-29-engines); and how much
# faster than torch one has to be.
ADVISED_COSINE, ADVISED_GAIN = 0.999, 1.1


@dataclass(frozen=True, kw_only=True)
class EngineReport:
    """One engine: images and texts a second, seconds for one image, bytes that it took beside what was there, and
    the smallest cosine to rows of torch in float32; or why it is not for this model."""

    engine: str
    photos_per_second: float = 0.0
    captions_per_second: float = 0.0
    latency_seconds: float = 0.0
    memory_bytes: int = 0
    smallest_cosine: float = 0.0
    refused: str = ""


def measure_engines(model: Model) -> list[EngineReport]:
    """Every installed engine on drawn images and ImageNet's names, torch first; the model is on the CPU."""
    if not model.embeds_texts:
        raise UsageError(f"{model.name} predicts captions, and engines are for models that embed texts.")
    drawn = open_drawn_set(DRAWN)
    pixels_N3SS = torch.stack(read_pixels(model, drawn.image, IMAGES)[0])
    texts = fill(model.templates[:1], list(imagenet_names().values())[:: 1000 // TEXTS])[:TEXTS]
    right = model.encode_pixels(pixels_N3SS), model.encode_texts(texts)
    reports, names = [], installed_engines()
    with progress(len(names), "engines") as advance:
        for name in names:
            reports.append(_measured(model, name, pixels_N3SS, texts, right))
            advance(1)
    return reports


def advice_of(reports: list[EngineReport]) -> str:
    """The engine to take, and by how much it is faster than torch for many images."""
    torch_rate = reports[0].photos_per_second
    good = [each for each in reports if not each.refused and each.smallest_cosine >= ADVISED_COSINE]
    best = max(good or reports[:1], key=lambda each: each.photos_per_second)
    gain = best.photos_per_second / torch_rate
    if best.engine == "torch" or gain < ADVISED_GAIN:
        return "stay with torch: no engine here is 1.1 times as fast with cosines of 0.999 or more"
    cosine = f"smallest cosine {best.smallest_cosine:.5f}"
    return f"take --engine {best.engine}: {gain:.1f} times the images a second of torch, {cosine}"


def to_json(model: Model, reports: list[EngineReport]) -> dict[str, object]:
    """The report as plain values."""
    return {"model": model.name, "engines": [asdict(each) for each in reports], "advice": advice_of(reports)}


def _measured(
    model: Model, name: str, pixels_N3SS: Tensor, texts: list[str], right: tuple[Tensor, Tensor]
) -> EngineReport:
    before = _resident_bytes()
    try:
        own = model.with_engine(name)
        image_ND, text_ND = own.encode_pixels(pixels_N3SS), own.encode_texts(texts)
    except UsageError as error:
        return EngineReport(engine=name, refused=str(error))
    memory = sum(each.numel() * each.element_size() for each in model.clip.parameters())
    if name != "torch":
        memory = max(0, _resident_bytes() - before)
    cosines = [float((one * other).sum(1).min()) for one, other in zip((image_ND, text_ND), right, strict=True)]
    return EngineReport(
        engine=name,
        photos_per_second=len(pixels_N3SS) / _seconds(lambda: own.encode_pixels(pixels_N3SS)),
        captions_per_second=len(texts) / _seconds(lambda: own.encode_texts(texts)),
        latency_seconds=_seconds(lambda: own.encode_pixels(pixels_N3SS[:1])),
        memory_bytes=memory,
        smallest_cosine=min(1.0, *cosines),
    )


def _seconds(call: Callable[[], object]) -> float:
    """The median of calls for `SECONDS`, the first not counted."""
    call()
    until = time.perf_counter() + SECONDS

    def times() -> Iterator[float]:
        while True:
            start = time.perf_counter()
            call()
            yield time.perf_counter() - start

    found = list(islice(times(), CALLS))
    while time.perf_counter() < until:
        found += islice(times(), 1)
    return median(found)


def _resident_bytes() -> int:
    """What this process has in memory; 0 where the system does not say it in /proc."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0
