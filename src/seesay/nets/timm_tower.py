"""Image towers of the library timm, put together as open_clip does: the only file that imports timm.

It is imported when such a tower is built, and the extra `timm` installs what it needs. Nothing is fetched: a tower
starts at random or is filled from a file that seesay reads.
B = images, S = side in pixels, W = features, D = embedding width.
"""

from collections import OrderedDict
from typing import Any

import timm  # type: ignore[import-not-found]
import torch
from timm.layers import Mlp  # type: ignore[import-not-found]
from torch import Tensor, nn

from seesay.base.errors import RefusedInput, UsageError, nearest
from seesay.nets.borrowed import TimmImageConfig
from seesay.nets.tower import ComputesBuffers, ImageTower

# What timm's constructors raise for arguments that a tower of theirs does not take.
FAULTS = (RuntimeError, TypeError, ValueError, AssertionError, KeyError, AttributeError)


class TimmTower(ImageTower, ComputesBuffers):
    """timm's tower, and what open_clip puts behind it.

    `trunk` and `head` have open_clip's names (`timm_model.py` of 3.3.0). `RefusedInput` for a name that timm does not
    know, for arguments that the tower does not take, and for images of another size than it takes.
    """

    # What timm's own classes have beside torch's is known to none of ours.
    trunk: Any

    def __init__(self, config: TimmImageConfig, embed_dim: int):
        super().__init__()
        self.image_size = config.image_size
        if not timm.is_model(config.name):
            raise RefusedInput(
                f"timm {timm.__version__} knows no tower {config.name!r}.{nearest(config.name, timm.list_models())} "
                "A newer timm may."
            )
        try:
            self.trunk = _trunk(config, embed_dim)
        except FAULTS as error:
            raise RefusedInput(
                f"timm {timm.__version__} cannot build {config.name} with the pooling {config.pool!r} "
                f"({type(error).__name__}: {' '.join(str(error).split())[:120]}); the model's description is not of "
                "this timm."
            ) from error
        self.head = _head(config, self.trunk.head_hidden_size, embed_dim)
        self._refuse_other_width(config, embed_dim)
        _refuse_other_side(config, self.trunk)

    def features(self, pixels_B3SS: Tensor) -> Tensor:
        """Normalised pixels to (B, W): what a linear probe reads, before timm's classifier where that projects."""
        if self._classifier is None:
            return self.trunk(pixels_B3SS)
        return self.trunk.forward_head(self.trunk.forward_features(pixels_B3SS), pre_logits=True)

    def project(self, features: Tensor) -> Tensor:
        """Features, (..., W) to (..., D)."""
        return self.head(features) if self._classifier is None else self._classifier(features)

    def forward(self, pixels_B3SS: Tensor) -> Tensor:
        """Normalised pixels to (B, D), not yet of unit length; as timm itself runs it."""
        return self.head(self.trunk(pixels_B3SS))

    def map_modules(self) -> tuple[nn.Module, ...]:
        """Those that timm itself takes features from, also where they give no maps."""
        return tuple(self.trunk.get_submodule(info["module"]) for info in getattr(self.trunk, "feature_info", ()))

    def compute_buffers(self) -> None:
        """What is computed and in no file: tables of positions and the like, by timm's own code.

        `RefusedInput` for a tower that does not say how.
        """
        for name, module in self.trunk.named_modules():
            buffers = {key: module._buffers[key] for key in module._non_persistent_buffers_set}
            computed = {key: buffer for key, buffer in buffers.items() if buffer is not None}
            for key, buffer in computed.items():
                module._buffers[key] = torch.empty_like(buffer, device="cpu")
            if hasattr(module, "init_non_persistent_buffers"):
                module.init_non_persistent_buffers()
            elif computed:
                raise RefusedInput(
                    f"timm {timm.__version__} does not say how {name}.{min(computed)} of its "
                    f"{type(self.trunk).__name__} is computed, and no file has it; seesay reads no such model."
                )

    def recompute_blocks(self, wanted: bool) -> bool:
        """As timm does it, where that tower can."""
        try:
            self.trunk.set_grad_checkpointing(wanted)
        except FAULTS:
            return False
        return wanted

    @property
    def _classifier(self) -> nn.Linear | None:
        """timm's own, where it projects and is a single layer: behind it stands nothing then."""
        classifier = self.trunk.get_classifier()
        return classifier if isinstance(classifier, nn.Linear) and not len(self.head) else None

    def _refuse_other_width(self, config: TimmImageConfig, embed_dim: int) -> None:
        width = self.trunk.head_hidden_size
        if config.head == "none" and width != embed_dim:
            raise RefusedInput(
                f"timm's {config.name} has {width} features with nothing behind it, and the model an embedding of "
                f"{embed_dim}; its description is not of this tower."
            )


def image_size_of(name: str) -> int:
    """The side of the images that timm's tower of that name was made for; `UsageError` if it knows none."""
    if not timm.is_model(name):
        raise UsageError(f"timm {timm.__version__} knows no tower {name!r}.{nearest(name, timm.list_models())}")
    config = timm.get_pretrained_cfg(name)
    assert config is not None
    return config.input_size[-1]


def _trunk(config: TimmImageConfig, embed_dim: int) -> Any:
    if config.head in ("classifier", "none"):
        width = embed_dim if config.head == "classifier" else 0
        return timm.create_model(config.name, pretrained=False, num_classes=width, global_pool=config.pool)
    trunk = timm.create_model(config.name, pretrained=False)
    trunk.reset_classifier(0, **({"global_pool": config.pool} if config.pool else {}))
    return trunk


def _head(config: TimmImageConfig, width: int, embed_dim: int) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if config.head == "linear":
        layers["proj"] = nn.Linear(width, embed_dim, bias=config.head_bias)
    elif config.head == "mlp":
        layers["mlp"] = Mlp(width, 2 * embed_dim, embed_dim, bias=(True, config.head_bias))
    return nn.Sequential(layers)


def _refuse_other_side(config: TimmImageConfig, trunk: Any) -> None:
    """Towers with a table of positions take one size alone; others say a size and take any."""
    side = config.image_size
    made_for = getattr(getattr(trunk, "patch_embed", None), "img_size", None)
    if not made_for or tuple(made_for) == (side, side):
        return
    device = next(trunk.parameters()).device
    try:
        with torch.no_grad():
            trunk.eval()(torch.zeros(1, 3, side, side, device=device))
    except FAULTS as error:
        raise RefusedInput(
            f"timm's {config.name} takes images of {made_for[0]} px, and the model is described with {side}; its "
            "description is not of this tower."
        ) from error
    trunk.train()
