"""What stands in the place of a tower that a model was saved without: it has no weights, and says what is missing."""

from torch import Tensor

from seesay.base.errors import UsageError
from seesay.nets.architecture import AbsentImageConfig, AbsentTextConfig
from seesay.nets.tower import ImageTower


class Absent(ImageTower):
    """A tower of either side, of which every use is a `UsageError`."""

    def __init__(self, config: AbsentImageConfig | AbsentTextConfig, embed_dim: int):
        super().__init__()
        self.hint = config.hint

    def features(self, pixels_B3SS: Tensor) -> Tensor:
        """Nothing of the kind, (B, W)."""
        raise UsageError(self.hint)

    def forward(self, pixels_B3SS: Tensor) -> Tensor:
        """Nothing of the kind, (B, D)."""
        raise UsageError(self.hint)
