"""What an image tower is. B = images, S = side, G = positions of a grid, W = features, D = embedding width."""

from torch import Tensor, nn


class ComputesBuffers(nn.Module):
    """A tower of another library, some of whose tensors are computed and in no file."""

    def compute_buffers(self) -> None:
        """Compute them, on the CPU, for a tower that was made without memory."""
        raise NotImplementedError

    def recompute_blocks(self, wanted: bool) -> bool:
        """Whether its blocks are run again in the backward pass from now on, in place of keeping what is inside."""
        raise NotImplementedError


class ImageTower(nn.Module):
    """Features of an image, or of the positions of a grid, and a linear projection of either."""

    projection: nn.Parameter

    def features(self, pixels_B3SS: Tensor) -> Tensor:
        """Normalised pixels to (B, W): what a linear probe reads."""
        raise NotImplementedError

    def grid(self, pixels_B3SS: Tensor) -> Tensor:
        """Normalised pixels to the G positions of the last map, (B, G, W)."""
        raise NotImplementedError

    def project(self, features: Tensor) -> Tensor:
        """Features or positions of a grid, (..., W) to (..., D)."""
        return features @ self.projection

    def projected_grid(self, pixels_B3SS: Tensor) -> Tensor:
        """Normalised pixels to the grid, projected, (B, G, D)."""
        return self.project(self.grid(pixels_B3SS))

    def map_modules(self) -> tuple[nn.Module, ...]:
        """The modules whose outputs may be maps (B, W, h, w), in turn; none in a transformer of ours."""
        return ()

    def give_up_pooling(self) -> None:
        """Leave untrained what only pools, where the grid is read in its stead."""

    def forward(self, pixels_B3SS: Tensor) -> Tensor:
        """Normalised pixels to (B, D), not yet of unit length."""
        return self.project(self.features(pixels_B3SS))
