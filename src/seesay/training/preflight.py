"""Before a long run: everything that can be found out about its pairs and this machine in a minute or two."""

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from seesay.base.memory import available_memory
from seesay.base.records import PairSource
from seesay.base.runtime import Runtime, is_faster_in_bfloat16
from seesay.data.duplicates import alike_groups, equal_groups
from seesay.data.loader import Subset
from seesay.data.pixel_cache import LONGEST, PixelCache
from seesay.data.survey import Captions, Pictures, survey_captions, survey_pictures
from seesay.data.tokenizer import CaptionTokenizer
from seesay.training.assemble import CACHE_MARGIN
from seesay.training.diagnosis import (
    CaptionReport,
    Diagnosis,
    MemoryReport,
    OverfitReport,
    PictureReport,
    TimeReport,
)
from seesay.training.estimates import halved, memory_of, speeds, time_of
from seesay.training.judgement import findings_of
from seesay.training.plan import Plan, caption_chances, choose, image_chances, repeated_share, steps_of
from seesay.training.rehearsal import Job, Rehearsed, rehearse
from seesay.training.settings import TrainSettings
from seesay.training.sources import data_facts, open_sources
from seesay.training.trackers import refuse_missing

EXAMPLES = 20
OVERFIT_STEPS = 300
PICTURE_SECONDS = 600.0


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much is looked at: `sample` pictures (None: all that ten minutes allow), `seconds` of rehearsal."""

    sample: int | None = None
    seconds: float = 60.0


def diagnose(
    places: Sequence[str | Path],
    *,
    out: Path,
    settings: TrainSettings,
    validation: Sequence[str | Path] = (),
    effort: Effort | None = None,
) -> Diagnosis:
    """What `train_model` with the same arguments would meet. Writes nothing but a temporary folder.

    Raises `UsageError` where the run would be refused before its first step.
    """
    effort = effort or Effort()
    refuse_missing(settings.log.to)
    runtime = Runtime.find(settings.device)
    pairs = open_sources(places, validation, settings)
    chances = caption_chances(pairs.training)
    facts = data_facts(pairs.training, runtime)
    if not settings.towers.precision:
        facts = replace(facts, is_faster_in_bfloat16=is_faster_in_bfloat16(runtime.device))
    plan = choose(settings, facts, repeats=chances, image_repeats=image_chances(pairs.sampled.image_id_M))
    whole = pairs.training.pairs if isinstance(pairs.training, Subset) else pairs.training
    pictures = survey_pictures(whole, sample=effort.sample, seconds=PICTURE_SECONDS, cores=runtime.cores)
    tokenizer = _tokenizer(pairs.training, plan)
    captions = survey_captions(whole, tokenizer)
    repeated = repeated_share(chances, plan.settings.batch_size or 2)
    rehearsed, batch_size = _rehearse(places, validation, plan, pairs=len(pairs.training), seconds=effort.seconds)
    unusable = Counter(problem.reason for problem in whole.problems)
    parts: dict[str, Any] = {
        "name": whole.name,
        "pairs": len(whole),
        "held_out": len(pairs.validation or ()) if not validation else 0,
        "unusable": dict(unusable.most_common()),
        "plan": plan.reasons,
        "pictures": picture_report(whole, pictures, plan),
        "captions": caption_report(captions, tokenizer, plan, empty=unusable["empty caption"], repeated=repeated),
        "overfit": overfit_report(rehearsed),
        "memory": _memory_report(rehearsed, plan, out, pictures=pictures, batch_size=batch_size, runtime=runtime),
        "time": _time_report(
            rehearsed, plan, pairs=len(pairs.training), batch_size=batch_size, held_out=len(pairs.validation or ())
        ),
    }
    found = findings_of(Diagnosis(**parts, findings=()), plan.settings, rehearsed)
    return Diagnosis(**parts, findings=found)


def _tokenizer(pairs: PairSource, plan: Plan) -> CaptionTokenizer:
    """The words that the run would learn."""
    return CaptionTokenizer.train(
        (caption for index in range(len(pairs)) for caption in pairs.captions(index)),
        vocab_size=plan.settings.data.vocab_size or plan.architecture.text.vocab_size,
        context=plan.settings.data.context or plan.architecture.text.context,
    )


def picture_report(pairs: PairSource, pictures: Pictures, plan: Plan) -> PictureReport:
    """The counts of what was seen; keys of at most twenty broken pictures and groups of duplicates."""
    found_N, model_side = pictures.found_N, plan.architecture.image.image_size
    side_N = np.minimum(found_N["height"], found_N["width"])
    equal = equal_groups(found_N["bytes"])
    _, first_N = np.unique(found_N["bytes"], return_index=True)
    distinct_N = found_N[np.sort(first_N)]
    alike = alike_groups(distinct_N["hash"], distinct_N["grid"])

    def keys(rows: np.ndarray, groups: list[np.ndarray]) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(pairs.key(int(rows["pair"][at])) for at in group[:EXAMPLES]) for group in groups[:EXAMPLES])

    def shape(at: int) -> tuple[int, int]:
        return (int(found_N["width"][at]), int(found_N["height"][at])) if len(found_N) else (0, 0)

    return PictureReport(
        of=pictures.of,
        looked_at=pictures.looked_at,
        broken=len(pictures.broken),
        broken_by_reason=dict(Counter(sample.reason for sample in pictures.broken).most_common()),
        broken_keys=tuple(sample.key for sample in pictures.broken[:EXAMPLES]),
        equal=sum(len(group) - 1 for group in equal),
        alike=sum(len(group) - 1 for group in alike),
        repeated_in_batch=repeated_share(image_chances(found_N["bytes"]), plan.settings.batch_size or 2),
        equal_keys=keys(found_N, equal),
        alike_keys=keys(distinct_N, alike),
        median_side=int(np.median(side_N)) if len(side_N) else 0,
        smallest=shape(int(side_N.argmin()) if len(side_N) else 0),
        largest=shape(int(side_N.argmax()) if len(side_N) else 0),
        model_side=model_side,
        below_model_side=float((side_N < model_side).mean()) if len(side_N) else 0.0,
        seconds_each=pictures.seconds,
    )


def caption_report(
    captions: Captions, tokenizer: CaptionTokenizer, plan: Plan, *, empty: int, repeated: float
) -> CaptionReport:
    """The counts of what was read; `empty` are the pairs that were left out for having no words at all."""
    return CaptionReport(
        count=len(captions.length_N),
        most_per_pair=int(captions.per_pair_N.max()),
        same=captions.same,
        wordless=captions.wordless,
        empty=empty,
        file_names=len(captions.file_names),
        file_name_examples=tuple(captions.file_names[:EXAMPLES]),
        vocabulary=tokenizer.vocab_size,
        context=tokenizer.context,
        median_length=int(np.median(captions.length_N)),
        longest=int(captions.length_N.max()),
        enough_for_most=int(np.quantile(captions.length_N, 0.99)),
        cut_share=float((captions.length_N > tokenizer.context).mean()),
        repeated_in_batch=repeated,
        shares_targets=bool(plan.settings.data.share_repeats),
    )


def _sizes(plan: Plan) -> tuple[tuple[int, float], ...]:
    return plan.settings.schedule.sizes or ((plan.architecture.image.image_size, 1.0),)


def _cache_side(plan: Plan, pairs: int) -> int:
    """The side to which pictures are shrunk to be kept in memory; 0 if they are not kept."""
    side = round(CACHE_MARGIN * max(size for size, _ in _sizes(plan)))
    return side if plan.settings.data.cache and PixelCache.fits(pairs, side) else 0


def _rehearse(
    places: Sequence[str | Path], validation: Sequence[str | Path], plan: Plan, *, pairs: int, seconds: float
) -> tuple[Rehearsed, int]:
    """A rehearsal, with half the batch again and again where memory does not suffice; and the batch size it was."""
    settings = plan.settings
    steps = steps_of(settings, pairs)
    has_visits = steps is None or steps * (settings.batch_size or 2) > pairs
    while True:
        batch_size = settings.batch_size or 2
        job = Job(
            places=[str(place) for place in places],
            validation=[str(place) for place in validation],
            settings=settings,
            seconds=seconds,
            sizes=sorted({size for size, _ in _sizes(plan)}),
            with_kept=has_visits and bool(_cache_side(plan, pairs)),
            overfit_steps=OVERFIT_STEPS,
        )
        rehearsed = rehearse(job)
        if rehearsed.told.get("steps") or not rehearsed.lacked_memory:
            return rehearsed, batch_size
        settings = settings.model_copy(update={"batch_size": halved(batch_size), "micro_batch": None})


def overfit_report(rehearsed: Rehearsed) -> OverfitReport | None:
    """What became of one batch; None where it was not tried."""
    told = rehearsed.last("overfit")
    if told is None or not told["losses"] or told["losses"][0] is None:
        return None
    first, last, floor = told["losses"][0], told["losses"][-1], told["floor"]
    return OverfitReport(
        pairs=told["pairs"],
        steps=len(told["losses"]) - 1,
        guess=told["guess"],
        first=first,
        last=last,
        floor=floor,
        seconds=told["seconds"],
        learned=told["learned"],
    )


def _memory_report(
    rehearsed: Rehearsed, plan: Plan, out: Path, *, pictures: Pictures, batch_size: int, runtime: Runtime
) -> MemoryReport | None:
    run, begun = rehearsed.last("steps"), rehearsed.last("started")
    if run is None or begun is None:
        return None
    settings = plan.settings
    place = next(folder for folder in [out.absolute(), *out.absolute().parents] if folder.exists())
    seen = max((seen for seen, _ in run["steps"]), default=0)
    return memory_of(
        run,
        program=begun["bytes"],
        pictures_kept=_bytes_kept(pictures, _cache_side(plan, pictures.of), seen=seen),
        available=_available(runtime.device),
        device=runtime.device,
        batch_size=settings.batch_size or 2,
        measured_batch=batch_size,
        micro_batch=getattr(settings, "micro_batch", None),
        keep=settings.checkpoint.keep,
        disk_free=shutil.disk_usage(place).free,
    )


def _available(device: str) -> int:
    if not device.startswith("cuda"):
        return available_memory()
    import torch

    return torch.cuda.mem_get_info(torch.device(device))[0]


def _bytes_kept(pictures: Pictures, side: int, *, seen: int) -> int:
    """What the pictures that a rehearsal did not visit will take once they are shrunk to `side` and kept."""
    found_N = pictures.found_N
    if not side or not len(found_N):
        return 0
    height_N, width_N = found_N["height"].astype(np.float64), found_N["width"].astype(np.float64)
    short_N = np.minimum(height_N, width_N)
    ratio_N = np.minimum(LONGEST, np.maximum(height_N, width_N) / short_N)
    each = float((3 * ratio_N * np.minimum(short_N, side) ** 2).mean())
    return round(each * max(0, pictures.of - seen))


def _time_report(rehearsed: Rehearsed, plan: Plan, *, pairs: int, batch_size: int, held_out: int) -> TimeReport | None:
    measured = speeds(rehearsed.told, pairs=pairs)
    run = rehearsed.last("steps")
    if run is None or not measured:
        return None
    settings = plan.settings
    return time_of(
        measured,
        steps=steps_of(settings, pairs),
        minutes=settings.minutes,
        batch_size=settings.batch_size or batch_size,
        pairs=pairs,
        sizes=_sizes(plan),
        around_seconds=run["around"],
        checked_pairs=round(held_out * (1 / settings.check.every - 1)),
    )
