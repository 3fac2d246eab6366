"""How much do the templates matter? The accuracy of every template by itself, beside that of all together."""

from dataclasses import dataclass

import torch

from seesay.base.records import Score
from seesay.data.class_names import class_prompts
from seesay.data.prompts import TEMPLATES
from seesay.evaluation.suite import Measured
from seesay.formulas.metrics import top_k_hits
from seesay.formulas.statistics import proportion_interval
from seesay.model.bundle import Model
from seesay.model.cache import EmbeddingCache, cached_encode_prompts

# A set with fewer templates than this is measured with those of DEFAULT; a guess: the spread of one or two says little.
FEWEST = 3
# The seven templates that Radford et al. 2021 published as the best subset of their 80 (in their notebook).
DEFAULT = "imagenet7"


@dataclass(frozen=True, kw_only=True)
class PromptSpread:
    """Top-1 accuracy by template, the highest first."""

    by_template: dict[str, Score]

    @property
    def lowest(self) -> float:
        return min(score.value for score in self.by_template.values())

    @property
    def highest(self) -> float:
        return max(score.value for score in self.by_template.values())


def prompt_spread(model: Model, measured: Measured, *, cache: EmbeddingCache) -> PromptSpread:
    """The images of a zero-shot measurement classified with one template at a time, and with the bare name.

    `model` is one that embeds texts.
    """
    answers = measured.answers
    assert answers is not None and answers.image_ND is not None, "only a zero-shot measurement has templates"
    first = answers.templates if len(answers.templates) >= FEWEST else TEMPLATES[DEFAULT]
    templates = tuple(dict.fromkeys([*first, *answers.templates, "{}"]))
    label_N = torch.from_numpy(answers.label_N)
    classes, n = len(answers.names), len(label_N)
    # One list of prompts per template and class, so that all of them share their beginnings.
    prompts = [prompt for template in templates for prompt in class_prompts(answers.names, [template])]
    row_TCD = cached_encode_prompts(model, prompts, cache=cache).view(len(templates), classes, -1)
    scores = {}
    for template, weights_CD in zip(templates, row_TCD, strict=True):
        hits = int(top_k_hits(answers.image_ND @ weights_CD.T, label_N, ks=(1,))[1].sum())
        scores[template] = Score(value=hits / n, interval95=proportion_interval(hits, n), chance=1 / classes, n=n)
    return PromptSpread(by_template=dict(sorted(scores.items(), key=lambda item: -item[1].value)))
