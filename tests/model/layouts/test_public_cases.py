"""Public test cases of transformers and open_clip for CLIP's captions and images, as facts; what differs says why."""

import gzip
import json
from pathlib import Path

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from seesay.base.errors import RefusedInput
from seesay.data.file_tokenizer import FileTokenizer
from seesay.data.tokenizer import PIECES, CaptionTokenizer
from seesay.model.layouts.hf_images import read_preprocess

# transformers, tests/models/clip/test_tokenization_clip.py: `setUpClass` and `test_full_tokenizer`.
VOCABULARY = [
    "l", "o", "w", "e", "r", "s", "t", "i", "d", "n", "lo", "l</w>", "w</w>", "r</w>", "t</w>", "low</w>", "er</w>",
    "lowest</w>", "newer</w>", "wider", "<unk>", "<|startoftext|>", "<|endoftext|>",
]  # fmt: skip
MERGES = [("l", "o"), ("lo", "w</w>"), ("e", "r</w>")]
IDS = {"lower newer": [10, 2, 16, 9, 3, 2, 16]}
# The notebook of openai/CLIP and the README of open_clip, with CLIP's own vocabulary.
CLIPS_IDS = {
    "a diagram": [49406, 320, 22697, 49407],
    "a dog": [49406, 320, 1929, 49407],
    "a cat": [49406, 320, 2368, 49407],
    "a photo of a cat": [49406, 320, 1125, 539, 320, 2368, 49407],
    "hello world!": [49406, 3306, 1002, 256, 49407],
}
# transformers, tests/models/clip/test_image_processing_clip.py: `CLIPImageProcessingTester`.
PROCESSOR = {
    "do_resize": True,
    "size": {"shortest_edge": 20},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 18, "width": 18},
    "do_normalize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}


def test_transformers_vocabulary_of_23_tokens_gives_its_ids():
    vocabulary = {token: index for index, token in enumerate(VOCABULARY)}
    whole = Tokenizer(models.BPE(vocab=vocabulary, merges=MERGES, unk_token="<unk>", end_of_word_suffix="</w>"))
    whole.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    split = pre_tokenizers.Split(Regex(PIECES), behavior="removed", invert=True)
    whole.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    whole.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>",
        special_tokens=[("<|startoftext|>", 21), ("<|endoftext|>", 22)],
    )
    tokenizer = FileTokenizer(whole.to_str(), context=16)
    assert tokenizer(list(IDS)) == [[21, *ids, 22] for ids in IDS.values()]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("operators")
def test_the_ids_that_readmes_print_are_ours():
    pytest.importorskip("torchvision", reason="open_clip needs torchvision", exc_type=ImportError)
    open_clip = pytest.importorskip("open_clip", reason="open_clip carries CLIP's vocabulary")
    path = Path(open_clip.__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
    lines = gzip.decompress(path.read_bytes()).decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    tokenizer = CaptionTokenizer([tuple(line.split()) for line in lines], context=77)
    assert tokenizer(list(CLIPS_IDS)) == list(CLIPS_IDS.values())


def test_transformers_processor_whose_crop_is_smaller_than_its_side_is_refused(tmp_path: Path):
    """Differs: there a strip of one pixel around the crop is thrown away, which no published CLIP has asked for."""
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    with pytest.raises(RefusedInput, match=r"resizes to .*20.* and crops to .*18.*cannot be used exactly"):
        read_preprocess(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PROCESSOR | {"size": {"shortest_edge": 18}}))
    assert read_preprocess(tmp_path).size == 18
