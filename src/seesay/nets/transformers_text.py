"""Text towers of the library transformers, put together as open_clip does: the only file that imports transformers.

It is imported when such a tower is built, and the extra `transformers` installs what it needs. Nothing is fetched: the
sizes come from the model's description, all else is what transformers has for the family.
B = captions, L = longest of them, W = width of the tower, D = embedding width.
"""

from typing import Any

import torch
import transformers  # type: ignore[import-not-found]
from torch import Tensor, nn

from seesay.base.records import Tokens
from seesay.nets.borrowed import TransformersTextConfig
from seesay.nets.tower import ComputesBuffers


class TransformersText(ComputesBuffers):
    """An encoder of transformers, pooled, and what open_clip puts behind it.

    `transformer` and `proj` have open_clip's names (`hf_model.py` of 3.3.0). What is an encoder and a decoder there is
    the encoder alone.
    """

    # What transformers' own classes have beside torch's is known to none of ours.
    transformer: Any

    def __init__(self, config: TransformersTextConfig, embed_dim: int):
        super().__init__()
        self.config = config
        self.is_recomputed = False
        self.transformer = _encoder(config)
        self.proj = _projection(config, embed_dim)

    @property
    def token_embedding(self) -> nn.Module:
        """Where ids become vectors, by the name that our own towers have for it."""
        return self.transformer.get_input_embeddings()

    def features(self, tokens: Tokens) -> Tensor:
        """Token ids to (B, W)."""
        ids_BL = tokens.ids_BL
        place_L = torch.arange(ids_BL.shape[1], device=ids_BL.device)
        ids_BL = ids_BL.masked_fill(place_L >= tokens.length_B[:, None], self.config.pad)
        # As there: a padding token that a caption names is not seen either.
        seen_BL = (ids_BL != self.config.pad).long()
        given = self.transformer(input_ids=ids_BL, attention_mask=seen_BL)
        if self.config.pool == "dense":
            return given.pooler_output
        if self.config.pool == "first":
            return given.last_hidden_state[:, 0]
        return (given.last_hidden_state * seen_BL[..., None]).sum(1) / seen_BL.sum(1, keepdim=True)

    def forward(self, tokens: Tokens) -> Tensor:
        """Token ids to (B, D), not yet of unit length."""
        return self.proj(self.features(tokens))

    def compute_buffers(self) -> None:
        """What is computed and in no file, such as a table of positions: taken from a tower of one block."""
        empty = [name for name, buffer in self.transformer.named_buffers() if buffer.is_meta]
        if not empty:
            return
        small = _encoder(self.config.model_copy(update={"layers": 1, "vocab_size": self.config.pad + 3}))
        for name in empty:
            owner, _, key = name.rpartition(".")
            self.transformer.get_submodule(owner)._buffers[key] = small.get_buffer(name)

    def recompute_blocks(self, wanted: bool) -> bool:
        """As transformers does it, where that tower can."""
        tower = self.transformer
        if not tower.supports_gradient_checkpointing or self.is_recomputed == wanted:
            return self.is_recomputed
        self.is_recomputed = wanted
        # The newer names are those of its version 5.
        if wanted:
            enable = getattr(tower, "activation_checkpointing_enable", tower.gradient_checkpointing_enable)
            enable({"use_reentrant": False})
        else:
            getattr(tower, "activation_checkpointing_disable", tower.gradient_checkpointing_disable)()
        return wanted


def _encoder(config: TransformersTextConfig) -> Any:
    """Without transformers' `from_pretrained`, which would look for files."""
    model = transformers.AutoModel.from_config(_settings(config), **_options(config))
    return model.encoder if config.family in ("mt5", "m2m_100") else model


def _options(config: TransformersTextConfig) -> dict[str, Any]:
    return {} if config.family in ("mt5", "m2m_100") else {"add_pooling_layer": config.pool == "dense"}


def _settings(config: TransformersTextConfig) -> Any:
    """transformers' own configuration; the decoder, which is left out, has one block."""
    both = {"vocab_size": config.vocab_size, "pad_token_id": config.pad}
    if config.family == "mt5":
        return transformers.MT5Config(
            d_model=config.width,
            d_kv=config.width // config.heads,
            d_ff=config.mlp_width,
            num_layers=config.layers,
            num_decoder_layers=1,
            num_heads=config.heads,
            **both,
        )
    if config.family == "m2m_100":
        return transformers.M2M100Config(
            d_model=config.width,
            encoder_layers=config.layers,
            encoder_attention_heads=config.heads,
            encoder_ffn_dim=config.mlp_width,
            decoder_layers=1,
            max_position_embeddings=config.positions,
            **both,
        )
    kind = transformers.RobertaConfig if config.family == "roberta" else transformers.XLMRobertaConfig
    return kind(
        hidden_size=config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=config.mlp_width,
        max_position_embeddings=config.positions,
        # As published; the classes' own are those of BERT.
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        **both,
    )


def _projection(config: TransformersTextConfig, embed_dim: int) -> nn.Module:
    if config.head == "none":
        return nn.Identity()
    if config.head == "linear":
        return nn.Linear(config.width, embed_dim, bias=False)
    hidden = (config.width + embed_dim) // 2
    return nn.Sequential(
        nn.Linear(config.width, hidden, bias=False), nn.GELU(), nn.Linear(hidden, embed_dim, bias=False)
    )
