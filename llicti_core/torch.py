"""Files to PyTorch tensors and back; with a CUDA device, the pixels are decoded on it and never leave it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

import llicti_core
from llicti_core import engines
from llicti_core.container import Header
from llicti_core.encoder import Encoder, Learned, Steps
from llicti_core.errors import DeviceError, FormatError
from llicti_core.file import Data, LlcFile, LlcFrame
from llicti_core.models import Model
from llicti_core.options import MAX_BYTES, MAX_PIXELS, DecodeOptions
from llicti_core.threads import thread_count
from llicti_core.view import View

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from llicti_core.engines.base import CodedTile, TiledImage, TileRect
    from llicti_core.engines.cuda import CudaEngine
    from llicti_core.engines.cuda.layout import Picture

Result = TypeVar("Result")


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

    Files of 8-bit grey or colour that a model has coded stay on the GPU. Of others, a model's part is decoded there and
    the rest, such as plain bits of deep photographs, on the CPU, where they are put together. max_bytes, max_pixels:
    for each. Raises LLCError where one of them cannot be decoded.
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

    device: where the model runs, and is adapted to the image; what remains is done on the CPU. Other arguments, and
    errors: as for `llicti_core.encode`.
    """
    if device == "cpu":
        (pixels,) = _arrays([samples])
        return llicti_core.encode(pixels, mode=mode, model=model, effort=effort, threads=threads)
    return encode_batch([samples], mode=mode, model=model, effort=effort, threads=threads, device=device)[0]


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
    """What `encode` gives for each of `samples`; on a GPU all at once, and the model is adapted to those of the same
    size together. On the CPU as many at a time as `threads`; threads that are left over share in each.

    At efforts above 0 a file may differ a little from that of `encode`, since sums of floats depend on how many images
    are adapted to together.
    """

    def on_cpu() -> list[bytes]:
        total = thread_count(threads)
        each = max(1, total // max(1, len(samples)))

        def work(pixels: NDArray[Any]) -> bytes:
            return llicti_core.encode(pixels, mode=mode, model=model, effort=effort, threads=each)

        with ThreadPoolExecutor(total) as pool:
            return list(pool.map(work, _arrays(samples)))

    def on_gpu(engine: CudaEngine) -> list[bytes]:
        encoder = Encoder(model, effort, threads, engine)
        with ThreadPoolExecutor(encoder.threads) as pool:
            steps = [encoder.steps(pixels, mode=mode) for pixels in _arrays(samples)]
            return _complete(steps, lambda groups: _code_together(groups, engine), pool)

    return _on_device(device, on_gpu, on_cpu)


def _arrays(samples: Sequence[Tensor]) -> list[NDArray[Any]]:
    """Samples in memory, as `llicti_core.encode` takes them. The host waits for each device that has some."""
    arrays: list[NDArray[Any]] = []
    for tensor in samples:
        if tensor.device.type == "cuda":
            pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            arrays.append(pinned.copy_(tensor.detach(), non_blocking=True).numpy())
        else:
            arrays.append(tensor.detach().numpy())
    for device in {tensor.device for tensor in samples if tensor.device.type == "cuda"}:
        torch.cuda.current_stream(device).synchronize()
    return [_last_channel(array) for array in arrays]


def _last_channel(array: NDArray[Any]) -> NDArray[Any]:
    """[channels, height, width] to [height, width, channels], or to [height, width] if there is one channel."""
    if array.ndim != 3:
        return array
    return array[0] if len(array) == 1 else np.ascontiguousarray(np.moveaxis(array, 0, -1))


def _complete(
    works: Sequence[Steps[bytes]], code: Callable[[list[tuple[TiledImage, int]]], list[Learned]], pool: Executor
) -> list[bytes]:
    """The results of works, whose groups are coded together; between these, each goes on in a thread."""
    done: dict[int, bytes] = {}
    answers: dict[int, Learned | None] = dict.fromkeys(range(len(works)))

    def go_on(number: int) -> tuple[TiledImage, int] | None:
        try:
            answer = answers[number]
            return works[number].send(answer) if answer else next(works[number])
        except StopIteration as end:
            done[number] = end.value
            return None

    while answers:
        groups = dict(zip(answers, pool.map(go_on, list(answers)), strict=True))
        waiting = {number: group for number, group in groups.items() if group}
        coded = code(list(waiting.values())) if waiting else []
        answers = dict(zip(waiting, coded, strict=True))
    return [done[number] for number in range(len(works))]


def _code_together(wanted: list[tuple[TiledImage, int]], engine: CudaEngine) -> list[Learned]:
    """What learned groups of one model become, each adapted with its effort."""
    from llicti_core.engines.cuda import search

    alike: defaultdict[tuple[int, int, int], list[int]] = defaultdict(list)
    for number, (group, effort) in enumerate(wanted):
        alike[effort, group.channels, group.bits].append(number)
    learned: dict[int, Learned] = {}
    for (effort, _, _), numbers in alike.items():
        groups = [wanted[number][0] for number in numbers]
        adapted = search.fit(groups, effort, engine.device)
        groups = [group._replace(adaptation=payload) for group, payload in zip(groups, adapted, strict=True)]
        learned |= zip(numbers, zip(adapted, engine.encode_images(groups), strict=True), strict=True)
    return [learned[number] for number in range(len(wanted))]


class _Resident(NamedTuple):
    """A file whose samples need not leave the device: its one learned group, ready to be decoded."""

    number: int
    header: Header
    channels: int
    picture: Picture
    tiles: list[CodedTile]
    model: Model


def _on_device(
    device: str, on_gpu: Callable[[CudaEngine], list[Result]], on_cpu: Callable[[], list[Result]]
) -> list[Result]:
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
    """The host waits for the device once, for checksums of what was decoded there."""
    from llicti_core.engines.cuda.launch import current, put, reported

    resident: defaultdict[tuple[bytes, int], list[_Resident]] = defaultdict(list)
    on_host: dict[int, NDArray[Any]] = {}
    for number, one in enumerate(data):
        with LlcFile(one) as file:
            found = _read_resident(number, file[0], options)
            if found:
                resident[found.model.identity, found.channels].append(found)
            else:
                on_host[number] = file[0].decode(options=options)
    decoded = _decode_resident(list(resident.values()), engine)
    with reported(engine.device), current(engine.device):
        decoded |= {number: _channels_first(put(array, engine.device)) for number, array in on_host.items()}
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
    frame.palette  # noqa: B018  # is checked with the rest of the frame
    frame.sections.check_ancillary()
    picture = Picture(header.height, header.width, places, group.adaptation)
    return _Resident(number, header, group.channels, picture, tiles, decoder.model)


def _decode_resident(batches: Sequence[Sequence[_Resident]], engine: CudaEngine) -> dict[int, Tensor]:
    """The samples of files, by their numbers; batches are of one model and number of channels. Raises FormatError."""
    from llicti_core.engines import cuda
    from llicti_core.engines.cuda import checksum
    from llicti_core.engines.cuda.launch import current, fetch, reported

    decoded: dict[int, Tensor] = {}
    checked: list[Tensor] = []
    for files in batches:
        pictures, coded = [file.picture for file in files], [file.tiles for file in files]
        start = engine.start_decoding(files[0].channels, pictures, coded, files[0].model)
        checked.append(start.wrong)
        with reported(engine.device), current(engine.device):
            for file, pixels in zip(files, start.pixels, strict=True):
                whole = pixels.expand(-1, -1, file.header.channels).contiguous()
                checked.append(checksum.start(whole.flatten()))
                decoded[file.number] = _channels_first(whole)
    with reported(engine.device), current(engine.device):
        found = iter(fetch(checked))
    for files in batches:
        cuda.check(next(found))
        for file in files:
            if checksum.finish(next(found), decoded[file.number].numel()) != file.header.checksum:
                msg = "decoded pixels do not match the checksum in the header"
                raise FormatError(msg)
    return decoded


def _decode_on_host(data: Data, options: DecodeOptions) -> Tensor:
    """The samples in memory, decoded by way of it."""
    with LlcFile(data) as file:
        return _as_tensor(file[0].decode(options=options))


def _as_tensor(array: NDArray[Any]) -> Tensor:
    return _channels_first(torch.from_numpy(array if array.flags.writeable else array.copy()))


def _channels_first(samples: Tensor) -> Tensor:
    return samples.unsqueeze(0) if samples.ndim == 2 else samples.movedim(-1, 0).contiguous()
