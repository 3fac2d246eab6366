"""An untrained model of a known size, ready to be trained, saved or measured."""

from itertools import islice
from pathlib import Path

from tokenizers.pre_tokenizers import ByteLevel

from seesay.base.names import no_empty_names
from seesay.data.images import Preprocess
from seesay.data.tokenizer import FIRST_MERGE, CaptionTokenizer
from seesay.model.bundle import Model
from seesay.nets.clip import build_clip
from seesay.nets.presets import preset, preset_name


@no_empty_names
def build(name: str, *, seed: int = 0, tokenizer: CaptionTokenizer | str | Path | None = None) -> Model:
    """A model of the preset `name` with random weights that depend on name, vocabulary size and `seed` alone.

    Without a tokenizer (or a file of one) the vocabulary has the preset's size, CLIP's 49,408 for the paper's nine,
    but not CLIP's words, which seesay does not carry: it is the stand-in that `byte_pairs` describes, and the
    model's facts say so. `UsageError` for an unknown name.
    """
    name = preset_name(name)
    architecture = preset(name)
    text = architecture.text
    if isinstance(tokenizer, str | Path):
        tokenizer = CaptionTokenizer.from_file(tokenizer, context=text.context)
    vocabulary = tokenizer or byte_pairs(text.vocab_size, context=text.context)
    fitted = text.model_copy(update={"vocab_size": vocabulary.vocab_size, "context": vocabulary.context})
    architecture = architecture.model_copy(update={"text": fitted})
    facts = {"weights": f"random, seed {seed}"}
    if tokenizer is None:
        facts["vocabulary"] = "byte pairs, a stand-in for learned words"
    return Model(
        build_clip(architecture, seed=seed),
        architecture,
        vocabulary,
        preprocess=Preprocess(size=architecture.image.image_size),
        name=name,
        facts=facts,
    )


def byte_pairs(vocab_size: int, *, context: int) -> CaptionTokenizer:
    """A tokenizer of that many ids that learned nothing: two letters make one token, a word's last stands alone."""
    letters = sorted(ByteLevel.alphabet())
    pairs = ((first, second) for first in letters for second in letters)
    return CaptionTokenizer(list(islice(pairs, vocab_size - FIRST_MERGE - 2)), context=context)
