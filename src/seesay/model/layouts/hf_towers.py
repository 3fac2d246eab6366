"""What the towers of transformers' CLIP and SigLIP have in common in `config.json`, in both directions."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from seesay.nets.architecture import (
    SiglipImageConfig,
    SiglipTextConfig,
    TextTransformerConfig,
    VisionTransformerConfig,
)

# transformers' names of activations, and ours.
ACTIVATIONS = {"quick_gelu": "quick_gelu", "gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh"}


class Tower(BaseModel):
    """A section; what it leaves out is for each class of transformers to say."""

    model_config = ConfigDict(strict=True, extra="ignore")

    hidden_act: Literal["quick_gelu", "gelu", "gelu_pytorch_tanh"]
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int


def blocks(tower: Tower) -> dict[str, Any]:
    """The transformer of a section, as values that are still to be checked."""
    is_usual = tower.intermediate_size == 4 * tower.hidden_size
    return {
        "width": tower.hidden_size,
        "layers": tower.num_hidden_layers,
        "heads": tower.num_attention_heads,
        "activation": ACTIVATIONS[tower.hidden_act],
        "mlp_width": None if is_usual else tower.intermediate_size,
    }


def block_section(
    tower: VisionTransformerConfig | TextTransformerConfig | SiglipImageConfig | SiglipTextConfig, *, eps: float
) -> dict[str, Any]:
    """What `blocks` reads, and the epsilon of the layer norms."""
    return {
        "hidden_size": tower.width,
        "intermediate_size": tower.hidden,
        "num_hidden_layers": tower.layers,
        "num_attention_heads": tower.heads,
        "hidden_act": {ours: theirs for theirs, ours in ACTIVATIONS.items()}[tower.activation],
        "layer_norm_eps": eps,
    }
