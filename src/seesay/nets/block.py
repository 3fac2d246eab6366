"""The pre-norm transformer block that both of the paper's towers are made of.

B = rows, L = positions, W = width, H = heads.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.nets.architecture import TextTransformerConfig, VisionTransformerConfig


def quick_gelu(x: Tensor) -> Tensor:
    """x * sigmoid(1.702 x), the activation of every model OpenAI released."""
    return x * torch.sigmoid(1.702 * x)


def gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


ACTIVATIONS = {"quick_gelu": quick_gelu, "gelu": F.gelu, "gelu_tanh": gelu_tanh}


class Attention(nn.Module):
    """Multi-head self-attention with biases; `qkv` holds query, key and value rows in that order."""

    def __init__(self, width: int, heads: int, *, causal: bool):
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x_BLW: Tensor) -> Tensor:
        B, L, W = x_BLW.shape
        q, k, v = self.qkv(x_BLW).view(B, L, 3, self.heads, W // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(mixed.transpose(1, 2).reshape(B, L, W))


class Block(nn.Module):
    """x + attention(ln_1(x)), then x + mlp(ln_2(x))."""

    def __init__(self, config: VisionTransformerConfig | TextTransformerConfig, *, causal: bool):
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.width)
        self.attention = Attention(config.width, config.heads, causal=causal)
        self.ln_2 = nn.LayerNorm(config.width)
        self.fc = nn.Linear(config.width, config.hidden)
        self.proj = nn.Linear(config.hidden, config.width)
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, x_BLW: Tensor) -> Tensor:
        x_BLW = x_BLW + self.attention(self.ln_1(x_BLW))
        return x_BLW + self.proj(self.activation(self.fc(self.ln_2(x_BLW))))


def start_as_torch(block: Block) -> None:
    """The image tower's start in the released code: what torch's own attention and linear layers start with."""
    nn.init.xavier_uniform_(block.attention.qkv.weight)
    nn.init.zeros_(block.attention.qkv.bias)
    nn.init.zeros_(block.attention.out.bias)


def start_as_gpt(block: Block, *, layers: int) -> None:
    """The text tower's start: GPT-2's depth-scaled normal, with torch's biases (zero in the attention)."""
    width = block.ln_1.normalized_shape[0]
    residual = width**-0.5 * (2 * layers) ** -0.5
    nn.init.normal_(block.attention.qkv.weight, std=width**-0.5)
    nn.init.normal_(block.attention.out.weight, std=residual)
    nn.init.normal_(block.fc.weight, std=(2 * width) ** -0.5)
    nn.init.normal_(block.proj.weight, std=residual)
    nn.init.zeros_(block.attention.qkv.bias)
    nn.init.zeros_(block.attention.out.bias)
