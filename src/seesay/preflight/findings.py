"""From numbers to lines that a person can act on: well, a warning, or a run that could not work."""

from collections.abc import Iterator

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

MANY_SMALL = 0.5
MANY_CUT = 0.05
MANY_FILE_NAMES = 0.01
MANY_ALIKE = 0.01
ENOUGH_STEPS = 50
LITTLE_LEARNED = 0.2
FEW_STEPS = 200


def findings_of(found: DoctorReport, plan: RunPlan, run: ShortRunReport) -> tuple[Finding, ...]:
    """One or more findings for each part of a diagnosis, in the order in which they matter to a reader."""
    return (
        _pairs(found),
        *_images(found.images),
        *_captions(found.captions),
        _repeats(found.captions, found.images),
        overfit_finding(found.overfit, run),
        *_memory(found.memory, plan, run),
        _time(found.time, run),
    )


def _pairs(found: DoctorReport) -> Finding:
    captions = found.captions
    counted = f"{found.pairs:,} pairs, {captions.count:,} captions, {captions.count / found.pairs:.1f} for each image"
    if captions.most_per_pair > 1:
        counted += f" (at most {captions.most_per_pair})"
    if found.held_out:
        counted += f"; {found.held_out:,} held out for validation"
    if not found.unusable:
        return Finding(topic="pairs", level="ok", found=counted)
    reasons = ", ".join(f"{count:,} x {reason}" for reason, count in found.unusable.items())
    hint = "fix or remove them; the run goes on without"
    return Finding(topic="pairs", level="warning", found=f"{counted}; left out: {reasons}", hint=hint)


def _images(images: ImageReport) -> Iterator[Finding]:
    seen = "all" if images.looked_at == images.of else f"{images.looked_at:,} of {images.of:,}"
    if images.broken:
        reasons = ", ".join(f"{count:,} x {reason}" for reason, count in images.broken_by_reason.items())
        told = f"{images.broken:,} broken ({images.broken_share:.2%} of {seen}): {reasons}"
        hint = f"replace or remove them, first {images.broken_keys[0]}"
        level = "stop" if images.broken_share > MOST_SKIPPED else "warning"
        if level == "stop":
            hint += f"; a run with more than {MOST_SKIPPED:.0%} broken ends with exit code 3"
        yield Finding(topic="images", level=level, found=told, hint=hint)
    else:
        yield Finding(topic="images", level="ok", found=f"{images.looked_at:,} decoded ({seen}), none broken")
    yield _doubles(images)
    if not images.median_side:
        return
    smallest, largest = (f"{width} x {height}" for width, height in (images.smallest, images.largest))
    told = (
        f"median {images.median_side} px, {smallest} to {largest}; {images.below_model_side:.1%} below the "
        f"model's {images.model_side} px"
    )
    is_small = images.below_model_side > MANY_SMALL
    hint = "they are enlarged, which adds cost and no detail; choose a smaller --model" if is_small else ""
    yield Finding(topic="sizes", level="warning" if is_small else "ok", found=told, hint=hint)


def _doubles(images: ImageReport) -> Finding:
    told = f"{images.equal:,} the same file as another, {images.alike:,} more that look the same"
    good = max(1, images.looked_at - images.broken)
    if (images.equal + images.alike) / good <= MANY_ALIKE:
        return Finding(topic="duplicates", level="ok", found=told)
    first = next(iter(images.equal_keys or images.alike_keys))
    hint = f"keep one of each and give it all the captions, first {' = '.join(first[:2])}; --json lists more"
    return Finding(topic="duplicates", level="warning", found=told, hint=hint)


def _captions(captions: CaptionReport) -> Iterator[Finding]:
    told = (
        f"{captions.median_length} tokens (median) to {captions.longest:,} of at most {captions.context}; "
        f"{captions.cut_share:.1%} are cut; vocabulary {captions.vocabulary:,}"
    )
    is_cut = captions.cut_share > MANY_CUT
    hint = f"--set data.context={_context_for(captions)} cuts 1 % of them; or shorten them" if is_cut else ""
    yield Finding(topic="captions", level="warning" if is_cut else "ok", found=told, hint=hint)
    poor = {"empty": captions.empty, "without a letter or number": captions.wordless, "file names": captions.file_names}
    told = ", ".join(f"{count:,} {what}" for what, count in poor.items())
    is_poor = sum(poor.values()) > MANY_FILE_NAMES * captions.count or captions.empty > 0
    example = f", first {captions.file_name_examples[0]!r}" if captions.file_names else ""
    hint = f"write captions that say what is seen{example}" if is_poor else ""
    yield Finding(topic="words", level="warning" if is_poor else "ok", found=told, hint=hint)


def _context_for(captions: CaptionReport) -> int:
    return min(1024, -(-captions.enough_for_most // 8) * 8)


def _repeats(captions: CaptionReport, images: ImageReport) -> Finding:
    shared = "they count as matches" if captions.shares_targets else "they count as mismatches"
    told = (
        f"{captions.same:,} captions have the words of another; {captions.repeated_in_batch:.2%} of captions and "
        f"{images.repeated_in_batch:.2%} of images are repeated in their batch: {shared}"
    )
    repeated = captions.repeated_in_batch + images.repeated_in_batch
    if repeated <= MANY_REPEATS or captions.shares_targets:
        return Finding(topic="repeats", level="ok", found=told)
    hint = "--set data.share_repeats=true, or leave it out"
    return Finding(topic="repeats", level="warning", found=told, hint=hint)


def overfit_finding(tried: OverfitReport | None, run: ShortRunReport) -> Finding:
    """Whether the model could overfit one batch, and if not, what to change."""
    if tried is None:
        why = run.message or "the first loss was not a number, or fewer than two images can be read"
        return Finding(topic="one batch", level="stop", found=f"not tried: {why}", hint="fix that first")
    from_to = f"loss {tried.first:.2f}" + (
        f" (guessing {tried.chance_loss:.2f})" if tried.chance_loss is not None else ""
    )
    if tried.last is None:
        told = f"no: {from_to}, then not a number after {tried.steps} steps"
        return Finding(topic="one batch", level="stop", found=told, hint="lower optimizer.learning_rate")
    least = "" if tried.minimum_loss is None else f"; least possible {tried.minimum_loss:.2f}"
    told = f"{from_to} to {tried.last:.2f} in {tried.steps} steps on {tried.pairs} pairs{least}"
    if tried.learned:
        return Finding(topic="one batch", level="ok", found=f"yes: {told}")
    learned = (tried.first - tried.last) / max(tried.first - (tried.minimum_loss or 0.0), 1e-9)
    if tried.steps < ENOUGH_STEPS:
        hint = f"{tried.seconds:.0f} s were too short to tell; give more --seconds"
        return Finding(topic="one batch", level="warning", found=f"not yet: {told}", hint=hint)
    if learned < LITTLE_LEARNED:
        hint = "the model learns nothing at this rate: change optimizer.learning_rate (0.001 suits small models)"
        return Finding(topic="one batch", level="stop", found=f"no: {told}", hint=hint)
    hint = "it learns, but slowly: a higher or lower optimizer.learning_rate may do better"
    return Finding(topic="one batch", level="warning", found=f"not yet: {told}", hint=hint)


def _memory(memory: MemoryReport | None, plan: RunPlan, run: ShortRunReport) -> Iterator[Finding]:
    if memory is None:
        why = run.message or "no step was made"
        yield Finding(topic="memory", level="stop", found=f"not measured: {why}", hint="fix that first")
        return
    parts = {
        "program": memory.program,
        "weights": memory.weights,
        "gradients": memory.gradients,
        "moments": memory.moments,
        "the rest": memory.rest,
        "cached images": memory.cached_images,
    }
    told = (
        f"{_size(memory.needed)} of {_size(memory.available)} at hand on {memory.device}, batch {plan.batch_size}"
        f" ({', '.join(f'{_size(count)} {what}' for what, count in parts.items() if count)})"
    )
    if memory.batch_size < (plan.batch_size):
        told += f"; measured with {memory.batch_size}, as more did not fit"
    if memory.micro_batch is None:
        yield Finding(topic="memory", level="ok", found=told)
    elif memory.micro_batch:
        hint = f"--micro-batch {memory.micro_batch}: the same batch and gradients in less memory"
        level = "stop" if memory.needed > memory.available else "warning"
        yield Finding(topic="memory", level=level, found=told, hint=hint)
    else:
        hint = f"not one pair fits in {USABLE:.0%} of it; choose a smaller --model or --set data.cache=false"
        yield Finding(topic="memory", level="stop", found=told, hint=hint)
    is_full = memory.checkpoints > memory.disk_free
    yield Finding(
        topic="disk",
        level="stop" if is_full else "ok",
        found=f"checkpoints take {_size(memory.checkpoints)} of {_size(memory.disk_free)} free",
        hint="make room, or choose another --out" if is_full else "",
    )


def _time(time: TimeReport | None, run: ShortRunReport) -> Finding:
    if time is None:
        why = run.message or "no step was made"
        return Finding(topic="time", level="stop", found=f"not measured: {why}", hint="fix that first")
    rates = ", ".join(
        f"{speed.first_epoch:,.0f} pairs/s at {speed.side} px"
        + (f" ({speed.cached:,.0f} once cached in memory)" if speed.cached else "")
        for speed in time.speeds
    )
    told = (
        f"{time.steps:,} steps, {time.epochs:.1f} epochs: {_clock(time.seconds)}, between "
        f"{_clock(time.low_seconds)} and {_clock(time.high_seconds)}; {rates}"
    )
    if time.steps >= FEW_STEPS:
        return Finding(topic="time", level="ok", found=told)
    hint = "few steps teach little: more --epochs, or a smaller --batch-size"
    return Finding(topic="time", level="warning", found=told, hint=hint)


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
