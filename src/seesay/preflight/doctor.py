"""Before a long run: what a minute or two of measuring says about its pairs and this machine.

The public `seesay.doctor` takes the arguments of `seesay.train`.
"""

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from seesay.base.errors import UsageError
from seesay.base.memory import available_memory
from seesay.base.records import PairSource
from seesay.base.runtime import Runtime, is_faster_in_bfloat16
from seesay.data.duplicates import alike_groups, equal_groups
from seesay.data.loader import Subset
from seesay.data.pairs import as_files, listed
from seesay.data.pixel_cache import LONGEST
from seesay.data.survey import Captions, ImageSurvey, survey_captions, survey_images
from seesay.data.tokenizer import CaptionTokenizer
from seesay.formulas.repeats import repeated_share
from seesay.formulas.schedule import Steps
from seesay.preflight.estimates import halved, memory_of, speeds, time_of
from seesay.preflight.findings import findings_of
from seesay.preflight.report import (
    CaptionReport,
    DoctorReport,
    Finding,
    ImageReport,
    MemoryReport,
    OverfitReport,
    TimeReport,
)
from seesay.preflight.short_run import Job, ShortRunReport, run_short
from seesay.training.pairs import caption_chances, data_facts, image_chances, open_training_pairs
from seesay.training.plan import RunPlan, choose
from seesay.training.run_folder import learn_tokenizer
from seesay.training.settings import DistillationSettings, TrainSettings
from seesay.training.setup import cache_side
from seesay.training.start import begin_with, finetuning_advice, open_towers
from seesay.training.trackers import refuse_missing
from seesay.training.train import Section, Sources, run_request, with_settings
from seesay.training.validation import ZeroShotCheck

# Guesses: how many keys of broken images, groups of duplicates and odd captions a report names; how many steps a model
# has to overfit one batch; how long all images may take to be decoded.
EXAMPLES = 20
OVERFIT_STEPS = 300
SURVEY_SECONDS = 600.0
# Guesses: how long the short run takes, in seconds, all sizes together; and how long it may take.
SHORT_RUN_SECONDS = 60.0
MOST_SECONDS = 3600
# Captions longer than all but 1 %.
MOST = 0.99

NOT_TIMED = "teacher    its rows of all pairs are not made here: memory and time are those of a run without it"


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much is examined: `sample` images (None: as many as ten minutes allow), `seconds` for the short run."""

    sample: int | None = None
    seconds: float = SHORT_RUN_SECONDS


def examine(
    sources: Sequence[str | Path],
    *,
    out: Path,
    settings: TrainSettings,
    validation: Sequence[str | Path] = (),
    effort: Effort | None = None,
) -> DoctorReport:
    """Examine what `train_model` with the same arguments would use. Writes nothing but a temporary folder.

    Raises `UsageError` where the run would be refused before its first step.
    """
    effort = effort or Effort()
    refuse_missing(settings.log.to)
    runtime = Runtime.find(settings.device)
    start, settings = begin_with(settings)
    towers = open_towers(settings)
    known = start or towers.text
    if known is not None and not isinstance(known.tokenizer, CaptionTokenizer):
        raise UsageError(f"{known.name} has a tokenizer.json, whose captions are not examined; leave it out.")
    pairs = open_training_pairs(sources, validation, settings)
    chances = caption_chances(pairs.training)
    facts = data_facts(pairs.training, runtime)
    if not settings.towers.precision:
        facts = replace(facts, is_faster_in_bfloat16=is_faster_in_bfloat16(runtime.device))
    repeats = {"repeats": chances, "image_repeats": image_chances(pairs.sampled.image_id_M)}
    plan = choose(settings, facts, **repeats, start=start and start.architecture, towers=towers.architecture)
    whole = pairs.training.pairs if isinstance(pairs.training, Subset) else pairs.training
    images = survey_images(whole, sample=effort.sample, seconds=SURVEY_SECONDS, cores=runtime.cores)
    tokenizer = known.tokenizer if known else learn_tokenizer(plan, pairs)
    assert isinstance(tokenizer, CaptionTokenizer)
    captions = survey_captions(whole, tokenizer)
    repeated = repeated_share(chances, plan.batch_size)
    run, batch_size = _run_short(sources, validation, plan, pairs=len(pairs.training), seconds=effort.seconds)
    unusable = Counter(problem.reason for problem in whole.problems)
    report: dict[str, Any] = {
        "name": whole.name,
        "pairs": len(whole),
        "held_out": len(pairs.validation or ()) if not validation else 0,
        "unusable": dict(unusable.most_common()),
        "notes": tuple(whole.notes),
        "plan": (*plan.reasons, *towers.lines(plan.architecture.embed_dim), *([NOT_TIMED] if settings.teacher else [])),
        "images": image_report(whole, images, plan),
        "captions": caption_report(captions, tokenizer, plan, empty=unusable["empty caption"], repeated=repeated),
        "overfit": overfit_report(run),
        "memory": _memory_report(run, plan, out, images=images, batch_size=batch_size, runtime=runtime),
        "time": _time_report(run, plan, pairs=len(pairs.training), held_out=len(pairs.validation or ())),
    }
    findings = findings_of(DoctorReport(**report, findings=()), plan, run)
    return DoctorReport(**report, findings=findings)


def image_report(pairs: PairSource, images: ImageSurvey, plan: RunPlan) -> ImageReport:
    """The counts of a survey; keys of at most `EXAMPLES` broken images and groups of duplicates."""
    found_N, model_side = images.found_N, plan.architecture.image.image_size
    side_N = np.minimum(found_N["height"], found_N["width"])
    equal = equal_groups(found_N["bytes"])
    _, first_N = np.unique(found_N["bytes"], return_index=True)
    distinct_N = found_N[np.sort(first_N)]
    alike = alike_groups(distinct_N["hash"], distinct_N["grid"])

    def keys(rows: np.ndarray, groups: list[np.ndarray]) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(pairs.key(int(rows["pair"][at])) for at in group[:EXAMPLES]) for group in groups[:EXAMPLES])

    def shape(at: int) -> tuple[int, int]:
        return (int(found_N["width"][at]), int(found_N["height"][at])) if len(found_N) else (0, 0)

    return ImageReport(
        total=images.of,
        examined=images.looked_at,
        broken=len(images.broken),
        broken_by_reason=dict(Counter(sample.reason for sample in images.broken).most_common()),
        broken_keys=tuple(sample.key for sample in images.broken[:EXAMPLES]),
        duplicates=sum(len(group) - 1 for group in equal),
        near_duplicates=sum(len(group) - 1 for group in alike),
        repeated_in_batch=repeated_share(image_chances(found_N["bytes"]), plan.batch_size),
        duplicate_keys=keys(found_N, equal),
        near_duplicate_keys=keys(distinct_N, alike),
        median_side=int(np.median(side_N)) if len(side_N) else 0,
        smallest=shape(int(side_N.argmin()) if len(side_N) else 0),
        largest=shape(int(side_N.argmax()) if len(side_N) else 0),
        model_side=model_side,
        below_model_side=float((side_N < model_side).mean()) if len(side_N) else 0.0,
        seconds_per_image=images.seconds,
    )


def caption_report(
    captions: Captions, tokenizer: CaptionTokenizer, plan: RunPlan, *, empty: int, repeated: float
) -> CaptionReport:
    """The counts of a survey; `empty` pairs were left out since their caption has no characters."""
    return CaptionReport(
        count=len(captions.length_N),
        most_per_pair=int(captions.per_pair_N.max()),
        duplicates=captions.same,
        wordless=captions.wordless,
        empty=empty,
        file_names=len(captions.file_names),
        file_name_examples=tuple(captions.file_names[:EXAMPLES]),
        vocabulary=tokenizer.vocab_size,
        context=tokenizer.context,
        median_length=int(np.median(captions.length_N)),
        longest=int(captions.length_N.max()),
        length_of_99_percent=int(np.quantile(captions.length_N, MOST)),
        truncated_share=float((captions.length_N > tokenizer.context).mean()),
        repeated_in_batch=repeated,
        shares_repeats=plan.data.share_repeats,
    )


def _run_short(
    sources: Sequence[str | Path], validation: Sequence[str | Path], plan: RunPlan, *, pairs: int, seconds: float
) -> tuple[ShortRunReport, int]:
    """A short run, its batch halved until memory suffices; and the batch size that was measured."""
    # A teacher's rows of all pairs would take longer than the short run.
    untaught = {"teacher": None, "distillation": DistillationSettings()}
    settings, batch_size, length = plan.settings.model_copy(update=untaught), plan.batch_size, plan.length
    has_epochs = not isinstance(length, Steps) or length.count * batch_size > pairs
    while True:
        job = Job(
            sources=[str(source) for source in sources],
            validation=[str(source) for source in validation],
            settings=settings,
            seconds=seconds,
            sizes=sorted({size for size, _ in plan.sizes}),
            with_cached=has_epochs and bool(cache_side(plan, pairs)),
            overfit_steps=OVERFIT_STEPS,
        )
        run = run_short(job)
        if run.measured.get("steps") or not run.lacked_memory:
            return run, batch_size
        batch_size = halved(batch_size)
        settings = settings.model_copy(update={"batch_size": batch_size, "micro_batch": None})


def overfit_report(run: ShortRunReport) -> OverfitReport | None:
    """Whether one batch could be overfit; None where it was not tried."""
    tried = run.last("overfit")
    if tried is None or not tried["losses"] or tried["losses"][0] is None:
        return None
    return OverfitReport(
        pairs=tried["pairs"],
        steps=len(tried["losses"]) - 1,
        chance_loss=tried["chance_loss"],
        first_loss=tried["losses"][0],
        last_loss=tried["losses"][-1],
        minimum_loss=tried["minimum_loss"],
        seconds=tried["seconds"],
        is_overfit=tried["is_overfit"],
    )


def _memory_report(
    run: ShortRunReport, plan: RunPlan, out: Path, *, images: ImageSurvey, batch_size: int, runtime: Runtime
) -> MemoryReport | None:
    steps, begun = run.last("steps"), run.last("started")
    if steps is None or begun is None:
        return None
    existing = next(folder for folder in [out.absolute(), *out.absolute().parents] if folder.exists())
    seen = max((seen for seen, _ in steps["steps"]), default=0)
    return memory_of(
        steps,
        program=begun["bytes"],
        cached_images=_bytes_cached(images, cache_side(plan, images.of), seen=seen),
        available=_available(runtime.device),
        device=runtime.device,
        batch_size=plan.batch_size,
        measured_batch=batch_size,
        micro_batch=plan.micro_batch,
        keep=plan.settings.checkpoint.keep,
        disk_free=shutil.disk_usage(existing).free,
    )


def _available(device: str) -> int:
    if not device.startswith("cuda"):
        return available_memory()
    import torch

    return torch.cuda.mem_get_info(torch.device(device))[0]


def _bytes_cached(images: ImageSurvey, side: int, *, seen: int) -> int:
    """Bytes of the images that a short run did not read, once they are shrunk to `side` and cached."""
    found_N = images.found_N
    if not side or not len(found_N):
        return 0
    height_N, width_N = found_N["height"].astype(np.float64), found_N["width"].astype(np.float64)
    short_N = np.minimum(height_N, width_N)
    ratio_N = np.minimum(LONGEST, np.maximum(height_N, width_N) / short_N)
    each = float((3 * ratio_N * np.minimum(short_N, side) ** 2).mean())
    return round(each * max(0, images.of - seen))


def _time_report(run: ShortRunReport, plan: RunPlan, *, pairs: int, held_out: int) -> TimeReport | None:
    measured = speeds(run.measured, pairs=pairs)
    steps = run.last("steps")
    if steps is None or not measured:
        return None
    return time_of(
        measured,
        length=plan.length,
        batch_size=plan.batch_size,
        pairs=pairs,
        sizes=plan.sizes,
        around_seconds=steps["around"],
        checked_pairs=round(held_out * (1 / plan.settings.check.every - 1)),
    )


@with_settings
def doctor(
    pairs: Sources,
    *,
    out: str | Path | None = None,
    model: str | None = None,
    objective: str | None = None,
    widths: Sequence[int] | None = None,
    teacher: str | None = None,
    image_tower: str | None = None,
    text_tower: str | None = None,
    steps: int | None = None,
    epochs: int | None = None,
    minutes: float | None = None,
    batch_size: int | None = None,
    micro_batch: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    workers: int | None = None,
    val: Sources = (),
    check: Sources = (),
    recipe: str | Path | None = None,
    overrides: Sequence[str] = (),
    data: Section = None,
    towers: Section = None,
    optimizer: Section = None,
    schedule: Section = None,
    checkpoint: Section = None,
    log: Section = None,
    start: Section = None,
    distillation: Section = None,
    parallel: Literal["ddp", "fsdp"] | None = None,
    parallel_timeout_seconds: float | None = None,
    stuck_minutes: float | None = None,
    sample: int | None = None,
    seconds: float = SHORT_RUN_SECONDS,
) -> DoctorReport:
    """Examine pairs, memory and time of `seesay.train` with the same arguments; nothing is written.

    `sample` images are decoded, chosen at random (None: as many as ten minutes allow). A short run of `seconds`, in a
    process of its own, measures memory and speed, and whether the model can overfit one batch. What is wrong is in the
    report's `findings`. Raises `UsageError` where the run would be refused before its first step.
    """
    arguments = locals()
    if sample is not None and sample < 1:
        raise UsageError(f"sample is {sample}; decode at least one image.")
    if not 1 <= seconds <= MOST_SECONDS:
        raise UsageError(f"seconds is {seconds:g}; give the short run between 1 and {MOST_SECONDS}.")
    request = run_request(pairs, arguments)
    for source in listed(check):
        ZeroShotCheck(source)
    effort = Effort(sample=sample, seconds=seconds)
    settings = request.settings
    image, caption = settings.data.image_column, settings.data.caption_column
    # The short run is a process of its own.
    given = as_files(request.sources, image_column=image, caption_column=caption)
    with given as sources, as_files(val, image_column=image, caption_column=caption) as validation:
        report = examine(sources, out=request.out, settings=settings, validation=validation, effort=effort)
    return with_advice(report, settings, request.sources, request.out)


def with_advice(report: DoctorReport, settings: TrainSettings, sources: Sequence[object], out: Path) -> DoctorReport:
    """The report, where that is due with a last line on a trained model to start from; `sources` are as given."""
    sizes = {"pairs": report.pairs - report.held_out, "median_side": report.images.median_side}
    text = finetuning_advice(settings, **sizes, sources=sources, out=out)
    advice = (Finding(topic="advice", level="ok", message=text),) if text else ()
    return replace(report, findings=(*report.findings, *advice))
