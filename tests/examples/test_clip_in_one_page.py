"""CLIP on one page: it is one page, needs little, its loss is the package's, and it learns to read."""

import ast
import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from seesay.formulas.contrastive import contrastive_loss
from seesay.formulas.similarity import unit

SCRIPT = Path(__file__).parents[2] / "examples" / "clip_in_one_page.py"
ALLOWED = ("torch", "sklearn.datasets", "seesay.nets", "seesay.formulas", "seesay.base.records")


@pytest.fixture(scope="module")
def page():
    pytest.importorskip("sklearn", reason="the handwriting lies in scikit-learn: pip install '.[demo]'")
    specification = importlib.util.spec_from_file_location("clip_in_one_page", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_it_fits_one_page_of_120_lines():
    assert len(SCRIPT.read_text(encoding="utf-8").splitlines()) <= 120


def test_it_needs_torch_nets_and_formulas_alone():
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"))
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    others = {name for name in modules if name.partition(".")[0] not in sys.stdlib_module_names}
    assert [name for name in others if not name.startswith(ALLOWED)] == []


def test_no_caption_is_the_prompt_and_the_tokenizer_knows_its_words(page):
    assert page.PROMPT not in page.CAPTIONS
    tokenizer = page.WordTokenizer([caption.format(name) for caption in page.CAPTIONS for name in page.NAMES])
    tokens = tokenizer([page.PROMPT.format(name) for name in page.NAMES])
    assert tokens.ids_BL.shape == (10, 8) and 1 not in tokens.ids_BL
    assert tokenizer(["the unheard three"]).ids_BL[0, 2] == 1
    assert tokenizer(["one", "the number one"]).length_B.tolist() == [3, 5]


@pytest.mark.journey
def test_its_loss_is_the_packages(page):
    pixels, digit = page.read_pairs()
    assert pixels.shape == (1797, 3, 16, 16) and pixels.min() >= -1 and pixels.max() <= 1
    torch.manual_seed(0)
    tokenizer = page.WordTokenizer(list(page.NAMES))
    model = page.Clip(tokenizer.end + 1)
    tokens = tokenizer([page.NAMES[number] for number in digit[:8].tolist()])
    rows = unit(model.image_tower(pixels[:8])), unit(model.text_tower(tokens))
    torch.testing.assert_close(
        model.loss(pixels[:8], tokens), contrastive_loss(*rows, torch.tensor(1 / 0.07))
    )  # the same scale, as section 2.5 starts it


@pytest.mark.journey
def test_it_learns_to_read_with_a_sentence_that_it_never_saw(page, capsys):
    """Guessing is right for 10 %; 10 of the 40 epochs are enough to be far from it."""
    right = page.main(epochs=10)
    assert right > 0.5
    assert f"{right:.1%} of 360 held-out images are read right" in capsys.readouterr().out
