"""Files to PyTorch tensors and back; with a CUDA device, the pixels are decoded on it and never leave it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

import llicti_core
from llicti_core import engines
from llicti_core.container import Header
from llicti_core.errors import DeviceError, FormatError
from llicti_core.file import Data, LlcFile, LlcFrame
from llicti_core.models import Model
from llicti_core.options import MAX_BYTES, MAX_PIXELS, DecodeOptions
from llicti_core.threads import thread_count
from llicti_core.view import View

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from llicti_core.engines.base import CodedTile, TileRect
    from llicti_core.engines.cuda import CudaEngine
    from llicti_core.engines.cuda.layout import Picture


def decode(
    data: Data,
    /,
    *,
    device: str = "cuda",
    threads: int | None = None,
    max_bytes: int | None = MAX_BYTES,
    max_pixels: int | None = MAX_PIXELS,
) -> Tensor:
    """The samples of a `.llc` file of one image: a contiguous tensor [channels, height, width] on `device`.

    device, threads, max_bytes, max_pixels: as for `llicti_core.decode`; on "auto" the tensor is where it was decoded.
    The type is that of the samples, uint8 for most. Raises LLCError as `llicti_core.decode` does.
    """
    return decode_batch([data], device=device, threads=threads, max_bytes=max_bytes, max_pixels=max_pixels)[0]


def decode_batch(
    data: Sequence[Data],
    /,
    *,
    device: str = "cuda",
    threads: int | None = None,
    max_bytes: int | None = MAX_BYTES,
    max_pixels: int | None = MAX_PIXELS,
) -> list[Tensor]:
    """What `decode` gives for each of `data`, whose sizes and modes may differ; on a GPU, all at once.

    Files of 8-bit grey or colour that a model has coded stay on the GPU. Of others, what is not coded by a model is
    decoded on the CPU. max_bytes, max_pixels: for each. Raises LLCError where one of them cannot be decoded.
    """
    options = DecodeOptions(max_bytes, max_pixels, threads, "cuda" if device == "auto" else device)

    def on_cpu() -> list[Tensor]:
        return [_decode_on_host(one, options._replace(device="cpu")) for one in data]

    def on_gpu(engine: CudaEngine) -> list[Tensor]:
        return _decode_batch(data, engine, options)

    return _on_device(device, on_gpu, on_cpu)


def encode(
    samples: Tensor,
    /,
    *,
    mode: str | None = None,
    model: str = "default",
    effort: int = 1,
    threads: int | None = None,
    device: str = "cuda",
) -> bytes:
    """The bytes of a `.llc` file of `samples` [channels, height, width] or [height, width], wherever they are.

    device: where the model runs; what remains, and fitting the model to the image, is done on the CPU. The bytes do
    not depend on it. Other arguments, and errors: as for `llicti_core.encode`.
    """
    array = samples.detach().cpu()
    array = array.movedim(0, -1) if array.ndim == 3 else array
    pixels = (array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array).contiguous().numpy()
    return llicti_core.encode(pixels, mode=mode, model=model, effort=effort, threads=threads, device=device)


def encode_batch(
    samples: Sequence[Tensor],
    /,
    *,
    mode: str | None = None,
    model: str = "default",
    effort: int = 1,
    threads: int | None = None,
    device: str = "cuda",
) -> list[bytes]:
    """What `encode` gives for each of `samples`, several at a time: as many as `threads`."""

    def work(one: Tensor) -> bytes:
        # A stream of its own lets the GPU work for several images at once.
        with torch.cuda.stream(torch.cuda.Stream()) if torch.cuda.is_available() else nullcontext():
            return encode(one, mode=mode, model=model, effort=effort, threads=1, device=device)

    if not samples:
        return []
    first = work(samples[0])  # compiles kernels that no image before has needed
    with ThreadPoolExecutor(thread_count(threads)) as pool:
        return [first, *pool.map(work, samples[1:])]


class _Resident(NamedTuple):
    """A file whose samples need not leave the device: its one learned group, ready to be decoded."""

    number: int
    header: Header
    channels: int
    picture: Picture
    tiles: list[CodedTile]
    model: Model


def _on_device(
    device: str, on_gpu: Callable[[CudaEngine], list[Tensor]], on_cpu: Callable[[], list[Tensor]]
) -> list[Tensor]:
    """The result of one of the two; on "auto", of the second where the first raises DeviceError."""
    if device == "cpu":
        return on_cpu()
    try:
        engine: Any = engines.on("cuda" if device == "auto" else device)
        return on_gpu(engine)
    except DeviceError:
        if device != "auto":
            raise
        return on_cpu()


def _decode_batch(data: Sequence[Data], engine: CudaEngine, options: DecodeOptions) -> list[Tensor]:
    decoded: dict[int, Tensor] = {}
    resident: defaultdict[tuple[bytes, int], list[_Resident]] = defaultdict(list)
    for number, one in enumerate(data):
        with LlcFile(one) as file:
            found = _read_resident(number, file[0], options)
            if found:
                resident[found.model.identity, found.channels].append(found)
            else:
                decoded[number] = _as_tensor(file[0].decode(options=options)).to(engine.device)
    for together in resident.values():
        decoded |= _decode_resident(together, engine)
    return [decoded[number] for number in range(len(data))]


def _read_resident(number: int, frame: LlcFrame, options: DecodeOptions) -> _Resident | None:
    """A file that is one image of one learned group, whose values are its samples; None for others."""
    from llicti_core.engines.cuda.layout import Picture

    header = frame.header
    plain = header.sample_type.name == "uint8" and not header.bits and not header.frames_after
    if not plain or len(header.groups) != 1 or not header.learned:
        return None
    decoder = frame.decoder(View.of(header.width, header.height), options)
    (group,) = decoder.learned().values()
    assert decoder.model
    places: list[TileRect] = []
    tiles: list[CodedTile] = []
    for some_places, some_tiles in group.batches(header.width * header.height):
        places += some_places
        tiles += some_tiles
    picture = Picture(header.height, header.width, places, group.adaptation)
    return _Resident(number, header, group.channels, picture, tiles, decoder.model)


def _decode_resident(files: Sequence[_Resident], engine: CudaEngine) -> dict[int, Tensor]:
    """The samples of files of one model and number of channels, by their numbers. Raises FormatError."""
    from llicti_core.engines.cuda import checksum
    from llicti_core.engines.cuda.launch import current, reported

    decoded = {}
    pictures, coded = [file.picture for file in files], [file.tiles for file in files]
    raw = engine.decode_pictures(files[0].channels, pictures, coded, files[0].model)
    with reported(engine.device), current(engine.device):
        for file, pixels in zip(files, raw, strict=True):
            whole = pixels.expand(-1, -1, file.header.channels).contiguous()
            if checksum.crc32(whole.flatten()) != file.header.checksum:
                msg = "decoded pixels do not match the checksum in the header"
                raise FormatError(msg)
            decoded[file.number] = whole.movedim(-1, 0).contiguous()
    return decoded


def _decode_on_host(data: Data, options: DecodeOptions) -> Tensor:
    """The samples in memory, decoded by way of it."""
    with LlcFile(data) as file:
        return _as_tensor(file[0].decode(options=options))


def _as_tensor(array: NDArray[Any]) -> Tensor:
    samples: Tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
    return samples.unsqueeze(0) if samples.ndim == 2 else samples.movedim(-1, 0).contiguous()
