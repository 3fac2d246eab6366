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
from seesay.base.names import no_empty_names
from seesay.base.printable import printable
from seesay.data.class_names import imagenet_names
from seesay.data.drawn_sets import open_drawn_set
from seesay.data.prompts import fill
from seesay.model.bundle import Model
from seesay.model.encode import read_pixels
from seesay.model.engines import installed_engines, refuse_altered
from seesay.model.hub import on_device

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


@dataclass(frozen=True, kw_only=True, repr=False)
class EnginesReport:
    """What `measure_engines` found of a model, by its name: every engine that is installed, torch first."""

    model: str
    engines: tuple[EngineReport, ...]

    @property
    def best(self) -> EngineReport:
        """The engine to take: torch, or one that is 1.1 times as fast for many images with cosines of 0.999 or more."""
        usual = self.engines[0]
        good = [each for each in self.engines if not each.refused and each.smallest_cosine >= ADVISED_COSINE]
        found = max(good or [usual], key=lambda each: each.photos_per_second)
        return found if found.photos_per_second >= ADVISED_GAIN * usual.photos_per_second else usual

    @property
    def advice(self) -> str:
        """The best engine in words, and by how much it is faster than torch."""
        best, usual = self.best, self.engines[0]
        if best is usual:
            return "stay with torch: no engine here is 1.1 times as fast with cosines of 0.999 or more"
        gain = best.photos_per_second / usual.photos_per_second
        return (
            f"take --engine {best.engine}: {gain:.1f} times the images a second of torch, smallest cosine "
            f"{best.smallest_cosine:.5f}"
        )

    def to_json(self) -> dict[str, object]:
        """The report as plain values."""
        return {"model": self.model, "engines": [asdict(each) for each in self.engines], "advice": self.advice}

    def __repr__(self) -> str:
        measured = ", ".join(
            f"{each.engine} {each.photos_per_second:,.0f}" for each in self.engines if not each.refused
        )
        return f"<EnginesReport {printable(self.model)}: {measured} images a second; {self.advice}>"


@no_empty_names
def measure_engines(model: Model | str | Path, *, seconds: float = SECONDS) -> EnginesReport:
    """Measure every engine that is installed with a trained model on this machine's CPU, and say which to take.

    Images are drawn and texts are ImageNet's names: images and captions a second, one image alone, memory, and the
    smallest cosine to torch's rows in float32. `seconds` are for each of three measurements of an engine. An engine
    that cannot compute the model is in the report with the reason. What `model` is stays where it is. `UsageError` for
    a model that predicts captions, or that has an engine or a precision already.

        print(seesay.measure_engines("box").advice)
    """
    chosen = on_device(model, None if isinstance(model, Model) else "cpu")
    if not chosen.embeds_texts:
        raise UsageError(f"{chosen.name} predicts captions, and engines are for models that embed texts.")
    refuse_altered(chosen, "measure", may_be_cut=True)
    if chosen.device.type != "cpu":
        raise UsageError(f"{chosen.name} is on {chosen.device}, and engines are measured on the CPU; load it there.")
    drawn = open_drawn_set(DRAWN)
    pixels_N3SS = torch.stack(read_pixels(chosen, drawn.image, IMAGES)[0])
    texts = fill(chosen.templates[:1], list(imagenet_names().values())[:: 1000 // TEXTS])[:TEXTS]
    right = chosen.encode_pixels(pixels_N3SS), chosen.encode_texts(texts)
    reports, names = [], installed_engines()
    with progress(len(names), "engines") as advance:
        for name in names:
            reports.append(_measured(chosen, name, pixels_N3SS, texts, right, seconds=seconds))
            advance(1)
    return EnginesReport(model=chosen.name, engines=tuple(reports))


def _measured(
    model: Model, name: str, pixels_N3SS: Tensor, texts: list[str], right: tuple[Tensor, Tensor], *, seconds: float
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
        photos_per_second=len(pixels_N3SS) / _median(lambda: own.encode_pixels(pixels_N3SS), seconds),
        captions_per_second=len(texts) / _median(lambda: own.encode_texts(texts), seconds),
        latency_seconds=_median(lambda: own.encode_pixels(pixels_N3SS[:1]), seconds),
        memory_bytes=memory,
        smallest_cosine=min(1.0, *cosines),
    )


def _median(call: Callable[[], object], seconds: float) -> float:
    """The median of calls in so many seconds, the first not counted."""
    call()
    until = time.perf_counter() + seconds

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
