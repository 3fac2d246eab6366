"""A model as files for other runtimes, proven: what was written is read back there and has to answer as the model does.

The public verb is `export`. N = images or texts, D = embedding width, S = side in pixels.
"""

import copy
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from seesay.base.errors import RefusedInput, SeesayError, UsageError, nearest
from seesay.base.journal import progress
from seesay.base.names import no_empty_names
from seesay.base.publish import publish_folder, refuse_unwritable, storage_errors
from seesay.base.records import Skipped
from seesay.base.runtime import Runtime, machine_facts
from seesay.data.class_names import imagenet_names
from seesay.data.drawn_sets import open_drawn_set
from seesay.data.evalsets import open_evalset
from seesay.data.labelled import LabelledSet
from seesay.data.prompts import fill
from seesay.data.sources import count_reasons
from seesay.formulas.statistics import sign_test
from seesay.model.bundle import Model
from seesay.model.encode import encode_image_set, read_pixels
from seesay.model.engines import (
    OPENERS,
    GraphEncoder,
    check_engine,
    refuse_altered,
    refuse_missing,
    refuse_unexportable,
)
from seesay.model.hub import on_device
from seesay.tasks.classify import find_photos, read_photo
from seesay.tasks.export_files import (
    LAYOUTS,
    drawn_from_folders,
    facts_of,
    graph_paths,
    graphs_of,
    padded_ids,
    refuse_other_ids,
    remove_files,
    size_of,
    write_beside,
    write_graphs,
)
from seesay.tasks.export_int8 import CALIBRATORS, IN_INT8, float_layers, for_ranges, photos_for_ranges, without_outliers
from seesay.tasks.words import choose_words

# Between rounding in another order, 1e-7 for unit rows, and what could change an answer; and the cosine that int8 keeps
# at worst, as the issue asks.
FLOAT_BOUND, INT8_COSINE = 1e-5, 0.995
# Guesses: images and prompts that rows are compared on, and calls timed.
IMAGES, PROMPTS, CALLS = 64, 128, 9
# Drawn in the package, for whoever names no images.
DRAWN = "limits:species:64"
ODD_TEXTS = (
    "",
    "Two dogs on a beach, seen from far above; 1 of them swims.",
    "Käse & 猫 " * 40,
    "Caf&eacute; “ﬁsh’n’chips”",
)


@dataclass(frozen=True, kw_only=True, repr=False)
class Export:
    """What `export` wrote to the folder `out`: `facts` are those of its export.json, the check's table among them."""

    out: Path
    facts: dict[str, Any]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The check's table: torch, the files in float32, and where they were made those in int8."""
        return self.facts["check"]["rows"]

    def __repr__(self) -> str:
        last = self.rows[-1]
        return (
            f"<Export {self.facts['model']} -> {self.out}: {self.facts['layout']}, {self.facts['precision']}, largest "
            f"difference {last['largest_difference']:.1e}, smallest cosine {last['smallest_cosine']:.6f}>"
        )


@no_empty_names
def export(
    model: Model | str | Path,
    destination: str | Path,
    *,
    to: Literal["onnx", "openvino", "transformers.js"] = "onnx",
    int8: bool = False,
    calibrate: str | Path | None = None,
    check: str | Path | None = None,
) -> Export:
    """Write a model's two encoders as files of another runtime to a new folder, read them back there, and compare rows.

    "onnx" writes image.onnx (pixels (N, 3, S, S), normalised as preprocessor_config.json says, to unit rows (N, D)) and
    text.onnx (ids (N, L)), "openvino" .xml and .bin of the same names, "transformers.js" what that library loads. With
    `int8` products are of 8-bit integers; their ranges are taken from photos of every folder in `calibrate`. `check` is
    a labelled set: top-1 of torch, of the files and of int8 is then in the table. Preparation, tokenizer.json, which
    cleans captions as the model does, and export.json, which has the table and what is not cleaned, lie beside.

    `SeesayError`, and nothing is written, where float32 rows differ by more than 1e-5, ids of texts differ, or an int8
    row's cosine is below 0.995. `UsageError` for a folder that is not empty, packages that are missing and a model that
    is not exported; `RefusedInput` where no photo of `calibrate` or `check` can be read.
    """
    folder = Path(destination)
    _check_arguments(folder, to, int8=int8, calibrate=calibrate)
    found = find_photos([calibrate]) if calibrate is not None else []
    labelled = None if check is None else _labelled(check)
    chosen = on_device(model, "cpu")
    refuse_unexportable(chosen)
    refuse_altered(chosen, "export", may_be_cut=True)
    checks = _Checks.of(chosen, drawn_from_folders(found, photos_for_ranges(chosen, LAYOUTS[to].engine)), labelled)
    made: list[dict[str, Any]] = []

    def write(path: Path) -> None:
        with progress(3 if int8 else 2, "steps") as advance:
            made.append(_written(chosen, path, to, checks, int8=int8, advance=advance))
        # Once more: calibration takes minutes.
        _refuse_full(folder)

    publish_folder(folder, write)
    return Export(out=folder, facts=made[0])


def _check_arguments(folder: Path, to: str, *, int8: bool, calibrate: object) -> None:
    if to not in LAYOUTS:
        raise UsageError(f"--to {to} is not known.{nearest(to, LAYOUTS)} Known: {', '.join(LAYOUTS)}.")
    check_engine(LAYOUTS[to].engine)
    if int8:
        refuse_missing(LAYOUTS[to].engine, CALIBRATORS[LAYOUTS[to].engine])
    if int8 and calibrate is None:
        raise UsageError(
            "--int8 needs --calibrate PHOTOS: photos such as the model will see, from which ranges are taken."
        )
    if calibrate is not None and not int8:
        raise UsageError("--calibrate is for --int8; add that or leave it out.")
    _refuse_full(folder)
    refuse_unwritable(folder.parent)


def _refuse_full(folder: Path) -> None:
    with storage_errors(folder):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} exists and is not empty; name a new folder.")


def _labelled(source: str | Path) -> LabelledSet:
    opened = open_evalset(source)
    if not isinstance(opened, LabelledSet):
        raise UsageError(f"--check {source} has captions and no labels; name a folder with a folder per class.")
    return opened


@dataclass(frozen=True, kw_only=True)
class _Checks:
    """What rows are compared on: `pixels` (N, 3, S, S) of images and texts, those for ranges, and a labelled set."""

    images: str
    pixels: Tensor
    texts: list[str]
    calibration: Tensor
    labelled: LabelledSet | None
    skipped: list[Skipped]

    @classmethod
    def of(cls, model: Model, photos: Sequence[Path], labelled: LabelledSet | None) -> "_Checks":
        """Images of the labelled set, else of the photos, else drawn ones; prompts of ImageNet's names."""
        skipped: list[Skipped] = []

        def pixels_of(read: Callable[[int], bytes], count: int) -> Tensor:
            good, _, broken = read_pixels(model, read, count)
            skipped.extend(broken)
            side = model.preprocess.size
            return torch.stack(good) if good else torch.empty(0, 3, side, side, dtype=torch.uint8)

        calibration = pixels_of(lambda index: read_photo(photos[index]), len(photos))
        source = labelled if labelled is not None else None if photos else open_drawn_set(DRAWN)
        if source is None:
            pixels, images = calibration[-IMAGES:], "those of --calibrate"
        else:
            # From all over the set: it may be sorted by class.
            places = np.linspace(0, len(source) - 1, min(IMAGES, len(source))).astype(int).tolist()
            pixels, images = pixels_of(lambda index: source.image(places[index]), len(places)), source.name
        if not len(pixels) or (photos and not len(calibration)):
            option = "--check" if len(calibration) or not photos else "--calibrate"
            raise RefusedInput(f"none of the photos for {option} could be read ({count_reasons(skipped)}).")
        names = list(imagenet_names().values())
        some = names[:: len(names) // PROMPTS][:PROMPTS]
        prompts = [fill(model.templates, name)[at % len(model.templates)] for at, name in enumerate(some)]
        texts = [*prompts, *ODD_TEXTS]
        return cls(
            images=images, pixels=pixels, texts=texts, calibration=calibration, labelled=labelled, skipped=skipped
        )


def _written(
    model: Model, path: Path, to: str, checks: _Checks, *, int8: bool, advance: Callable[[int], None]
) -> dict[str, Any]:
    """Write all files, measure them, and give what export.json says; raises where a bound is broken."""
    graphs = graphs_of(model)
    right = _Rows.of(model, checks)
    rows = [_row("torch", model, right, right, size=sum(map(len, graphs.values())))]
    advance(1)
    kinds = {"float32": graphs}
    if int8:
        kinds["int8"] = _int8_graphs(model, graphs, to, checks, right)
        advance(1)
    for kind, files in kinds.items():
        # Of both kinds those are left that were asked for: the last.
        write_graphs(path, files, to, int8=kind == "int8")
        paths = graph_paths(to, int8=kind == "int8")
        exported = _opened(model, path, paths, LAYOUTS[to].engine)
        rows.append(_row(f"{to} {kind}", exported, _Rows.of(exported, checks), right, size=size_of(path)))
        _refuse_beyond(rows[-1], kind)
        if len(kinds) > 1 and kind == "float32":
            remove_files(path)
    write_beside(path, model, to)
    refuse_other_ids(model, path, checks.texts)
    facts = facts_of(model, to, int8=int8)
    facts["bounds"] = {"float32 largest difference": FLOAT_BOUND, "int8 smallest cosine": INT8_COSINE}
    facts["check"] = {
        "source": checks.images,
        "images": len(checks.pixels),
        "texts": len(checks.texts),
        "skipped": len(checks.skipped),
        "calibrated_on": len(checks.calibration),
        "set": None if checks.labelled is None else checks.labelled.name,
        "set_images": 0 if right.is_right_N is None else len(right.is_right_N),
        "rows": rows,
        "machine": machine_facts(Runtime.find("cpu")),
    }
    (path / "export.json").write_bytes((json.dumps(facts, indent=1) + "\n").encode("ascii"))
    advance(1)
    return facts


def _int8_graphs(model: Model, graphs: dict[str, bytes], to: str, checks: _Checks, right: "_Rows") -> dict[str, Any]:
    """Both graphs in 8-bit integers, with as few layers in float32 as the bound on cosines allows."""
    ranges = for_ranges(checks.calibration, graphs["image"])
    graphs = graphs_of(without_outliers(model, checks.calibration, checks.texts))
    inputs = {
        "image": [model.preprocess.normalise(part).numpy() for part in ranges.split(1)],
        "text": padded_ids(model, checks.texts),
    }
    encode = {"image": lambda own: own.encode_pixels(checks.pixels), "text": lambda own: own.encode_texts(checks.texts)}
    rows = {"image": right.image_ND, "text": right.text_ND}
    engine, paths, found = LAYOUTS[to].engine, graph_paths(to, int8=True), {}
    for side, graph in graphs.items():
        for first in float_layers(graph):
            found[side] = IN_INT8[engine](graph, inputs[side], first=first)
            with TemporaryDirectory(prefix="seesay-") as folder:
                write_graphs(Path(folder), {side: found[side]}, to, int8=True)
                own = encode[side](_opened(model, Path(folder), paths, engine))
            if (own * rows[side]).sum(1).min() >= INT8_COSINE:
                break
    return found


def _opened(model: Model, folder: Path, paths: dict[str, str], engine: str) -> Model:
    """The model, its rows computed by the files."""
    other, open_graph = copy.copy(model), OPENERS[engine]
    image, text = folder / paths["image"], folder / paths["text"]
    other.encoder, other.width = GraphEncoder(model.clip, lambda: open_graph(image), lambda: open_graph(text)), None
    other.engine = engine
    return other


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """Rows of the images and texts (N, D), whether each image of the set is right, and seconds for one image."""

    image_ND: Tensor
    text_ND: Tensor
    is_right_N: np.ndarray | None
    seconds: float

    @classmethod
    def of(cls, model: Model, checks: _Checks) -> "_Rows":
        """As the model's engine computes them."""
        image_ND = torch.cat([model.encode_pixels(part) for part in checks.pixels.split(model.batch_size)])
        times = []
        for _ in range(CALLS):
            start = time.perf_counter()
            model.encode_pixels(checks.pixels[:1])
            times.append(time.perf_counter() - start)
        is_right_N = None if checks.labelled is None else _is_right(model, checks.labelled)
        return cls(
            image_ND=image_ND,
            text_ND=model.encode_texts(checks.texts),
            is_right_N=is_right_N,
            seconds=median(times),
        )


def _is_right(model: Model, labelled: LabelledSet) -> np.ndarray:
    """For every image that can be read whether its class is the best, (N,)."""
    words = choose_words(model, [labelled], labelled.class_names)
    classifier = model.classifier(words.names, words.templates)
    image_ND, index, _ = encode_image_set(model, labelled.image, len(labelled))
    label_N = np.array([labelled.label(number) for number in index])
    return classifier.scores(image_ND).argmax(1).numpy() == label_N


def _row(name: str, model: Model, own: _Rows, right: _Rows, *, size: int) -> dict[str, Any]:
    """A row of the table."""
    both = ((own.image_ND, right.image_ND), (own.text_ND, right.text_ND))
    row: dict[str, Any] = {
        "name": name,
        "largest_difference": max(float((one - other).abs().max()) for one, other in both),
        "smallest_cosine": min(float((one * other).sum(1).min()) for one, other in both),
        "smallest_cosine_images": float((own.image_ND * right.image_ND).sum(1).min()),
        "smallest_cosine_texts": float((own.text_ND * right.text_ND).sum(1).min()),
        "milliseconds_per_image": round(1000 * own.seconds, 3),
        "bytes": size,
    }
    if own.is_right_N is not None and right.is_right_N is not None:
        lost = int((right.is_right_N & ~own.is_right_N).sum())
        gained = int((own.is_right_N & ~right.is_right_N).sum())
        row |= {"n": len(own.is_right_N), "top1": float(own.is_right_N.mean()), "lost": lost, "gained": gained}
        row["p"] = sign_test(lost, gained)
    return row


def _refuse_beyond(row: dict[str, Any], kind: str) -> None:
    """`SeesayError` where rows are not those of the model; a number that is none is beyond any bound."""
    if kind == "float32" and not row["largest_difference"] <= FLOAT_BOUND:
        raise SeesayError(
            f"nothing is written: rows of {row['name']} differ by {row['largest_difference']:.1e} from the model, more "
            f"than {FLOAT_BOUND:.0e}; report this model."
        )
    if kind == "int8" and not row["smallest_cosine"] >= INT8_COSINE:
        raise SeesayError(
            f"nothing is written: the smallest cosine of {row['name']} to the model's rows is "
            f"{row['smallest_cosine']:.4f} (images {row['smallest_cosine_images']:.4f}, texts "
            f"{row['smallest_cosine_texts']:.4f}), below {INT8_COSINE}; calibrate on more photos of the kind, or leave "
            "--int8 out."
        )
