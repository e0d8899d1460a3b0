"""A `.llc` file and its frames: headers are read once, and of the rest what is asked for (docs/format.md, 2)."""

from __future__ import annotations

import builtins
import os
from _thread import RLock
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any

from llicti_core.container import (
    Section,
    Sections,
    find_head,
    pack_head,
    pack_section,
    read_header,
    read_section,
    read_start,
    write_start,
)
from llicti_core.decoder import FrameDecoder
from llicti_core.errors import FormatError, TruncatedError
from llicti_core.metadata import SHARED_KINDS, SHARED_TAGS, TAGS, Metadata, read_kinds
from llicti_core.options import MAX_BYTES, MAX_PIXELS, DecodeOptions
from llicti_core.payloads import Palette, Payload, unpack_palette
from llicti_core.records import NamedTuple
from llicti_core.samples import PALETTE_MODES
from llicti_core.source import Source, exactly, source_of
from llicti_core.spec import MAX_METADATA_BYTES, PLTE
from llicti_core.view import Region, View

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray

Data = bytes | bytearray | memoryview | str | os.PathLike[str] | IO[bytes]
"""A file: its bytes, its path, or one open for reading bytes that can seek, positioned where the `.llc` file begins."""

DEFAULTS = DecodeOptions()

_LEAST_FRAME = 19
"""Bytes of the smallest frame: a HEAD section of one constant group."""


class ImageInfo(NamedTuple):
    """What the header of an image says.

    width, height: pixels. mode: Pillow's name, such as "L" or "RGB", or "" for an array that none fits.
    dtype: name of NumPy's type of the samples. channels: samples of a pixel. n_frames: images in the file, as its
    header says. tile_size: side of a tile in pixels. model: name of the model. model_identity: the first 8 bytes of
    its hash, in hex. These three are None where no part of the image is coded by a model. flat: whether the array of an
    image without a mode has no axis for its one channel.
    """

    width: int
    height: int
    mode: str
    dtype: str
    channels: int
    n_frames: int
    tile_size: int | None
    model: str | None
    model_identity: str | None
    flat: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the image's array: (height, width), or (height, width, channels)."""
        if self.channels == 1 and (self.mode or self.flat):
            return self.height, self.width
        return self.height, self.width, self.channels


class LlcFrame:
    """One image of a file. Nothing but its header has been read before it is asked for.

    index: its number in the file. start: the byte that it begins at. header: what its HEAD section says. sections:
    where the others are.
    """

    def __init__(self, source: Source, at: int, index: int, file: LlcFile | None) -> None:
        """at: where the frame begins. file: that of a frame after the first. Raises LLCError."""
        self.index = index
        self._source, self._file = source, file
        self.header, in_head, after = read_header(source, at)
        self.start = at
        layout = [tag for tag, _ in self.header.layout]
        self.sections = Sections(source, after, layout, in_head, last=not self.header.frames_after)

    @cached_property
    def info(self) -> ImageInfo:
        """What the header says."""
        header = self.header
        learned = bool(header.learned)
        return ImageInfo(
            header.width,
            header.height,
            header.mode,
            header.sample_type.name,
            header.channels,
            1 + self.index + header.frames_after,
            1 << header.tile_log2 if learned else None,
            header.model if learned else None,
            header.identity.hex() if learned else None,
            header.flat,
        )

    @cached_property
    def metadata(self) -> Metadata:
        """The metadata of the image, that which it shares with the first one included. Raises LLCError."""
        if self._file is None:
            return Metadata(**self._own_metadata)
        first = self._file[0]._own_metadata
        return Metadata(**{kind: first[kind] for kind in first if kind in SHARED_KINDS} | self._own_metadata)

    @cached_property
    def palette(self) -> Palette | None:
        """The palette of an image of mode P or PA, else None. Raises LLCError."""
        if self.header.mode not in PALETTE_MODES:
            return None
        return unpack_palette(Payload(self._source, self.sections.nth(self.sections.layout.index(PLTE))).reader())

    def decode(
        self, *, scale: int = 1, region: Region | None = None, options: DecodeOptions = DEFAULTS
    ) -> NDArray[Any]:
        """The pixels, or a view of them; arguments, array and errors are those of `llicti_core.decode`."""
        import numpy as np

        view = View.of(self.header.width, self.header.height, scale, region)
        dtype = np.dtype(self.info.dtype)
        samples = np.frombuffer(self._decode(view, options), dtype.newbyteorder("<")).astype(dtype, copy=False)
        return samples.reshape(view.rows, view.columns, *self.info.shape[2:])

    def decode_bytes(
        self, *, scale: int = 1, region: Region | None = None, options: DecodeOptions = DEFAULTS
    ) -> bytearray:
        """What `decode` gives, without NumPy, whose import takes longer than decoding a small image: the samples row by
        row, channels interleaved, little endian, bools as bytes."""
        return self._decode(View.of(self.header.width, self.header.height, scale, region), options)

    def best_scale(self) -> int:
        """The least scale at which a file that ends early can be decoded; 1 where the frame is complete.

        Of an image that no model has coded, or of whose lower planes a fallback coder has any, only all of the frame is
        enough. Raises FormatError, and TruncatedError where there is not enough for any.
        """
        header = self.header
        missing = len(self.sections.layout) - self.sections.complete()
        if not missing:
            return 1
        level = -(-missing // header.by_level) if header.scalable else missing
        if not header.scalable or level >= len(header.section_levels):
            msg = f"file ends at byte {self._source.size}, before the smallest version of its image does"
            raise TruncatedError(msg)
        return 1 << level

    def decoder(self, view: View, options: DecodeOptions) -> FrameDecoder:
        """A decoder of a view of this frame. Raises LLCError."""
        return FrameDecoder(self.header, self.sections, view, options)

    def packed_head(self, frames_after: int) -> bytes:
        """The HEAD section, with what else is in it, as it is where so many frames follow."""
        in_head = [read_section(self._source, section) for section in self.sections.in_head]
        return pack_head(self.header._replace(frames_after=frames_after), in_head)

    def raw_metadata(self) -> dict[bytes, bytes | memoryview]:
        """The sections of the metadata that the frame has itself, by tag, as they are in the file."""
        self._own_metadata  # noqa: B018  # raises where they are damaged
        return {section.tag: self._raw(section) for section in self.sections.front() if section.tag in TAGS}

    def raw_rest(self) -> list[bytes | memoryview]:
        """All other sections of the frame after its HEAD, as they are in the file. Raises FormatError."""
        if self.header.frames_after:
            self.sections.next_frame()
        else:
            self.sections.pass_trailing()
        return [self._raw(section) for section in self.sections.all() if section.tag not in TAGS]

    def _raw(self, section: Section) -> bytes | memoryview:
        return exactly(self._source, section.start, section.end)

    def _decode(self, view: View, options: DecodeOptions) -> bytearray:
        decoder = self.decoder(view, options)
        self.palette  # noqa: B018  # is checked with the rest of the frame
        samples = decoder.decode()
        if view.is_whole(self.header.width, self.header.height) and self.header.frames_after:
            self.sections.next_frame()
            self.sections.check_ancillary()
        return samples

    @cached_property
    def _own_metadata(self) -> dict[str, Any]:
        """The kinds of metadata that the frame has itself, None where it says that it has none."""
        kinds = read_kinds(self._metadata_payloads())
        if all(section.tag in TAGS for section in self.sections.front()):
            self.sections.front_is_checked()
        return kinds

    def _metadata_payloads(self) -> Iterator[tuple[bytes, memoryview]]:
        """The sections of metadata that the frame has itself, read one by one. Raises FormatError."""
        left = MAX_METADATA_BYTES
        for section in self.sections.front():
            if section.tag in TAGS:
                left -= section.size
                if left < 0:
                    limit = f"metadata has {MAX_METADATA_BYTES} bytes at most"
                    msg = f"section {section.tag!r} at byte {section.start} is too long: {limit}"
                    raise FormatError(msg)
                yield section.tag, read_section(self._source, section)


class LlcFile:
    """A `.llc` file that is open: `file[0]` is its first image. It can be used in a `with` statement.

    Several threads may use one at the same time; they read one that is on disk by turns.
    """

    def __init__(self, data: Data) -> None:
        """data: see Data. A path is opened, and closed by `close`. Raises OSError or LLCError."""
        self._opened: IO[bytes] | None = None
        if isinstance(data, (str, os.PathLike)):
            data = self._opened = builtins.open(data, "rb")  # noqa: SIM115  # `close` closes it
        try:
            self._source = source_of(data)
            self._first = LlcFrame(self._source, read_start(self._source), 0, None)
        except BaseException:
            self.close()
            raise
        self._lock = RLock()  # of the two that follow
        self._last = self._first
        self._starts = [self._first.start]
        self._stated = self._first.info.n_frames

    @property
    def count(self) -> int:
        """How many frames there are: as many as the header says, but no more than one beyond what the file can hold."""
        return min(self._stated, 2 + self._source.size // _LEAST_FRAME)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> LlcFrame:
        """The frame of that number, from 0 on.

        Raises IndexError where the file says that there is none, LLCError where it is damaged or missing.
        """
        if not 0 <= index < self._stated:
            msg = f"no frame {index} in a file of {self._stated}"
            raise IndexError(msg)
        if not index:
            return self._first
        with self._lock:
            while len(self._starts) <= index:
                self._find_next()
            if self._last.index != index:
                self._last = LlcFrame(self._source, self._starts[index], index, self)
            return self._last

    def __iter__(self) -> Iterator[LlcFrame]:
        return (self[index] for index in range(self._stated))

    def __enter__(self) -> LlcFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, if it was given as a path."""
        if self._opened is not None:
            self._opened.close()

    def verify(self, *, strict: bool = False, options: DecodeOptions = DEFAULTS) -> None:
        """Decode every image, read its metadata, compare all checksums. Raises LLCError where anything is wrong.

        strict: whether bytes after the last frame are wrong, which are ignored otherwise.
        """
        for frame in self:
            frame.metadata  # noqa: B018  # read to be checked
            frame.decode_bytes(options=options)
        if strict:
            end = frame.sections.pass_trailing()
            if end < self._source.size:
                msg = f"file has trailing data after the last frame: {self._source.size - end} bytes from byte {end} on"
                raise FormatError(msg)

    def _find_next(self) -> None:
        """Go to the frame after the last one known."""
        index = len(self._starts)
        start = find_head(self._source, self[index - 1].sections.start)
        if start is None:
            msg = f"file ends before frame {index} of {self._stated}"
            raise TruncatedError(msg)
        frame = LlcFrame(self._source, start, index, self)
        if frame.info.n_frames != self._stated:
            msg = f"frame {index} of {self._stated} says that {frame.header.frames_after} follow it"
            raise FormatError(msg)
        self._starts.append(start)
        self._last = frame


def open(data: Data, /) -> LlcFile:  # noqa: A001  # as Image.open
    """A `.llc` file, of which the first header has been read. Raises OSError or LLCError."""
    return LlcFile(data)


def decode(
    data: Data,
    /,
    *,
    frame: int = 0,
    scale: int = 1,
    region: Region | None = None,
    threads: int | None = None,
    device: str = "cpu",
    max_bytes: int | None = MAX_BYTES,
    max_pixels: int | None = MAX_PIXELS,
) -> NDArray[Any]:
    """The pixels of an image in a `.llc` file, or a view of them, checked against the checksums in it.

    data: see Data. Of a file on disk no more is read than is needed. At a scale above 1 its beginning can be enough
        (see LlcFrame.best_scale).
    frame: which image, in a file of several. What follows it is not looked at, and may be missing.
    scale: one of SCALES, for every scale-th pixel of each row and column: `pixels[::scale, ::scale]`.
    region: (x, y, width, height), for the pixels in it alone. With a scale: every scale-th pixel of each row and column
        of the region, whose x and y must be multiples of the scale.
    threads, device, max_bytes, max_pixels: see DecodeOptions.

    What a model has coded takes work and memory in proportion to the scaled image and to the tiles that the region
    touches. All pixels together are compared with their checksum. Those of a view are not: only the checksums of
    sections that were read for it; and of a file on disk, where a small region takes little of its sections, what is
    left over when its tiles have been decoded. Plain bits of deep samples leave nothing over: of the sections that a
    region takes them from, all is read and compared once.

    Returns an array of the type that was encoded, in the native order of bytes, of the shape that was encoded or of
    the view. Raises ValueError where the image has no such view, IndexError where the file says that there is no such
    frame, OSError where the file cannot be read, and LLCError: FormatError where the data is not a valid file,
    TruncatedError where it ends early, UnknownModelError where its model is not installed, UnsupportedError where it
    needs a newer version or exceeds the limits, DeviceError where the GPU cannot be used or fails.
    """
    options = DecodeOptions(max_bytes, max_pixels, threads, device)
    with LlcFile(data) as file:
        return file[frame].decode(scale=scale, region=region, options=options)


def inspect(data: Data, /, *, frame: int = 0) -> ImageInfo:
    """What the header of an image says. For the first the first MAX_HEADER_BYTES bytes of a file are enough.

    Raises OSError, LLCError, and IndexError where the file says that there is no such frame.
    """
    with LlcFile(data) as file:
        return file[frame].info


def read_metadata(data: Data, /, *, frame: int = 0) -> Metadata:
    """The metadata of an image. For the first, a prefix that holds them is enough. Raises as `inspect` does."""
    with LlcFile(data) as file:
        return file[frame].metadata


def read_palette(data: Data, /, *, frame: int = 0) -> Palette | None:
    """The palette of an image of mode P or PA, else None. For the first, a prefix that holds it is enough.

    Raises as `inspect` does.
    """
    with LlcFile(data) as file:
        return file[frame].palette


def verify(data: Data, /, *, strict: bool = False) -> None:
    """Decode every image of a file, read its metadata, compare all checksums.

    strict: whether trailing data after the last frame is an error too; else it is ignored. Raises OSError, and LLCError
    where anything is wrong.
    """
    with LlcFile(data) as file:
        file.verify(strict=strict)


def join(files: Iterable[Data]) -> bytes:
    """All the frames of `files`, in order, in one file. Of paths no two are open at the same time.

    Raises ValueError where there is none, OSError or LLCError.
    """
    # What is no path stays open, so that it can be read again from its beginning.
    sources = [data if isinstance(data, (str, os.PathLike)) else LlcFile(data) for data in files]
    after = sum(map(_frame_count, sources))
    if not after:
        msg = "a file needs one frame at least"
        raise ValueError(msg)
    parts: list[bytes | memoryview] = [write_start()]
    shared: dict[bytes, bytes | memoryview] = {}
    for number, source in enumerate(sources):
        with _opened(source) as file:
            for frame in file:
                after -= 1
                metadata, rest = _apart(frame, file[0])
                parts.append(frame.packed_head(after))
                parts += [raw for tag, raw in metadata.items() if raw != shared.get(tag)]
                parts += [pack_section(tag, b"") for tag in shared if tag not in metadata]
                parts += rest
                if not number and not frame.index:
                    shared = {tag: raw for tag, raw in metadata.items() if tag in SHARED_TAGS}
    return b"".join(parts)


def _opened(source: LlcFile | str | os.PathLike[str]) -> LlcFile:
    return source if isinstance(source, LlcFile) else LlcFile(source)


def _frame_count(source: LlcFile | str | os.PathLike[str]) -> int:
    with _opened(source) as file:
        return file[0].info.n_frames


def _apart(frame: LlcFrame, first: LlcFrame) -> tuple[dict[bytes, bytes | memoryview], list[bytes | memoryview]]:
    """The sections of a frame's metadata by tag, with those that it shares with the first one; its other sections."""
    found = frame.raw_metadata()
    if frame.index:
        found = {tag: raw for tag, raw in first.raw_metadata().items() if tag in SHARED_TAGS} | found
    return found, frame.raw_rest()
