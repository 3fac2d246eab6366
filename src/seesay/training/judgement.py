"""From numbers to lines that a person can act on: well, a warning, or a run that could not work."""

from collections.abc import Iterator

from seesay.training.diagnosis import (
    CaptionReport,
    Diagnosis,
    Finding,
    MemoryReport,
    OverfitReport,
    PictureReport,
    TimeReport,
)
from seesay.training.estimates import USABLE
from seesay.training.plan import MANY_REPEATS
from seesay.training.rehearsal import Rehearsed
from seesay.training.settings import TrainSettings
from seesay.training.skips import MOST

MANY_SMALL = 0.5
MANY_CUT = 0.05
MANY_FILE_NAMES = 0.01
MANY_ALIKE = 0.01
ENOUGH_STEPS = 50
LITTLE_LEARNED = 0.2
FEW_STEPS = 200


def findings_of(found: Diagnosis, settings: TrainSettings, rehearsed: Rehearsed) -> tuple[Finding, ...]:
    """One or more findings for each part of a diagnosis, in the order in which they matter to a reader."""
    return (
        _pairs(found),
        *_pictures(found.pictures),
        *_captions(found.captions),
        _repeats(found.captions, found.pictures),
        overfit_finding(found.overfit, rehearsed),
        *_memory(found.memory, settings, rehearsed),
        _time(found.time, rehearsed),
    )


def _pairs(found: Diagnosis) -> Finding:
    captions = found.captions
    counted = f"{found.pairs:,} pairs, {captions.count:,} captions, {captions.count / found.pairs:.1f} for each picture"
    if captions.most_per_pair > 1:
        counted += f" (at most {captions.most_per_pair})"
    if found.held_out:
        counted += f"; {found.held_out:,} held out for validation"
    if not found.unusable:
        return Finding(topic="pairs", level="ok", found=counted)
    reasons = ", ".join(f"{count:,} x {reason}" for reason, count in found.unusable.items())
    way_out = "mend them or remove them; the run goes on without"
    return Finding(topic="pairs", level="warning", found=f"{counted}; left out: {reasons}", way_out=way_out)


def _pictures(pictures: PictureReport) -> Iterator[Finding]:
    seen = "all" if pictures.looked_at == pictures.of else f"{pictures.looked_at:,} of {pictures.of:,}"
    if pictures.broken:
        reasons = ", ".join(f"{count:,} x {reason}" for reason, count in pictures.broken_by_reason.items())
        told = f"{pictures.broken:,} broken ({pictures.broken_share:.2%} of {seen}): {reasons}"
        way_out = f"replace or remove them, first {pictures.broken_keys[0]}"
        level = "stop" if pictures.broken_share > MOST else "warning"
        if level == "stop":
            way_out += f"; a run with more than {MOST:.0%} broken ends with exit code 3"
        yield Finding(topic="pictures", level=level, found=told, way_out=way_out)
    else:
        yield Finding(topic="pictures", level="ok", found=f"{pictures.looked_at:,} decoded ({seen}), none broken")
    yield _doubles(pictures)
    if not pictures.median_side:
        return
    smallest, largest = (f"{width} x {height}" for width, height in (pictures.smallest, pictures.largest))
    told = (
        f"median {pictures.median_side} px, {smallest} to {largest}; {pictures.below_model_side:.1%} below the "
        f"model's {pictures.model_side} px"
    )
    is_small = pictures.below_model_side > MANY_SMALL
    way_out = "they are enlarged, which adds cost and no detail; choose a smaller --model" if is_small else ""
    yield Finding(topic="sizes", level="warning" if is_small else "ok", found=told, way_out=way_out)


def _doubles(pictures: PictureReport) -> Finding:
    told = f"{pictures.equal:,} the same file as another, {pictures.alike:,} more that look the same"
    good = max(1, pictures.looked_at - pictures.broken)
    if (pictures.equal + pictures.alike) / good <= MANY_ALIKE:
        return Finding(topic="duplicates", level="ok", found=told)
    first = next(iter(pictures.equal_keys or pictures.alike_keys))
    way_out = f"keep one of each and give it all the captions, first {' = '.join(first[:2])}; --json lists more"
    return Finding(topic="duplicates", level="warning", found=told, way_out=way_out)


def _captions(captions: CaptionReport) -> Iterator[Finding]:
    told = (
        f"{captions.median_length} tokens (median) to {captions.longest:,} of at most {captions.context}; "
        f"{captions.cut_share:.1%} are cut; vocabulary {captions.vocabulary:,}"
    )
    is_cut = captions.cut_share > MANY_CUT
    way_out = f"--set data.context={_context_for(captions)} cuts 1 % of them; or shorten them" if is_cut else ""
    yield Finding(topic="captions", level="warning" if is_cut else "ok", found=told, way_out=way_out)
    poor = {"empty": captions.empty, "without a letter or number": captions.wordless, "file names": captions.file_names}
    told = ", ".join(f"{count:,} {what}" for what, count in poor.items())
    is_poor = sum(poor.values()) > MANY_FILE_NAMES * captions.count or captions.empty > 0
    example = f", first {captions.file_name_examples[0]!r}" if captions.file_names else ""
    way_out = f"write captions that say what is seen{example}" if is_poor else ""
    yield Finding(topic="words", level="warning" if is_poor else "ok", found=told, way_out=way_out)


def _context_for(captions: CaptionReport) -> int:
    return min(1024, -(-captions.enough_for_most // 8) * 8)


def _repeats(captions: CaptionReport, pictures: PictureReport) -> Finding:
    shared = "they count as matches" if captions.shares_targets else "they count as mismatches"
    told = (
        f"{captions.same:,} captions have the words of another; {captions.repeated_in_batch:.2%} of captions and "
        f"{pictures.repeated_in_batch:.2%} of pictures stand again in their batch: {shared}"
    )
    repeated = captions.repeated_in_batch + pictures.repeated_in_batch
    if repeated <= MANY_REPEATS or captions.shares_targets:
        return Finding(topic="repeats", level="ok", found=told)
    way_out = "--set data.share_repeats=true, or leave it out"
    return Finding(topic="repeats", level="warning", found=told, way_out=way_out)


def overfit_finding(tried: OverfitReport | None, rehearsed: Rehearsed) -> Finding:
    """Whether one batch was learned by heart, and if not, what to change."""
    if tried is None:
        why = rehearsed.message or "the first loss was not a number, or fewer than two pictures can be read"
        return Finding(topic="one batch", level="stop", found=f"not tried: {why}", way_out="mend what is said first")
    from_to = f"loss {tried.first:.2f}" + (f" (guessing {tried.guess:.2f})" if tried.guess is not None else "")
    if tried.last is None:
        told = f"no: {from_to}, then not a number after {tried.steps} steps"
        return Finding(topic="one batch", level="stop", found=told, way_out="lower optimizer.learning_rate")
    least = "" if tried.floor is None else f"; least possible {tried.floor:.2f}"
    told = f"{from_to} to {tried.last:.2f} in {tried.steps} steps on {tried.pairs} pairs{least}"
    if tried.learned:
        return Finding(topic="one batch", level="ok", found=f"yes: {told}")
    learned = (tried.first - tried.last) / max(tried.first - (tried.floor or 0.0), 1e-9)
    if tried.steps < ENOUGH_STEPS:
        way_out = f"{tried.seconds:.0f} s were too short to tell; give more --seconds"
        return Finding(topic="one batch", level="warning", found=f"not yet: {told}", way_out=way_out)
    if learned < LITTLE_LEARNED:
        way_out = "the model learns nothing at this rate: change optimizer.learning_rate (0.001 suits small models)"
        return Finding(topic="one batch", level="stop", found=f"no: {told}", way_out=way_out)
    way_out = "it learns, but slowly: a higher or lower optimizer.learning_rate may do better"
    return Finding(topic="one batch", level="warning", found=f"not yet: {told}", way_out=way_out)


def _memory(memory: MemoryReport | None, settings: TrainSettings, rehearsed: Rehearsed) -> Iterator[Finding]:
    if memory is None:
        why = rehearsed.message or "no step was made"
        yield Finding(topic="memory", level="stop", found=f"not measured: {why}", way_out="mend what is said first")
        return
    parts = {
        "program": memory.program,
        "weights": memory.weights,
        "gradients": memory.gradients,
        "moments": memory.moments,
        "the rest": memory.rest,
        "pictures kept": memory.pictures_kept,
    }
    told = (
        f"{_size(memory.needed)} of {_size(memory.available)} at hand on {memory.device}, batch {settings.batch_size}"
        f" ({', '.join(f'{_size(count)} {what}' for what, count in parts.items() if count)})"
    )
    if memory.batch_size < (settings.batch_size or 2):
        told += f"; measured with {memory.batch_size}, as more did not fit"
    if memory.micro_batch is None:
        yield Finding(topic="memory", level="ok", found=told)
    elif memory.micro_batch:
        way_out = f"--micro-batch {memory.micro_batch}: the same batch and gradients in less memory"
        level = "stop" if memory.needed > memory.available else "warning"
        yield Finding(topic="memory", level=level, found=told, way_out=way_out)
    else:
        way_out = f"not one pair fits in {USABLE:.0%} of it; choose a smaller --model or --set data.cache=false"
        yield Finding(topic="memory", level="stop", found=told, way_out=way_out)
    is_full = memory.checkpoints > memory.disk_free
    yield Finding(
        topic="disk",
        level="stop" if is_full else "ok",
        found=f"checkpoints take {_size(memory.checkpoints)} of {_size(memory.disk_free)} free",
        way_out="make room, or choose another --out" if is_full else "",
    )


def _time(time: TimeReport | None, rehearsed: Rehearsed) -> Finding:
    if time is None:
        why = rehearsed.message or "no step was made"
        return Finding(topic="time", level="stop", found=f"not measured: {why}", way_out="mend what is said first")
    rates = ", ".join(
        f"{speed.first_visit:,.0f} pairs/s at {speed.side} px"
        + (f" ({speed.kept:,.0f} once kept in memory)" if speed.kept else "")
        for speed in time.speeds
    )
    told = (
        f"{time.steps:,} steps, {time.visits:.1f} visits to each pair: {_clock(time.seconds)}, between "
        f"{_clock(time.low_seconds)} and {_clock(time.high_seconds)}; {rates}"
    )
    if time.steps >= FEW_STEPS:
        return Finding(topic="time", level="ok", found=told)
    way_out = "few steps teach little: more --epochs, or a smaller --batch-size"
    return Finding(topic="time", level="warning", found=told, way_out=way_out)


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
