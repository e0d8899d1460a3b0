"""`llicti run CONFIG.json`: train, validate or evaluate the paper's codec, as a configuration of its authors says."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from llicti_core.paper import codec
from llicti_core.paper.config import Config
from llicti_core.paper.data import image_paths, read_image
from llicti_core.paper.network import Network, load_checkpoint, load_weights
from llicti_core.paper.training import Training, estimate
from llicti_core.pyramid import phase_size
from llicti_core.spec import BANDS

CHANNEL_NAMES = ("Y", "Co", "Cg")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, 1 where the run failed, having said why.

    Raises OSError, of which `llicti` tells.
    """
    parser = argparse.ArgumentParser(prog="llicti run", description=__doc__)
    parser.add_argument("config", type=Path, help="JSON file with the authors' keys; its `mode` says what to do")
    options = parser.parse_args(arguments)
    try:
        config = Config.read(options.config)
        _MODES[config.mode.lower()](config)
    except (ValueError, ImportError) as error:
        print(f"llicti: {options.config}: {error}", file=sys.stderr)
        return 1
    return 0


def train(config: Config) -> None:
    """Train; checkpoints go to the run's folder."""
    training = Training(config, _device(config))
    for line in training.run():
        print(line, flush=True)
    print(f"checkpoints are in {config.folder}")


def validate(config: Config) -> None:
    """Print the estimated size of each image of valid_data."""
    network = _trained(config)
    bits = []
    for path, value in estimate(network, image_paths(config.data("valid_data"))):
        print(f"{path.name}: {value:.4f} bits per sub-pixel (estimated)", flush=True)
        bits.append(value)
    print(f"mean of {len(bits)} images: {sum(bits) / len(bits):.4f} bits per sub-pixel (estimated)")


def eval_model(config: Config) -> None:
    """Code and decode each image of test_data; print sizes, times and whether the pixels came back, then totals.

    Raises ValueError where they did not.
    """
    paths = image_paths(config.data("test_data"))
    network, coder = _trained(config), codec.Torchac()
    totals = Totals(config.levels)
    for path in paths:
        totals.add(path, network, coder)
    for line in totals.lines():
        print(line)
    if totals.differing:
        msg = f"{totals.differing} decoded images do not match"
        raise ValueError(msg)


class Totals:
    """Sums over the images that were coded: bits, sub-pixels by stream, seconds."""

    def __init__(self, levels: int) -> None:
        self.levels = levels
        self.bits: Counter[codec.Stream] = Counter()
        self.pixels: Counter[codec.Stream] = Counter()
        self.per_image: list[float] = []
        self.all_bits = self.sub_pixels = self.differing = 0
        self.encode_seconds = self.decode_seconds = 0.0

    def add(self, path: Path, network: Network, coder: codec.EntropyCoder) -> None:
        """Code an image and print its line."""
        pixels = read_image(path)
        started = time.perf_counter()
        data = codec.encode(network, pixels, coder)
        coded = time.perf_counter()
        decoded = codec.decode(network, data, coder)
        encoding, decoding = coded - started, time.perf_counter() - coded
        same = np.array_equal(decoded, pixels)
        self._count(pixels, data)
        self.differing += not same
        self.encode_seconds += encoding
        self.decode_seconds += decoding
        height, width = pixels.shape[:2]
        verdict = "decoded image matches" if same else "DECODED IMAGE DOES NOT MATCH"
        print(
            f"{path.name}: {width}x{height}, {len(data)} bytes, {self.per_image[-1]:.4f} bits per sub-pixel, "
            f"encode {encoding:.2f} s, decode {decoding:.2f} s, {verdict}",
            flush=True,
        )

    def _count(self, pixels: NDArray[np.uint8], data: bytes) -> None:
        height, width = pixels.shape[:2]
        for stream, content in codec.read(data).streams.items():
            band = BANDS[stream.band]
            self.bits[stream] += 8 * len(content)
            rows = phase_size(height, stream.level, band.row)
            self.pixels[stream] += rows * phase_size(width, stream.level, band.column)
        self.all_bits += 8 * len(data)
        self.sub_pixels += pixels.size
        self.per_image.append(8 * len(data) / pixels.size)

    def lines(self) -> list[str]:
        """The totals: of the images, then of each level, band and channel."""
        count = len(self.per_image)
        rate = self.sub_pixels / 3e6
        lines = [
            f"{count} images: mean {sum(self.per_image) / count:.4f} bits per sub-pixel, "
            f"of all pixels {self.all_bits / self.sub_pixels:.4f}",
            f"encode {self.encode_seconds / count:.2f} s an image ({rate / self.encode_seconds:.3f} Mpixel/s), "
            f"decode {self.decode_seconds / count:.2f} s ({rate / self.decode_seconds:.3f} Mpixel/s)",
            "level band channel  bits per sub-pixel  share of all bits",
        ]
        for stream in codec.order(self.levels):
            bits, pixels = self.bits[stream], self.pixels[stream]
            lines.append(
                f"{stream.level:5} {BANDS[stream.band].name:>4} {CHANNEL_NAMES[stream.channel]:<7}"
                f"{bits / pixels if pixels else 0:20.4f} {bits / self.all_bits:18.2%}"
            )
        rest = self.all_bits - self.bits.total()
        lines.append(f"lowpass, header and lengths {rest / self.all_bits:31.2%}")
        return lines


def _device(config: Config) -> torch.device:
    """The configuration's device; the CPU where it has no GPU, since published configurations ask for one."""
    if config.cuda and not torch.cuda.is_available():
        print("cuda: there is no GPU, so this runs on the CPU")
    return torch.device("cuda", config.gpu_device) if config.cuda and torch.cuda.is_available() else torch.device("cpu")


def _trained(config: Config) -> Network:
    """The network with the checkpoint's weights."""
    device = _device(config)
    network = Network(config.channels, config.levels)
    load_weights(network, load_checkpoint(config.checkpoint, device)["state_dict"], config.checkpoint)
    network.to(device)
    return network


_MODES = {"train": train, "validate": validate, "eval_model": eval_model}


if __name__ == "__main__":
    sys.exit(main())
