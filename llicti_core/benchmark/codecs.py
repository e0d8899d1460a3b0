"""The codecs under comparison, each at one setting, behind one interface."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from PIL import Image

import llicti_core
from llicti_core import models
from llicti_core.adaptation import MAX_EFFORT
from llicti_core.benchmark.photos import Pixels

_DEEP = (8, 16)


@dataclass(frozen=True)
class Codec:
    """A codec at one setting.

    name: what the command line and the results call it: the family, and after a hyphen the setting.
    label: the same for readers, the setting in brackets.
    encode, decode: pixels to bytes and back. The second argument is the number of threads, which codecs that cannot
    use threads ignore.
    depths: the bits of a sample that it can hold.
    threaded: whether it can use threads.
    slow: takes seconds an image, and so is timed in one round only.
    """

    name: str
    label: str
    encode: Callable[[Pixels, int], bytes]
    decode: Callable[[bytes, int], Pixels]
    depths: tuple[int, ...] = _DEEP
    threaded: bool = False
    slow: bool = False

    @property
    def family(self) -> str:
        """The name without the setting."""
        return self.name.partition("-")[0]


def installed() -> list[Codec]:
    """Every codec that can run here: Pillow's PNG, our models, and what imagecodecs has where it is installed.

    Of what it has, those that photographs are kept in, or could be.
    """
    ours = [_llc(model, effort) for model in models.available() for effort in range(MAX_EFFORT + 1)]
    return [Codec("png", "PNG (Pillow)", _encode_png, _decode_png, depths=(8,)), *_peers(), *_paper(), *ours]


def select(names: Sequence[str]) -> list[Codec]:
    """The installed codecs of these names or families. Raises ValueError for an unknown one."""
    codecs = installed()
    unknown = set(names) - {codec.name for codec in codecs} - {codec.family for codec in codecs}
    if unknown:
        msg = f"no codec {', '.join(sorted(unknown))} here, only {', '.join(codec.name for codec in codecs)}"
        raise ValueError(msg)
    return [codec for codec in codecs if codec.name in names or codec.family in names]


def _llc(model: str, effort: int) -> Codec:
    known_as = next((alias for alias, name in models.ALIASES.items() if name == model), model)
    return Codec(
        f"llc-{model}-{effort}",
        f"LLC {known_as} (effort {effort})",
        lambda pixels, threads: llicti_core.encode(pixels, model=model, effort=effort, threads=threads),
        lambda data, threads: llicti_core.decode(data, threads=threads),
        threaded=True,
        slow=effort > 1,
    )


def _paper() -> list[Codec]:
    """The paper's LLICTI-A with the weights that LLICTI_PAPER_CHECKPOINT names, where torch and torchac are there."""
    checkpoint = os.environ.get("LLICTI_PAPER_CHECKPOINT")
    if not checkpoint or not (find_spec("torch") and find_spec("torchac")):
        return []
    from llicti_core.paper import codec
    from llicti_core.paper.network import Network, load_checkpoint, load_weights

    network = Network()
    load_weights(network, load_checkpoint(checkpoint)["state_dict"], checkpoint)
    coder = codec.Torchac()
    return [
        Codec(
            "paper",
            "the paper's LLICTI-A (torch, torchac)",
            lambda pixels, _: codec.encode(network, pixels, coder),
            lambda data, _: codec.decode(network, data, coder),
            depths=(8,),
            slow=True,
        )
    ]


def _encode_png(pixels: Pixels, threads: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _decode_png(data: bytes, threads: int) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data)))


def _peers() -> list[Codec]:
    """The codecs of the package imagecodecs, if it is installed: those that work."""
    try:
        ic = import_module("imagecodecs")
    except ModuleNotFoundError:
        return []
    peers = [
        Codec(
            "png-9",
            "PNG (libpng, level 9)",
            lambda pixels, _: ic.png_encode(pixels, level=9),
            lambda data, _: ic.png_decode(data),
        ),
        _webp(ic, method=4, quality=75),
        _webp(ic, method=6, quality=100),
        *(_jpeg_xl(ic, effort) for effort in (1, 3, 7, 9)),
        Codec(
            "jpeg2000",
            "JPEG 2000",
            lambda pixels, threads: ic.jpeg2k_encode(pixels, level=0, reversible=True, numthreads=threads),
            lambda data, threads: ic.jpeg2k_decode(data, numthreads=threads),
            threaded=True,
        ),
        Codec(
            "jpegls",
            "JPEG-LS",
            lambda pixels, _: ic.jpegls_encode(pixels),
            lambda data, _: ic.jpegls_decode(data),
        ),
        Codec(
            "htj2k",
            "HTJ2K",
            lambda pixels, _: ic.htj2k_encode(pixels, reversible=True),
            lambda data, _: ic.htj2k_decode(data),
        ),
        Codec(
            "jpegxr",
            "JPEG XR",
            lambda pixels, _: ic.jpegxr_encode(pixels),  # lossless where it is given no level
            lambda data, _: ic.jpegxr_decode(data),
        ),
        Codec(
            "tiff",
            "TIFF (deflate, predictor)",
            lambda pixels, _: ic.tiff_encode(pixels, compression="deflate", predictor=True),
            lambda data, _: ic.tiff_decode(data),
        ),
        Codec(
            "avif",
            "AVIF (speed 6)",
            lambda pixels, threads: ic.avif_encode(pixels, level=100, speed=6, numthreads=threads),
            lambda data, threads: ic.avif_decode(data, numthreads=threads),
            depths=(8,),
            threaded=True,
            slow=True,
        ),
        Codec("qoi", "QOI", lambda pixels, _: ic.qoi_encode(pixels), lambda data, _: ic.qoi_decode(data), depths=(8,)),
    ]
    return [codec for codec in peers if _works(codec)]


def _works(codec: Codec) -> bool:
    """Whether imagecodecs has a codec: versions differ, and builds of a version."""
    try:
        codec.decode(codec.encode(np.zeros((8, 8, 3), np.uint8), 1), 1)
    except (AttributeError, ImportError, NotImplementedError):
        return False
    return True


def _webp(ic: Any, method: int, quality: int) -> Codec:
    return Codec(
        f"webp-{method}",
        f"WebP (m{method}, q{quality})",
        lambda pixels, threads: ic.webp_encode(pixels, lossless=True, method=method, level=quality, numthreads=threads),
        lambda data, _: ic.webp_decode(data),
        depths=(8,),
        threaded=True,
        slow=method == 6,
    )


def _jpeg_xl(ic: Any, effort: int) -> Codec:
    return Codec(
        f"jxl-{effort}",
        f"JPEG XL (effort {effort})",
        lambda pixels, threads: ic.jpegxl_encode(pixels, lossless=True, effort=effort, numthreads=threads),
        lambda data, threads: ic.jpegxl_decode(data, numthreads=threads),
        threaded=True,
        slow=effort == 9,
    )
