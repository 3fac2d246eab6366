"""What a model's tokenizer leaves of class names: which are cut at its context, and which become the same."""

from collections.abc import Sequence
from dataclasses import dataclass

from seesay.base.errors import UsageError
from seesay.data.file_tokenizer import AnyTokenizer, with_context

# Names in a message, a guess at what fits a line.
SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class LabelsRead:
    """`cut` are the classes with a prompt that loses its end, `alike` pairs of classes of which all prompts are equal.

    `context` is how many tokens the model reads, start and end included.
    """

    context: int
    cut: tuple[str, ...]
    alike: tuple[tuple[str, str], ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines for a person."""
        if not self.cut:
            return ()
        more = f" and {len(self.cut) - SHOWN:,} more" if len(self.cut) > SHOWN else ""
        shown = ", ".join(map(repr, self.cut[:SHOWN]))
        count = f"{len(self.cut):,} label{'s are' if len(self.cut) > 1 else ' is'} cut"
        return (f"{count} at the {self.context} tokens the model reads: {shown}{more}.",)

    def refuse_alike(self) -> None:
        """`UsageError` where two classes are one to the model: each would get half of what is theirs."""
        if not self.alike:
            return
        first, second = self.alike[0]
        more = f" ({len(self.alike)} such pairs)" if len(self.alike) > 1 else ""
        raise UsageError(
            f"labels {first!r} and {second!r} are the same to the model{more}: it reads {self.context} tokens, in "
            "small letters; leave one of them out, or begin them with what tells them apart."
        )


def labels_read(tokenizer: AnyTokenizer, class_names: Sequence[str], prompts: Sequence[Sequence[str]]) -> LabelsRead:
    """How the tokenizer reads the prompts of every class."""
    first_of: dict[tuple[int, ...], int] = {}
    rows = tokenizer([own[0] for own in prompts])
    alike = []
    for index, row in enumerate(rows):
        other = first_of.setdefault(tuple(row), index)
        # Rarely: sentences that begin alike may differ in another template.
        if other != index and tokenizer(prompts[index]) == tokenizer(prompts[other]):
            alike.append((class_names[other], class_names[index]))
    return LabelsRead(context=tokenizer.context, cut=_cut(tokenizer, class_names, prompts, rows), alike=tuple(alike))


def _cut(
    tokenizer: AnyTokenizer,
    class_names: Sequence[str],
    prompts: Sequence[Sequence[str]],
    rows: Sequence[Sequence[int]],
) -> tuple[str, ...]:
    """The classes whose first prompt fills the context and would be longer in a longer one."""
    full = [index for index, row in enumerate(rows) if len(row) >= tokenizer.context]
    longer = with_context(tokenizer, tokenizer.context + 1)([prompts[index][0] for index in full]) if full else []
    return tuple(class_names[index] for index, row in zip(full, longer, strict=True) if len(row) > tokenizer.context)
