"""What a model and an index answer, without a word of HTTP: embed, classify, search, thumbnails.

Images are decoded in processes (`image_readers`), the model is used by a thread of its own.
N = texts or images, D = embedding width.
"""

import asyncio
import os
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seesay.base.errors import SeesayError, UsageError
from seesay.base.printable import printable
from seesay.base.processes import usable_cores
from seesay.base.streams import say
from seesay.data.prompts import checked, distinct_labels
from seesay.index.photo_index import Hit, PhotoIndex, open_index
from seesay.index.photo_table import acknowledged_version
from seesay.model.encode import row_width
from seesay.service.forms import ClassifyForm, SearchForm
from seesay.service.image_readers import ImageReaders
from seesay.service.measures import Measures
from seesay.service.model_thread import ROWS_AT_ONCE, ModelThread
from seesay.service.refusals import Refusal

if TYPE_CHECKING:
    from seesay.model.bundle import Model
    from seesay.model.zero_shot import Classifier

# Guesses: classifiers and thumbnails in memory (10 kB each), prompts that one request may make, jobs that may wait.
CLASSIFIERS, THUMBNAILS, MOST_PROMPTS, JOBS = 32, 4096, 4096, 64
# Seconds between looks for what another process has put into the index: a guess.
LOOK_SECONDS = 5.0


class Service:
    """A model, and an index of photos or None. Every method is called from one event loop."""

    def __init__(self, model: "Model", index: PhotoIndex | None, measures: Measures):
        self.model = model
        self.index = index
        self._thread = ModelThread(model, capacity=JOBS, on_batch=measures.batch_rows.observe)
        self._images = ImageReaders(model.preprocess.read, count=usable_cores())
        self._pool = ThreadPoolExecutor(max_workers=usable_cores() + 2, thread_name_prefix="serve")
        # The model's thread alone uses it.
        self._classifiers: OrderedDict[tuple, tuple[Classifier, list[str]]] = OrderedDict()
        self._thumbnails: OrderedDict[int, asyncio.Future[bytes | None]] = OrderedDict()
        self._looked = time.monotonic()
        self._measures = measures
        measures.photos.set(0 if index is None else len(index))

    @property
    def is_ready(self) -> bool:
        """Whether questions are answered."""
        return self._thread.is_alive

    def close(self) -> None:
        """End the threads and processes."""
        self._images.close()
        self._thread.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def embed(self, texts: Sequence[str], images: Sequence[bytes]) -> tuple[Tensor, Tensor]:
        """Unit rows (N, D) of texts and of images. `Refusal` for what cannot be read or embedded."""
        if not self.model.embeds_texts:
            raise Refusal(400, f"model {self.model.name} predicts captions and has no embeddings; classify with it.")
        # Some at a time, so that others have their turn.
        chunks = [texts[first : first + ROWS_AT_ONCE] for first in range(0, len(texts), ROWS_AT_ONCE)]
        text_rows = [(await self._encoded(chunk, ()))[0] for chunk in chunks]
        image_ND = (await self._encoded((), images))[1] if images else None
        empty = torch.empty(0, row_width(self.model))
        return torch.cat(text_rows) if text_rows else empty, empty if image_ND is None else image_ND

    async def notes(self, texts: Sequence[str]) -> list[str]:
        """A line where texts lose their end at the model's context."""
        from seesay.model.zero_shot import cut_notes

        tokenizer = self.model.tokenizer
        # A token has a byte at least, and two more are start and end.
        long = [text for text in texts if len(text.encode("utf-8", "replace")) > tokenizer.context - 2]
        return list(await self._in_pool(cut_notes, tokenizer, long)) if long else []

    async def classify(self, form: ClassifyForm) -> tuple[list[tuple[str, float]], list[str]]:
        """(label, probability), best first, and notes on what was left out or cut."""
        count = len(form.labels) * len(form.templates or self.model.templates)
        if count > MOST_PROMPTS:
            raise Refusal(413, f"{count:,} prompts, labels times templates, are more than {MOST_PROMPTS:,}.")
        square = await self._square(form.image)
        _, row_1X = await asyncio.wrap_future(self._thread.encode(pixels=[square]))
        return await asyncio.wrap_future(self._thread.call(partial(self._ranked, form, row_1X)))

    def _ranked(self, form: ClassifyForm, row_1X: Tensor) -> tuple[list[tuple[str, float]], list[str]]:
        try:
            classifier, notes = self._classifier(form.labels, form.templates)
        except SeesayError as error:
            raise Refusal.of(error) from error
        (ranking,) = classifier.rank(row_1X, top=form.top)
        return list(zip(ranking.labels, ranking.probabilities, strict=True)), notes

    def _classifier(self, labels: Sequence[str], templates: Sequence[str]) -> "tuple[Classifier, list[str]]":
        """One that is known, or a new one; labels are checked as `Model.classify` does."""
        key = (tuple(labels), tuple(templates))
        if key not in self._classifiers:
            chosen = checked(templates, "the request") if templates else None
            notes: list[str] = []
            if self.model.logit_bias is None:
                labels, twice = distinct_labels(labels)
                read = self.model.read_labels(labels, chosen)
                read.refuse_alike()
                notes = [*(f"label {label!r} is there more than once and counts once." for label in twice), *read.notes]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what they say is in the notes
                self._classifiers[key] = self.model.classifier(labels, chosen), notes
        self._classifiers.move_to_end(key)
        while len(self._classifiers) > CLASSIFIERS:
            self._classifiers.popitem(last=False)
        return self._classifiers[key]

    async def search(self, form: SearchForm) -> list[tuple[Hit, str]]:
        """The photos nearest to what is asked, best first, each with its path below the folder that is served."""
        index = await self._current_index()
        added, taken = [*filter(None, [form.text]), *form.plus], list(form.minus)
        if form.like is not None:
            if form.image is not None or added or taken:
                raise Refusal(422, "like: it stands alone; leave out text, image, plus and minus.")
            hits = await self._in_pool(partial(_like, index, form.like, top=form.top))
        else:
            images = () if form.image is None else (form.image,)
            text_ND, image_ND = await self._encoded([*added, *taken], images)
            signs = [1.0] * (len(images) + len(added)) + [-1.0] * len(taken)
            total_D = torch.tensor(signs) @ torch.cat([image_ND, text_ND])
            length = float(total_D.norm())
            if length < 1e-6:
                raise Refusal(422, "what is added and what is taken away are the same; leave one of them out.")
            hits = await self._in_pool(partial(index.search_vector, (total_D / length).numpy(), top=form.top))
        self._prefetch(index, [hit.id for hit in hits])
        root = index.facts.photos
        return [(hit, printable(os.path.relpath(hit.path, root))) for hit in hits]

    async def thumbnail(self, number: int) -> bytes | None:
        """The small JPEG of a photo by its number in the index; None without it."""
        if number not in self._thumbnails:
            self._prefetch(await self._current_index(), [number])
        return await asyncio.shield(self._thumbnails[number])

    def _prefetch(self, index: PhotoIndex, numbers: Sequence[int]) -> None:
        """Read thumbnails that are not in memory, all at once."""
        missing = [number for number in numbers if number not in self._thumbnails]
        for number in numbers:
            if number in self._thumbnails:
                self._thumbnails.move_to_end(number)
        if not missing:
            return
        loop = asyncio.get_running_loop()
        reading = loop.run_in_executor(self._pool, index.thumbnails, missing)
        for number in missing:
            self._thumbnails[number] = loop.create_future()
        waiting = {number: self._thumbnails[number] for number in missing}
        reading.add_done_callback(partial(self._place, waiting))
        while len(self._thumbnails) > THUMBNAILS:
            self._thumbnails.popitem(last=False)

    def _place(self, waiting: dict[int, asyncio.Future], reading: asyncio.Future) -> None:
        error = None if reading.cancelled() else reading.exception()
        if error is not None:
            say(f"thumbnails cannot be read: {printable(str(error))}")
        found = {} if reading.cancelled() or error else reading.result()
        for number, future in waiting.items():
            if future.done():
                continue
            future.set_result(found.get(number))
            if number not in found and self._thumbnails.get(number) is future:
                # It may be there later, and numbers that are guessed do not drive out others.
                del self._thumbnails[number]

    async def _encoded(self, texts: Sequence[str], images: Sequence[bytes]) -> tuple[Tensor, Tensor]:
        """Rows (N, D) of texts and of images."""
        # Gathering nothing would wait for two passes of the event loop.
        squares = await asyncio.gather(*map(self._square, images)) if images else []
        return await asyncio.wrap_future(self._thread.encode(texts, squares))

    async def _square(self, image: bytes) -> Tensor:
        """(3, S, S) of the bytes of an image; `Refusal` for one that cannot be read."""
        try:
            return await asyncio.wrap_future(self._images.read(image))
        except SeesayError as error:
            raise Refusal.of(error) from error

    async def _in_pool(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function gives in a thread; `Refusal` for a question that cannot be answered."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)
        except SeesayError as error:
            raise Refusal.of(error) from error

    async def _current_index(self) -> PhotoIndex:
        """The index, read again where another process has written it; `Refusal` without one."""
        if self.index is None:
            raise Refusal(404, "no photos are served; start the service with a folder of photos.")
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked = time.monotonic()
            await self._look(self.index)
        if not len(self.index):
            raise Refusal(404, "no photo is indexed yet.")
        return self.index

    async def _look(self, index: PhotoIndex) -> None:
        """Read the index again where it has a newer version than what is searched; the old one stays where it fails."""
        try:
            # Until a writer has made its snapshot this is the old one still, and is looked at again.
            if acknowledged_version(index.folder) == index.version:
                return
            self.index = await asyncio.get_running_loop().run_in_executor(
                self._pool, partial(open_index, index.folder, model=self.model)
            )
        except SeesayError as error:
            say(f"the index cannot be read, the old one answers: {printable(str(error))}")
            return
        self._thumbnails.clear()
        self._measures.photos.set(len(self.index))


def _like(index: PhotoIndex, number: int, *, top: int) -> list[Hit]:
    try:
        return index.like(number, top=top)
    except UsageError as error:
        raise Refusal(404, f"photo {number} is not in the index.") from error
