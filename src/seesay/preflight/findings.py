"""From numbers to lines that a person can act on: all well, a warning, or a run that could not work."""

from collections.abc import Iterator
from dataclasses import replace

from seesay.base.errors import spelled
from seesay.base.values import reasons_in_words
from seesay.preflight.estimates import USABLE
from seesay.preflight.report import (
    CaptionReport,
    DoctorReport,
    Finding,
    ImageReport,
    MemoryReport,
    OverfitReport,
    TimeReport,
)
from seesay.preflight.short_run import ShortRunReport
from seesay.training.faults import MOST_SKIPPED
from seesay.training.plan import MANY_REPEATS, RunPlan

# Guesses: the shares of images that are small, of captions that are truncated or look like file names, and of images
# that are duplicates, from which on a warning is worth its line.
MANY_SMALL = 0.5
MANY_TRUNCATED = 0.05
MANY_FILE_NAMES = 0.01
MANY_DUPLICATES = 0.01
# Guesses: in fewer steps a batch cannot be expected to be overfit; a model that has come less than a fifth of the way
# from its first loss to the lowest learns nothing; and a run of fewer steps teaches little.
ENOUGH_STEPS = 50
LITTLE_LEARNED = 0.2
FEW_STEPS = 200


def findings_of(report: DoctorReport, plan: RunPlan, run: ShortRunReport) -> tuple[Finding, ...]:
    """One or more findings for each part of `report`, in the order in which they matter to a reader."""
    findings = (
        _pairs(report),
        *(Finding(topic="source", level="ok", message=note) for note in report.notes),
        *_images(report.images),
        *_captions(report.captions),
        _repeats(report.captions, report.images),
        overfit_finding(report.overfit, run),
        *_memory(report.memory, plan, run),
        _time(report.time, run),
    )
    return tuple(replace(each, message=spelled(each.message), hint=spelled(each.hint)) for each in findings)


def _pairs(report: DoctorReport) -> Finding:
    captions = report.captions
    counted = f"{report.pairs:,} pairs, {captions.count:,} captions, {captions.count / report.pairs:.1f} for each image"
    if captions.most_per_pair > 1:
        counted += f" (at most {captions.most_per_pair})"
    if report.held_out:
        counted += f"; {report.held_out:,} held out for validation"
    if not report.unusable:
        return Finding(topic="pairs", level="ok", message=counted)
    message = f"{counted}; left out: {reasons_in_words(report.unusable)}"
    return Finding(topic="pairs", level="warning", message=message, hint="fix or remove them; the run leaves them out")


def _images(images: ImageReport) -> Iterator[Finding]:
    seen = "all" if images.examined == images.total else f"{images.examined:,} of {images.total:,}"
    if images.broken:
        reasons = reasons_in_words(images.broken_by_reason)
        message = f"{images.broken:,} broken ({images.broken_share:.2%} of {seen}): {reasons}"
        hint = f"replace or remove them, first {images.broken_keys[0]}"
        level = "stop" if images.broken_share > MOST_SKIPPED else "warning"
        if level == "stop":
            hint += f"; a run with more than {MOST_SKIPPED:.0%} broken ends with exit code 3"
        yield Finding(topic="images", level=level, message=message, hint=hint)
    else:
        yield Finding(topic="images", level="ok", message=f"{images.examined:,} decoded ({seen}), none broken")
    yield _duplicates(images)
    if not images.median_side:
        return
    smallest, largest = (f"{width} x {height}" for width, height in (images.smallest, images.largest))
    message = (
        f"median {images.median_side} px, {smallest} to {largest}; {images.below_model_side:.1%} below the "
        f"model's {images.model_side} px"
    )
    is_small = images.below_model_side > MANY_SMALL
    hint = "they are enlarged, which adds cost and no detail; choose a smaller --model" if is_small else ""
    yield Finding(topic="sizes", level="warning" if is_small else "ok", message=message, hint=hint)


def _duplicates(images: ImageReport) -> Finding:
    message = (
        f"{images.duplicates:,} have the same bytes as another image, {images.near_duplicates:,} more look the same"
    )
    good = max(1, images.examined - images.broken)
    if (images.duplicates + images.near_duplicates) / good <= MANY_DUPLICATES:
        return Finding(topic="duplicates", level="ok", message=message)
    first = next(iter(images.duplicate_keys or images.near_duplicate_keys))
    hint = f"keep one image of each group with all its captions, first {' = '.join(first[:2])}, more in the JSON report"
    return Finding(topic="duplicates", level="warning", message=message, hint=hint)


def _captions(captions: CaptionReport) -> Iterator[Finding]:
    message = (
        f"half have {captions.median_length} tokens or fewer, the longest has {captions.longest:,}; the model reads "
        f"the first {captions.context}, and {captions.truncated_share:.1%} have more; vocabulary "
        f"{captions.vocabulary:,}"
    )
    is_truncated = captions.truncated_share > MANY_TRUNCATED
    hint = f"--set data.context={_context_for(captions)} truncates 1 % of them; or shorten them" if is_truncated else ""
    yield Finding(topic="captions", level="warning" if is_truncated else "ok", message=message, hint=hint)
    poor = {"empty": captions.empty, "without a letter or number": captions.wordless, "file names": captions.file_names}
    message = ", ".join(f"{count:,} {what}" for what, count in poor.items())
    is_poor = sum(poor.values()) > MANY_FILE_NAMES * captions.count or captions.empty > 0
    example = f", first {captions.file_name_examples[0]!r}" if captions.file_names else ""
    hint = f"write captions that describe the image{example}" if is_poor else ""
    yield Finding(topic="words", level="warning" if is_poor else "ok", message=message, hint=hint)


def _context_for(captions: CaptionReport) -> int:
    return min(1024, -(-captions.length_of_99_percent // 8) * 8)


def _repeats(captions: CaptionReport, images: ImageReport) -> Finding:
    shared = "they count as matches" if captions.shares_repeats else "they count as mismatches"
    message = (
        f"{captions.duplicates:,} captions have the same words as another; {captions.repeated_in_batch:.2%} of "
        f"captions and {images.repeated_in_batch:.2%} of images are repeated in their batch: {shared}"
    )
    repeated = captions.repeated_in_batch + images.repeated_in_batch
    if repeated <= MANY_REPEATS or captions.shares_repeats:
        return Finding(topic="repeats", level="ok", message=message)
    hint = "--set data.share_repeats=true, or leave this setting out"
    return Finding(topic="repeats", level="warning", message=message, hint=hint)


def overfit_finding(tried: OverfitReport | None, run: ShortRunReport) -> Finding:
    """Whether the model could overfit one batch, and if not, what to change."""
    if tried is None:
        why = run.message or "the first loss was not finite, or fewer than two images can be read"
        return Finding(topic="one batch", level="stop", message=f"not tried: {why}", hint="fix that first")
    from_to = f"loss {tried.first_loss:.2f}" + (
        f" (chance {tried.chance_loss:.2f})" if tried.chance_loss is not None else ""
    )
    if tried.last_loss is None:
        message = f"cannot be overfit: {from_to}, then not finite after {tried.steps} steps"
        return Finding(topic="one batch", level="stop", message=message, hint="lower optimizer.learning_rate")
    lowest = "" if tried.minimum_loss is None else f"; lowest possible {tried.minimum_loss:.2f}"
    message = f"{from_to} to {tried.last_loss:.2f} in {tried.steps} steps on {tried.pairs} pairs{lowest}"
    if tried.is_overfit:
        return Finding(topic="one batch", level="ok", message=f"can be overfit, as it should: {message}")
    learned = (tried.first_loss - tried.last_loss) / max(tried.first_loss - (tried.minimum_loss or 0.0), 1e-9)
    if tried.steps < ENOUGH_STEPS:
        hint = f"{tried.seconds:.0f} s are too short to decide; give more --seconds"
        return Finding(topic="one batch", level="warning", message=f"is not overfit yet: {message}", hint=hint)
    if learned < LITTLE_LEARNED:
        hint = (
            "the model learns nothing at this learning rate: change optimizer.learning_rate (0.001 suits small models)"
        )
        return Finding(topic="one batch", level="stop", message=f"cannot be overfit: {message}", hint=hint)
    hint = "it learns, but slowly: a higher or lower optimizer.learning_rate may do better"
    return Finding(topic="one batch", level="warning", message=f"is not overfit yet: {message}", hint=hint)


def _memory(memory: MemoryReport | None, plan: RunPlan, run: ShortRunReport) -> Iterator[Finding]:
    if memory is None:
        why = run.message or "no step was made"
        yield Finding(topic="memory", level="stop", message=f"not measured: {why}", hint="fix that first")
        return
    parts = {
        "program": memory.program,
        "weights": memory.weights,
        "gradients": memory.gradients,
        "moments": memory.moments,
        "other": memory.rest,
        "cached images": memory.cached_images,
    }
    message = (
        f"{_size(memory.needed)} of {_size(memory.available)} available on {memory.device}, batch {plan.batch_size}"
        f" ({', '.join(f'{_size(count)} {what}' for what, count in parts.items() if count)})"
    )
    if memory.measured_batch_size < plan.batch_size:
        message += f"; measured with {memory.measured_batch_size} pairs, as more did not fit"
    if memory.suggested_micro_batch is None:
        yield Finding(topic="memory", level="ok", message=message)
    elif memory.suggested_micro_batch:
        hint = f"--micro-batch {memory.suggested_micro_batch}: the same batch and gradients in less memory"
        level = "stop" if memory.needed > memory.available else "warning"
        yield Finding(topic="memory", level=level, message=message, hint=hint)
    else:
        hint = f"not even one pair fits in {USABLE:.0%} of it; choose a smaller --model or --set data.cache=false"
        yield Finding(topic="memory", level="stop", message=message, hint=hint)
    is_full = memory.checkpoints > memory.disk_free
    yield Finding(
        topic="disk",
        level="stop" if is_full else "ok",
        message=f"checkpoints take {_size(memory.checkpoints)}; {_size(memory.disk_free)} are free",
        hint="free disk space, or choose another --out" if is_full else "",
    )


def _time(time: TimeReport | None, run: ShortRunReport) -> Finding:
    if time is None:
        why = run.message or "no step was made"
        return Finding(topic="time", level="stop", message=f"not measured: {why}", hint="fix that first")
    rates = ", ".join(
        f"{speed.first_epoch:,.0f} pairs/s at {speed.side} px"
        + (f" ({speed.cached:,.0f} once cached in memory)" if speed.cached else "")
        for speed in time.speeds
    )
    message = (
        f"{time.steps:,} steps, {time.epochs:.1f} epochs: {_clock(time.seconds)}, between "
        f"{_clock(time.low_seconds)} and {_clock(time.high_seconds)}; {rates}"
    )
    if time.steps >= FEW_STEPS:
        return Finding(topic="time", level="ok", message=message)
    hint = "few steps teach little: give more --epochs, or a smaller --batch-size"
    return Finding(topic="time", level="warning", message=message, hint=hint)


def _size(count: float) -> str:
    """Bytes for people, as in 1.5 GiB."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def _clock(seconds: float) -> str:
    """A length of time for people, as in 2 h 05 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours < 48 else f"{hours / 24:.1f} days"
