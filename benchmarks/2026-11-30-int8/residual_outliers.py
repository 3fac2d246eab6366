"""How near int8 rows stay where some channels of what blocks add up are 100 and 50 times as large as the others.

    PEERS/bin/python residual_outliers.py MODEL ../../../shared/data PHOTOS [FOLDER] > residual_outliers.log

PEERS is as for int8_models.py; MODEL is a trained ViT with a LayerNorm before its blocks. Real CLIP weights have such
channels at all positions. A LayerNorm divides by what all channels hold, so that no exact change of weights makes them.
Here three channels get a constant, by the bias of the LayerNorm before the blocks, which is so many times the median of
what comes into the middle block; every gain and bias behind
is fitted again by least squares, one LayerNorm after the other, to what that LayerNorm gave before; and all LayerNorms
and biases are then trained for STEPS steps to give the rows of the model before, on PHOTOS alone. Shown is how
near that came, and how near int8 is to that model's own float32 on the 900 images of two sets. FOLDER keeps the models.
"""

import copy
import sys
from pathlib import Path

import torch
from torch import nn

import seesay
from seesay.data.evalsets import open_evalset
from seesay.model.encode import read_pixels
from seesay.nets.block import Block
from seesay.tasks.classify import find_photos
from seesay.tasks.export_files import drawn_from_folders
from seesay.tasks.export_int8 import IN_INT8

sys.path.insert(0, str(Path(__file__).parents[1] / "2026-11-29-engines"))
from int8_sets import in_runtime

CHANNELS, SIGNS, FACTORS = (17, 101, 230), (1.0, -1.0, 0.7), (100, 50)
FITTED, STEPS, AT_ONCE, RATE, CALIBRATED = 128, 40, 48, 1e-3, 128


def norms_of(model: seesay.Model) -> list[nn.LayerNorm]:
    tower = model.clip.image_tower
    blocks = [block for block in tower.blocks if isinstance(block, Block)]
    return [*(norm for block in blocks for norm in (block.ln_1, block.ln_2)), tower.ln_post]


def seen_by(norm: nn.LayerNorm, model: seesay.Model, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows (T, W) that come into a LayerNorm and that come out."""
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    hook = norm.register_forward_hook(lambda _, given, output: seen.append((given[0].clone(), output.clone())))
    for part in pixels.split(64):
        model.encode_pixels(part)
    hook.remove()
    return tuple(torch.cat(each).flatten(0, -2) for each in zip(*seen, strict=True))


@torch.no_grad()
def with_channels(model: seesay.Model, factor: float, pixels: torch.Tensor) -> seesay.Model:
    other = copy.copy(model)
    other.clip = copy.deepcopy(model.clip)
    middle = norms_of(model)[len(norms_of(model)) // 2]
    typical = seen_by(middle, model, pixels[:64])[0].abs().median()
    bias = other.clip.image_tower.ln_pre.bias
    for channel, sign in zip(CHANNELS, SIGNS, strict=True):
        bias[channel] += factor * sign * typical
    for before, norm in zip(norms_of(model), norms_of(other), strict=True):
        wanted = seen_by(before, model, pixels)[1]
        x = seen_by(norm, other, pixels)[0]
        z = nn.functional.layer_norm(x, x.shape[-1:], eps=norm.eps)
        centred = z - z.mean(0)
        norm.weight.copy_((centred * (wanted - wanted.mean(0))).sum(0) / centred.square().sum(0))
        norm.bias.copy_(wanted.mean(0) - norm.weight * z.mean(0))
    return other


def trained(model: seesay.Model, other: seesay.Model, pixels: torch.Tensor) -> None:
    """LayerNorms and biases of the other model, until it gives the rows of the first."""
    tower = other.clip.image_tower
    learned = [part for name, part in tower.named_parameters() if part.dim() == 1 and not name.startswith("ln_pre")]
    optimizer, generator = torch.optim.Adam(learned, lr=RATE), torch.Generator().manual_seed(0)
    right = torch.cat([model.encode_pixels(part) for part in pixels.split(64)]).clone()
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 - step / STEPS)
        chosen = torch.randperm(len(pixels), generator=generator)[:AT_ONCE]
        rows = nn.functional.normalize(tower(other.preprocess.normalise(pixels[chosen]).clone()), dim=-1)
        loss = (1 - (rows * right[chosen]).sum(1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def show(what: str, encode, right: torch.Tensor, pixels: torch.Tensor) -> None:
    cosine = (torch.cat([encode(part) for part in pixels.split(64)]) * right).sum(1)
    print(f"{what}: smallest cosine {cosine.min():.5f}, mean {cosine.mean():.6f}", flush=True)


def main() -> None:
    name, data, photos, *folder = sys.argv[1:]
    torch.set_num_threads(1)
    model, read = seesay.load(name), []
    for source in ("food20", "dtd10"):
        opened = open_evalset(Path(data, f"eval-{source}"))
        read += read_pixels(model, opened.image, len(opened))[0]
    pixels = torch.stack(read)
    drawn = torch.stack([model.preprocess.read(each) for each in drawn_from_folders(find_photos([photos]), 600)])
    before = torch.cat([model.encode_pixels(part) for part in pixels.split(64)])
    for factor in FACTORS:
        other = with_channels(model, factor, drawn[:FITTED])
        show(f"times {factor}, fitted, float32 to the model before", other.encode_pixels, before, pixels)
        trained(model, other, drawn)
        show(f"times {factor}, trained, float32 to the model before", other.encode_pixels, before, pixels)
        for norm in norms_of(other)[::4]:
            most = seen_by(norm, other, drawn[:64])[0].abs().median(0).values
            print("  channels, times the median of all:", [round(float(most[c] / most.median())) for c in CHANNELS])
        if folder:
            Path(folder[0]).mkdir(exist_ok=True)
            torch.save(other.clip.state_dict(), Path(folder[0], f"{factor}.pt"))
        right = torch.cat([other.encode_pixels(part) for part in pixels.split(64)])
        show(f"times {factor}, torch-int8", other.with_engine("torch-int8").encode_pixels, right, pixels)
        for engine in IN_INT8:
            show(f"times {factor}, {engine}-int8", in_runtime(engine, other, drawn[:CALIBRATED]), right, pixels)


if __name__ == "__main__":
    main()
