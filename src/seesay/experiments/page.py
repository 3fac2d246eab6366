"""The page of a contest: what was measured becomes sections of `report`."""

from collections.abc import Mapping, Sequence
from typing import Any

from seesay.evaluation.html import Figure, Section, Table, percent, render_page, with_interval
from seesay.experiments import charts
from seesay.experiments.claims import NAMES, between, claim_lines, factor_words, final_accuracies, ranked

VIEWS_OF_IMAGES = (("images", "linear"), ("images", "log"))
VIEWS_OF_COMPUTE = (("flops", "log"), ("seconds", "log"))
METHOD = (
    "A factor says how many times more images (FLOPs, seconds) the second objective needs than the first for the same "
    "accuracy. Curves are means over seeds. Where one falls it is replaced by the nearest that never does (least "
    "squares), and between two points accuracy is a straight line over the logarithm of images. The factor is the "
    "median over accuracies spread evenly over the range that both reach; what guessing may give by chance (97.5 of "
    "100 tries) does not count.",
    "Intervals are 95 % bootstrap intervals over seeds: every resample of the one objective's seeds beside every "
    "resample of the other's. Few seeds give rough intervals, which tend to be too narrow. They do not hold for other "
    "pairs, other classes or longer runs.",
    "The learning rate falls to 0 towards the end of each run, so earlier points are of a model that is still "
    "learning fast, not of a shorter run. Each learning rate was tried on the first seed, and the one with the best "
    "accuracy there was taken: the first seed's end is therefore a little flattered. A best rate at the edge of "
    "those tried may not be the best there is.",
    "Seconds are those of training without the checks, on the machine named below and with other runs beside; FLOPs "
    "are counted over one real forward and backward pass and multiplied (products of matrices, convolutions, "
    "attention).",
)


def build_page(result: Mapping[str, Any]) -> str:
    """The whole page as HTML."""
    sections = [
        claims_section(result),
        compute_section(result),
        factors_section(result),
        ends_section(result),
        tuning_section(result),
        runs_section(result),
        settings_section(result),
        Section(title="How it was measured", text=(*METHOD, asked_words(result))),
        facts_section(result),
    ]
    pairs, check = result["data"]["pairs"], result["data"]["check"]
    lead = (
        f"{len(result['objectives'])} objectives learn from the same {pairs['pairs']:,} pairs of {pairs['name']}, "
        f"{result['recipe']['images']:,} images each with the same image tower, start, order and batches, and are "
        f"asked to name {check['n']:,} images of {check['name']} out of {check['classes']} classes."
    )
    return render_page("Objectives side by side", [section for section in sections if section], lead=lead)


def asked_words(result: Mapping[str, Any]) -> str:
    """What each objective's class names were put into."""
    told = [f"{name} in {', '.join(map(repr, own['templates']))}" for name, own in result["objectives"].items()]
    return f"Class names were put into these templates: {'; '.join(told)}."


def figure_of(result: Mapping[str, Any]) -> bytes:
    """The image for a README: accuracy over images, on both axes."""
    return charts.curves(result, VIEWS_OF_IMAGES)


def claims_section(result: Mapping[str, Any]) -> Section:
    note = (
        "Lines are means over seeds, bands reach from the lowest seed to the highest. Left as in the paper's Figure 2, "
        "right with a logarithmic axis. The numbers at the arrows are efficiency factors."
    )
    figure = Figure(image=figure_of(result), words=charts.in_words(result, "images"), note=note, width=1100)
    failed = [f"Run {name} failed: {told}." for name, told in result["failed"].items()]
    return Section(title="What it shows", text=[*claim_lines(result), *failed, *_versions(result)], parts=[figure])


def _versions(result: Mapping[str, Any]) -> list[str]:
    """A warning where not all runs were made by the same program, as when it changed before they were gone on with."""
    made_by = {tuple(str(run["machine"][key]) for key in ("seesay", "commit", "torch")) for run in result["runs"]}
    if len(made_by) < 2:
        return []
    told = "; ".join(" ".join(words) for words in sorted(made_by))
    return [f"The runs are not all of one version (seesay, commit, torch: {told}), and should not be compared."]


def compute_section(result: Mapping[str, Any]) -> Section:
    words = " ".join(charts.in_words(result, over) for over, _ in VIEWS_OF_COMPUTE)
    image = charts.curves(result, VIEWS_OF_COMPUTE)
    note = "The same accuracies over what they cost."
    return Section(title="Over compute", parts=[Figure(image=image, words=words, note=note, width=1100)])


def factors_section(result: Mapping[str, Any]) -> Section | None:
    """Each two objectives, the better one first."""
    order, rows = ranked(result), []
    for place, fast in enumerate(order):
        for slow in order[place + 1 :]:
            found = [one for over in NAMES if (one := between(result, fast, slow, over=over))]
            reach = found[0].get("range")
            span = f"{percent(reach[0])} to {percent(reach[1])}" if reach else ""
            rows.append((fast, slow, *(factor_words(one) for one in found), span))
    if not rows:
        return None
    head = ("objective", "over", *(f"factor in {name}" for name in NAMES.values()), "accuracies compared, %")
    return Section(title="Efficiency factors", parts=[Table(head=head, rows=rows)])


def ends_section(result: Mapping[str, Any]) -> Section:
    rows = []
    for name in ranked(result):
        accuracies, told = final_accuracies(result, name), result["objectives"][name]
        last = [points[-1] for points in told["seeds"].values()]
        mean = sum(accuracies) / len(accuracies)
        spread = f"{percent(min(accuracies))} to {percent(max(accuracies))}"
        seconds = sum(point["seconds"] for point in last) / len(last)
        flops = charts.short(last[0]["flops"])
        rows.append((name, str(len(accuracies)), percent(mean), spread, f"{seconds:,.0f}", flops))
    head = ("objective", "seeds", "top-1, %", "lowest to highest seed", "seconds", "FLOPs")
    check = result["data"]["check"]
    text = f"Guessing gives {percent(check['chance'])} %, and by chance up to {percent(check['most_by_guessing'])} %."
    return Section(title="At the end", text=[text], parts=[Table(head=head, rows=rows)])


def tuning_section(result: Mapping[str, Any]) -> Section:
    rates = [f"{rate:g}" for rate in result["recipe"]["learning_rates"]]
    rows = []
    for name, told in result["objectives"].items():
        cells = []
        for tried in told["tuning"]:
            if tried["accuracy"] is None:
                cells.append("failed")
                continue
            loss = "" if tried["loss"] is None else f", loss {tried['loss']:.3f}"
            mark = "✓ " if tried["learning_rate"] == told["learning_rate"] else ""
            cells.append(f"{mark}{percent(tried['accuracy'])}{loss}")
        rows.append((name, *cells))
    text = f"Top-1 in % at the end with each learning rate, on seed {result['recipe']['seeds'][0]}; ✓ is the one taken."
    return Section(title="Learning rates", text=[text], parts=[Table(head=("objective", *rates), rows=rows)])


def runs_section(result: Mapping[str, Any]) -> Section:
    rows = []
    for run in sorted(result["runs"], key=lambda run: (run["objective"], run["learning_rate"], run["seed"])):
        last = run["points"][-1]
        loss = "" if last["loss"] is None else f"{last['loss']:.3f}"
        score = with_interval(last["accuracy"], last["interval95"])
        seconds, flops = f"{last['seconds']:,.0f}", charts.short(last["flops"])
        named = (run["objective"], f"{run['learning_rate']:g}", str(run["seed"]))
        rows.append((*named, score, str(last["n"]), loss, f"{last['images']:,}", seconds, flops))
    head = ("objective", "rate", "seed", "top-1, %", "test images", "loss", "images", "seconds", "FLOPs")
    text = "In brackets the exact binomial interval over images."
    return Section(title="Every run", text=[text], parts=[Table(head=head, rows=rows)])


def settings_section(result: Mapping[str, Any]) -> Section | None:
    """What all runs have in common, and what only some have."""
    if not result["runs"]:
        return None
    by_run = {
        f"{run['objective']} {run['learning_rate']:g} {run['seed']}": _flat(run["settings"]) for run in result["runs"]
    }
    keys = list(dict.fromkeys(key for flat in by_run.values() for key in flat))
    shared = [key for key in keys if len({flat.get(key) for flat in by_run.values()}) == 1]
    others = [key for key in keys if key not in shared]
    first = next(iter(by_run.values()))
    parts = [
        Table(head=("setting", "of all runs"), rows=[(key, first[key]) for key in shared]),
        Table(
            head=("run", *others),
            rows=[(name, *(flat.get(key, "") for key in others)) for name, flat in by_run.items()],
        ),
    ]
    return Section(title="Settings", parts=parts)


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{above}{key}.")
        else:
            found[above + key] = _cell(value)
    return found


def _cell(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_cell(one) for one in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def facts_section(result: Mapping[str, Any]) -> Section:
    pairs, check, machine = result["data"]["pairs"], result["data"]["check"], result["machine"]
    rows = [
        ("pairs", f"{pairs['name']}: {pairs['pairs']:,}, fingerprint {pairs['fingerprint'][:16]}"),
        ("check", f"{check['name']}: {check['n']:,}, fingerprint {check['fingerprint'][:16]}"),
        ("runs at a time", str(result["jobs"])),
        *((key, str(machine[key])) for key in ("seesay", "commit", "python", "torch", "device", "cores", "processor")),
    ]
    return Section(title="Data and machine", parts=[Table(head=("what", "which"), rows=rows)])
