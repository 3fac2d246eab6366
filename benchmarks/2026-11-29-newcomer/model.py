"""A small CLIP in Hugging Face's layout, made by transformers: python model.py FOLDER (random weights, 600 ids)."""

import json
import sys
from pathlib import Path

import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

folder = Path(sys.argv[1])
torch.manual_seed(0)
sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
text = {**sizes, "vocab_size": 600, "bos_token_id": 598, "eos_token_id": 599}
vision = {**sizes, "image_size": 32, "patch_size": 8}
CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=32)).save_pretrained(folder)
CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)

letters = sorted(ByteLevel.alphabet())
words = letters + [f"{letter}</w>" for letter in letters]
merges = [(first, second) for first in letters for second in letters][: 598 - len(words)]
words += [first + second for first, second in merges] + ["<|startoftext|>", "<|endoftext|>"]
(folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
(folder / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, merges)]) + "\n")
(folder / "tokenizer_config.json").write_text(
    json.dumps({"tokenizer_class": "CLIPTokenizer", "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"})
)
