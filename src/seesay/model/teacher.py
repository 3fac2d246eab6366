"""What a teacher makes of pairs: its rows of every image and every caption, made once and kept in a folder as float16.

The rows of so many pairs are one file, published when they are complete: what was made before a stop is not made again.
Each file says which teacher and which pairs it is of, and which image each row is of: files may change and keep their
names and sizes.

P = pairs of a file, M = captions of all of them, B = pairs of a batch, K = captions of each in it, E = width of a row.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from seesay.base.errors import RefusedInput, StorageError, UsageError
from seesay.base.publish import publish_file, remove_stale
from seesay.base.records import Batch, Embedded, PairSource
from seesay.data.loader import Subset, caption_id, image_id
from seesay.model.bundle import Model
from seesay.model.cache import key_of, space_fingerprint, weights_sha256
from seesay.model.encode import encode_blocks

# A guess: so many pairs are lost at a stop at most, and a million of them are a thousand files.
PAIRS_PER_FILE = 1024
TENSORS = ("image_PE", "text_ME", "image_id_P")


def teacher_sha256(model: Model) -> str:
    """SHA-256 of all that a teacher's rows depend on but the pairs, whatever the device; `UsageError` for one without.

    A model that predicts captions has no rows of texts.
    """
    if not model.embeds_texts:
        raise UsageError(
            f"teacher {model.name} predicts captions and has no rows of texts; take one that embeds texts."
        )
    texts = [weights_sha256(part.state_dict()) for part in model.clip.text_parts()]
    words = [model.tokenizer(["a photo of a red cat, and of 12 other things"]), model.tokenizer.context]
    return key_of(space_fingerprint(model), texts, model.architecture.model_dump(mode="json"), words, model.logit_scale)


@dataclass(frozen=True, kw_only=True)
class TeacherRows:
    """The rows of the teacher of that SHA-256 for `pairs` in `folder`, whose scale they are compared with.

    Of pairs of which some are held out, those of all are kept: another seed holds out others.
    """

    folder: Path
    pairs: PairSource
    sha256: str
    _first_P: Sequence[int] = field(init=False)
    _files: dict[int, tuple[Tensor, Tensor, Tensor, float]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        source = self.source
        counts = (len(source.captions(index)) for index in range(len(source)))
        object.__setattr__(self, "_first_P", [0, *accumulate(counts)])

    @property
    def source(self) -> PairSource:
        """All pairs, those that are held out as well."""
        return self.pairs.pairs if isinstance(self.pairs, Subset) else self.pairs

    @property
    def files(self) -> int:
        """How many files there are when all are made."""
        return -(-len(self.source) // PAIRS_PER_FILE)

    def missing(self) -> list[int]:
        """The numbers of the files that are not made yet; `RefusedInput` for one of another teacher or other pairs."""
        return [number for number in range(self.files) if not self._is_there(number)]

    def make(self, teacher: Model, number: int, *, part: tuple[int, int] = (0, 1)) -> tuple[Tensor, Tensor, Tensor]:
        """Rows of the images (P, E) and captions (M, E) of the k-th of n even parts of a file, in float32, and which
        images they are of, (P,) as `data.loader.image_id`.

        An image that cannot be read has a row of NaN and is 0.
        """
        first, stop = self._range(number)
        k, n = part
        first, stop = first + (stop - first) * k // n, first + (stop - first) * (k + 1) // n
        source = self.source
        image_PE = torch.full((stop - first, teacher.architecture.embed_dim), torch.nan)
        image_id_P = torch.zeros(stop - first, dtype=torch.int64)

        def read(index: int) -> bytes:
            image = source[index].image
            image_id_P[index - first] = image_id(image)
            return image

        for image_BE, index, _ in encode_blocks(teacher, read, range(first, stop)):
            image_PE[[at - first for at in index]] = image_BE
        image_id_P[image_PE.isnan().any(1)] = 0
        captions = [caption for index in range(first, stop) for caption in source.captions(index)]
        return image_PE, teacher.encode_texts(captions), image_id_P

    def write(self, number: int, image_PE: Tensor, text_ME: Tensor, image_id_P: Tensor, *, scale: float) -> None:
        """Publish a file of what `make` returns, and remove what a process that was killed left of it."""
        rows = {"image_PE": image_PE.half().contiguous(), "text_ME": text_ME.half().contiguous()}
        tensors = {**rows, "image_id_P": image_id_P.contiguous()}
        metadata = {"teacher": self.sha256, "pairs": self.source.fingerprint, "scale": json.dumps(scale)}
        publish_file(self._path(number), save(tensors, metadata))
        with suppress(StorageError, OSError):
            remove_stale(self.folder, name=self._path(number).name)

    def of(self, batch: Batch, device: torch.device) -> Embedded:
        """The teacher's rows of a batch, (B, E) and (K B, E), those of the captions that were drawn.

        `RefusedInput` for a row of another image than the batch has.
        """
        drawn_id_B = batch.caption_id_B if batch.drawn_id_B is None else batch.drawn_id_B
        samples, drawn = batch.sample_B.tolist(), drawn_id_B.tolist()
        images = [
            self._image(self._index(sample), own)
            for sample, own in zip(samples, batch.image_id_B.tolist(), strict=True)
        ]
        texts = [self._text(samples[row % len(samples)], caption) for row, caption in enumerate(drawn)]
        image_0E, text_0E, _, scale = self._file(0)
        return Embedded(
            image_BD=(torch.stack(images) if images else image_0E[:0]).to(device).float(),
            text_BD=(torch.stack(texts) if texts else text_0E[:0]).to(device).float(),
            scale=torch.tensor(scale, device=device),
        )

    def _index(self, sample: int) -> int:
        return self.pairs.indices[sample] if isinstance(self.pairs, Subset) else sample

    def _image(self, index: int, own: int) -> Tensor:
        number, at = divmod(index, PAIRS_PER_FILE)
        image_PE, _, image_id_P, _ = self._file(number)
        if int(image_id_P[at]) != own:
            raise RefusedInput(
                f"{self._path(number)} has no row of {self.source.key(index)!r} as it is now, but of another image of "
                "that name, or of one that could not be read; remove it, and its rows are made again."
            )
        return image_PE[at]

    def _text(self, sample: int, caption: int) -> Tensor:
        index = self._index(sample)
        number = index // PAIRS_PER_FILE
        own = [caption_id(text) for text in self.source.captions(index)]
        at = self._first_P[index] - self._first_P[number * PAIRS_PER_FILE] + own.index(caption)
        return self._file(number)[1][at]

    def _range(self, number: int) -> tuple[int, int]:
        return number * PAIRS_PER_FILE, min(len(self.source), (number + 1) * PAIRS_PER_FILE)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06}.safetensors"

    def _file(self, number: int) -> tuple[Tensor, Tensor, Tensor, float]:
        """The tensors of a file, mapped into memory when they are first asked for, and the teacher's scale."""
        if number not in self._files:
            self._files[number] = self._read(number, lambda file: [file.get_tensor(name) for name in TENSORS])
        return self._files[number]

    def _is_there(self, number: int) -> bool:
        if not self._path(number).exists():
            return False
        first, stop = self._range(number)
        expected = [stop - first, self._first_P[stop] - self._first_P[first]]
        expected.append(stop - first)
        own = self._read(
            number, lambda file: [(name, file.get_slice(name).get_shape()[0]) for name in sorted(file.keys())]
        )
        found = dict(own[:-1])
        if "image_id_P" not in found:
            return False  # of an earlier version, which did not know its images
        if (counts := [found.get(name) for name in TENSORS]) != expected:
            raise RefusedInput(f"{self._path(number)} has rows of {counts}, not {expected}; remove it.")
        return True

    def _read(self, number: int, read: Callable) -> tuple:
        path = self._path(number)
        try:
            with safe_open(path, "pt") as file:
                facts = file.metadata() or {}
                found, scale = read(file), float(facts.get("scale", "nan"))
        except (SafetensorError, OSError, ValueError) as error:
            raise RefusedInput(f"{path} is damaged ({error}); remove it, and its rows are made again.") from error
        for what, expected in (("teacher", self.sha256), ("pairs", self.source.fingerprint)):
            if facts.get(what) != expected:
                was = str(facts.get(what))[:12]
                raise RefusedInput(
                    f"{path} holds rows of another {what} ({was}, not {expected[:12]}); name another folder with "
                    "--set distillation.rows=FOLDER."
                )
        return *found, scale
