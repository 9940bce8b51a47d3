"""Train hat-nano-x2 from the pictures that scikit-image installs and from dead leaves. Seeded.

    python models/hat-nano-x2/train.py --out models/hat-nano-x2

scikit-learn's china.jpg and flower.jpg are only ever used to score the result.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from hat_deploy.images.resize import bicubic, round_to_uint8
from hat_deploy.networks.checkpoint import load_network, save_checkpoint
from hat_deploy.networks.hat.config import HATConfig
from hat_deploy.networks.hat.network import HAT

CONFIG = HATConfig.published(
    2, embed_dim=48, depths=(4, 4), num_heads=4, compress_ratio=3, squeeze_factor=12
)
PICTURES = [
    "astronaut", "chelsea", "coffee", "rocket", "hubble_deep_field", "ihc", "motorcycle_left",
    "motorcycle_right", "camera", "brick", "grass", "gravel", "coins", "page",
]  # fmt: skip
"""The pictures of scikit-image that hold detail at the scale of a pixel."""
SIZES = (1.0, 0.7, 0.5, 0.35)
"""Each picture also enters shrunk: what a camera blurs over three pixels becomes an edge."""


@dataclass(frozen=True)
class Pair:
    """One picture at both resolutions, HWC RGB uint8, the low one by antialiased bicubic."""

    low: npt.NDArray[np.uint8]
    high: npt.NDArray[np.uint8]

    @property
    def difficulty(self) -> float:
        """What bicubic interpolation gets wrong, in grey levels, up to 8 (fur, gravel)."""
        guess = round_to_uint8(bicubic(self.low, *self.high.shape[:2]))
        return min(8.0, float(np.abs(guess.astype(float) - self.high).mean()))


def pair(high: npt.NDArray[np.uint8]) -> Pair:
    height, width = (length // 2 * 2 for length in high.shape[:2])
    high = np.ascontiguousarray(high[:height, :width])
    return Pair(round_to_uint8(bicubic(high, height // 2, width // 2)), high)


def load_pictures(names: list[str]) -> list[npt.NDArray[np.uint8]]:
    import skimage.data
    import skimage.io

    folder = Path(skimage.data.__file__).parent
    pictures = []
    for name in names:
        path = next(p for p in folder.iterdir() if p.stem == name)
        picture = np.atleast_3d(skimage.io.imread(path))[..., :3]
        pictures.append(np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture)
    return pictures


def natural_pairs(pictures: list[npt.NDArray[np.uint8]], patch: int) -> list[Pair]:
    """Every picture at every size that gives a crop."""
    pairs = []
    for picture in pictures:
        for size in SIZES:
            height, width = (int(length * size) for length in picture.shape[:2])
            if min(height, width) // 2 < patch:
                continue
            shrunk = round_to_uint8(bicubic(picture, height, width)) if size < 1 else picture
            pairs.append(pair(shrunk))
    return pairs


def dead_leaves(
    colours: npt.NDArray[np.uint8], side: int, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Ellipses and polygons of every size fallen on one another, coloured as a picture is.

    Their radii follow a power law, which gives the edges and the spectrum of natural pictures
    (Lee, Mumford and Huang, "Occlusion models for natural images", 2001). Painted at twice the
    side and shrunk, so that edges are as soft as a camera's.

    Args:
        colours: (pixels, 3) RGB, one of which is drawn for each leaf.
        side: of the square picture, in pixels.
    """
    canvas = np.zeros((2 * side, 2 * side, 3), np.uint8)
    power, smallest, largest = 1 - rng.uniform(2.0, 3.0), rng.uniform(1, 3), 200.0
    covered = 0.0
    while covered < 6 * canvas[..., 0].size:
        share = rng.random()
        radius = (smallest**power + share * (largest**power - smallest**power)) ** (1 / power)
        covered += np.pi * radius**2
        colour = colours[rng.integers(len(colours))].tolist()
        x, y = rng.random(2) * 2 * side
        if rng.random() < 1 / 3:
            axes = (2 * radius, 2 * radius * rng.uniform(0.2, 1))
            cv2.ellipse(canvas, ((x, y), axes, rng.uniform(0, 180)), colour, -1, cv2.LINE_AA)
        else:
            corners = rng.integers(3, 7)
            angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
            reach = radius * rng.uniform(0.5, 1.3, corners)
            points = np.stack([x + reach * np.cos(angles), y + reach * np.sin(angles)], 1)
            fixed_point = (points * 16).astype(np.int32)
            cv2.fillPoly(canvas, [fixed_point], colour, cv2.LINE_AA, shift=4)
    return round_to_uint8(bicubic(canvas, side, side))


def load_pairs(names: list[str], patch: int, leaves: int, rng: np.random.Generator) -> list[Pair]:
    """The named pictures at every size, and as many pictures of dead leaves as asked."""
    pictures = load_pictures(names)
    fallen = (
        dead_leaves(pictures[number % len(pictures)].reshape(-1, 3), 320, rng)
        for number in range(leaves)
    )
    return natural_pairs(pictures, patch) + [pair(picture) for picture in fallen]


def shares(pairs: list[Pair]) -> npt.NDArray[np.float64]:
    """How often each pair is drawn: more for large ones and for difficult ones."""
    weights = [np.sqrt(p.low[..., 0].size) * p.difficulty for p in pairs]
    return np.array(weights) / sum(weights)


def draw(
    pairs: list[Pair],
    batch: int,
    patch: int,
    rng: np.random.Generator,
    probabilities: npt.NDArray[np.float64],
) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of (low, high) crops in [0, 1], flipped, turned and with channels shuffled."""
    lows, highs = [], []
    for index in rng.choice(len(pairs), batch, p=probabilities):
        low, high = pairs[index].low, pairs[index].high
        y = rng.integers(low.shape[0] - patch + 1)
        x = rng.integers(low.shape[1] - patch + 1)
        turns, flip, order = rng.integers(4), rng.integers(2), rng.permutation(3)
        for crops, picture, factor in ((lows, low, 1), (highs, high, 2)):
            side = patch * factor
            crop = picture[y * factor : y * factor + side, x * factor : x * factor + side]
            crop = np.rot90(crop[:, ::-1] if flip else crop, turns)[..., order]
            crops.append(torch.from_numpy(crop.copy()).permute(2, 0, 1))
    return torch.stack(lows).float() / 255, torch.stack(highs).float() / 255


def linear_filters(
    pairs: list[Pair], rng: np.random.Generator, probabilities: npt.NDArray[np.float64]
) -> torch.Tensor:
    """The best linear interpolation: least squares over 5x5 neighbourhoods.

    Returns:
        (4, 25): for each of the four high-resolution pixels, the weights of its neighbours.
    """
    neighbours, targets = [], []
    for low, high in (draw(pairs, 1, 32, rng, probabilities) for _ in range(400)):
        patches = F.unfold(low.transpose(0, 1), 5)  # 3, 25, positions
        shuffled = F.pixel_unshuffle(high.transpose(0, 1), 2)[..., 2:-2, 2:-2].flatten(2)
        neighbours.append(patches.transpose(1, 2).reshape(-1, 25))
        targets.append(shuffled.transpose(1, 2).reshape(-1, 4))
    a, b = torch.cat(neighbours).double(), torch.cat(targets).double()
    mean = a.mean(1, keepdim=True)
    a, b = a - mean, b - mean
    ridge = 1e-4 * len(a) * torch.eye(25, dtype=torch.float64)
    weights = torch.linalg.solve(a.T @ a + ridge, a.T @ b).T
    return (weights + (1 - weights.sum(1, keepdim=True)) / 25).float()


def start_linear(network: HAT, filters: torch.Tensor) -> None:
    """Set the shallow path so that the untrained network is that linear interpolation.

    The first convolution copies the colours; the one before the upsampler spreads their 3x3
    neighbourhoods over channels, each with both signs because of the LeakyReLU between; the
    upsampler weighs them; the last one copies. The body starts with no say.
    """
    slope = 0.01
    with torch.no_grad():
        upsample = network.upsample[0]
        before_upsample = network.conv_before_upsample[0]
        for layer in (network.conv_first, before_upsample, upsample, network.conv_last):
            layer.bias.zero_()
        for layer in (network.conv_after_body, network.conv_last):
            layer.weight.zero_()
        network.conv_after_body.bias.zero_()
        for block in (b for group in network.layers for b in group.residual_group.blocks):
            block.conv_block.cab[2].weight.mul_(10)
        network.conv_first.weight[:3] = 0
        before, up = before_upsample.weight, upsample.weight
        before[:54] = 0
        up[:12] = 0
        kernel = filters.view(4, 5, 5)
        # A 5x5 tap can be reached as 3x3 after 3x3 in several ways: share it among them.
        steps = [(a, b) for a in range(3) for b in range(3)]
        ways = torch.zeros(5, 5)
        for a, b in steps:
            ways[a : a + 3, b : b + 3] += 1
        for colour in range(3):
            network.conv_first.weight[colour, colour, 1, 1] = 1
            network.conv_last.weight[colour, colour, 1, 1] = 1
            for number, (a, b) in enumerate(steps):
                plus = (colour * 9 + number) * 2
                before[plus, colour, a, b] = 1
                before[plus + 1, colour, a, b] = -1
                share = (kernel / ways)[:, a : a + 3, b : b + 3] / (1 + slope)
                up[colour * 4 : colour * 4 + 4, plus] = share
                up[colour * 4 : colour * 4 + 4, plus + 1] = -share


def train(args: argparse.Namespace) -> HAT:
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    pairs = load_pairs(args.pictures, args.patch, args.leaves, rng)
    probabilities = shares(pairs)
    network = HAT(CONFIG)
    if args.init:
        network.load_state_dict(load_network(args.init).state_dict())
    else:
        start_linear(network, linear_filters(pairs, rng, probabilities))
    network.to(args.device).train()
    ema = copy.deepcopy(network)
    optimiser = torch.optim.Adam(network.parameters(), lr=args.rate, betas=(0.9, 0.99))
    milestones = [int(args.steps * part) for part in args.halve]
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: min(1.0, (step + 1) / 200) * 0.5 ** sum(step >= m for m in milestones),
    )
    criterion = {"l1": F.l1_loss, "mse": F.mse_loss}[args.loss]
    forward = torch.compile(network) if args.compile else network
    started, smoothed = time.monotonic(), None
    for step in range(1, args.steps + 1):
        batch = draw(pairs, args.batch, args.patch, rng, probabilities)
        low, high = (tensor.to(args.device) for tensor in batch)
        with torch.autocast(args.device, torch.bfloat16, enabled=args.bfloat16):
            output = forward(low)
        loss = criterion(output.float(), high)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        decay = min(0.999, (1 + step) / (10 + step))
        with torch.no_grad():
            for kept, now in zip(ema.parameters(), network.parameters(), strict=True):
                kept.lerp_(now, 1 - decay)
        smoothed = loss.item() if smoothed is None else 0.99 * smoothed + 0.01 * loss.item()
        if step % 50 == 0:
            seconds = time.monotonic() - started
            print(f"step {step} loss {smoothed:.6f} {seconds / step:.2f} s/step", flush=True)
        if step % args.save_every == 0 or step == args.steps:
            save(ema, args.out)
    return ema


def save(network: HAT, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_checkpoint(network, folder / "weights.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG.to_dict(), indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for weights and config")
    parser.add_argument("--pictures", nargs="*", default=PICTURES, help="by name, to use fewer")
    parser.add_argument("--leaves", type=int, default=28, help="pictures of dead leaves")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--patch", type=int, default=32, help="low-resolution side of a crop")
    parser.add_argument("--rate", type=float, default=6e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--loss", choices=("l1", "mse"), default="l1")
    parser.add_argument("--init", type=Path, help="weights.safetensors to go on from")
    parser.add_argument(
        "--halve",
        type=float,
        nargs="*",
        default=[0.5, 0.75, 0.9, 0.95],
        help="halve the rate at these parts of the run",
    )
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile; wants a C++ compiler"
    )
    parser.add_argument("--bfloat16", action="store_true", help="autocast: faster, coarser")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--save-every", type=int, default=250)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
