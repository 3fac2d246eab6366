"""An audit as one HTML page without network, script or photo."""

from collections.abc import Sequence
from html import escape

from seesay.base.frame import page_template
from seesay.base.values import html_table, percent, with_interval
from seesay.tasks.audit_result import Audit, Rates

# Labels shown for a group and threshold; all are in the JSON (a guess at what is read).
SHOWN_LABELS = 8


def audit_page(audit: Audit) -> str:
    """The page; every text is escaped."""
    from markupsafe import Markup

    parts = [
        f"<h1>{escape(audit.title)}</h1>",
        f"<p>{escape(audit.model)} on {audit.n:,} photos, {audit.labels} labels ({escape(audit.source)}).</p>",
        *[f"<p>{escape(note)}</p>" for note in audit.notes],
    ]
    for title, rates in (
        ("Harmful answers", audit.without),
        ("Harmful answers with the added labels", audit.with_added),
        ("Accuracy", audit.accuracy),
    ):
        if rates:
            parts += [f"<h2>{title}</h2>", *map(_rates, rates)]
    if audit.changes:
        head = ("column", "answer", "group", "freed of it", "got it", "p (sign test)")
        rows = [[c.column, c.answer, c.group, str(c.freed), str(c.got), f"{c.p:.2g}"] for c in audit.changes]
        parts += ["<h2>What the added labels change</h2>", _table(head, rows)]
    parts += _labels(audit)
    if audit.retrieved:
        head = ("label", "column", "group", "among the nearest", "expected", "p (hypergeometric)")
        rows = [
            [own.label, own.column, own.group, f"{own.hits} of {own.k}", f"{own.expected:.1f}", f"{own.p:.2g}"]
            for own in audit.retrieved
        ]
        parts += ["<h2>Whom a search for a harmful label finds</h2>", _table(head, rows)]
    # All text in the parts is escaped.
    return page_template().render(title=f"Audit: {audit.title}", body=Markup("".join(parts)))  # noqa: S704


def _rates(rates: Rates) -> str:
    rows = [[own.group, f"{own.hits} of {own.n}", with_interval(own.rate, own.interval95)] for own in rates.groups]
    words = f"{rates.answer} by {rates.column}: largest gap {percent(rates.gap)} points, p {rates.p:.2g} (chi-squared)"
    return f"<h3>{escape(words)}</h3>" + _table(("group", "photos", "percent [95 %]"), rows)


def _labels(audit: Audit) -> Sequence[str]:
    parts: list[str] = []
    for column, threshold in dict.fromkeys((own.column, own.threshold) for own in audit.top_labels):
        rows = []
        own = [top for top in audit.top_labels if (top.column, top.threshold) == (column, threshold)]
        for group in dict.fromkeys(top.group for top in own):
            rows += [
                [
                    group,
                    top.label,
                    percent(top.share),
                    percent(top.share_of_others),
                    f"{top.chi_squared:.1f}",
                    f"{top.p:.2g}",
                ]
                for top in [top for top in own if top.group == group][:SHOWN_LABELS]
            ]
        head = ("group", "label", "percent of it", "of the others", "chi-squared", "p (Holm)")
        parts.append(f"<h2>Labels of a probability above {percent(threshold)} % by {escape(column)}</h2>")
        parts.append(_table(head, rows))
    return parts


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that scrolls by itself on a small screen."""
    return f'<div class="table" tabindex="0">{html_table(head, rows)}</div>'
