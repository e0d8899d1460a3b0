"""Frames: finds each in a file without reading what is in the others, and joins files (docs/format.md, 2.4)."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import IO, NamedTuple

from llicti_core.container import Header, Reader, pack_section, read_header, read_start, write_start
from llicti_core.errors import FormatError, TruncatedError
from llicti_core.metadata import SHARED_TAGS, TAGS
from llicti_core.spec import HEAD, MAX_HEADER_BYTES, MAX_METADATA_BYTES, PLTE, level_tag

_MAX_BEFORE_PAYLOAD = 13
"""Bytes of a section's tag and length, at most."""


class _Section(NamedTuple):
    """Where a section stands: the first byte of its tag, that of its payload, the first byte behind it."""

    tag: bytes
    start: int
    payload: int
    end: int


class Frames:
    """The frames of a file, which stays open and the caller's. Only what is asked for is read.

    Raises FormatError where what is read is damaged, TruncatedError where it is missing.
    """

    def __init__(self, file: IO[bytes]) -> None:
        """file: one that can seek, standing at its signature."""
        self._file, self._offset = file, file.tell()
        self._size = file.seek(0, io.SEEK_END) - self._offset
        self._block, self._block_start = b"", 0
        self._starts = [read_start(self._upto(0, MAX_HEADER_BYTES)).at]
        self.count = 1
        """How many frames the file says it has."""
        self.count += self._header(0).frames_after
        self._first = self._own_front(0)

    def head(self, index: int) -> bytes:
        """The beginning of a file that holds frame `index` alone: HEAD, all the metadata that it has, its palette.

        Raises IndexError where the file says that there is no such frame.
        """
        metadata, palette = self._front(index)
        return b"".join((write_start(), self._raw_head(index), *metadata.values(), palette))

    def single(self, index: int, scale: int = 1) -> bytes:
        """Frame `index` as a file of its own, cut short where the file is. Raises IndexError as `head` does.

        scale: of what is to be decoded of it; what that does not take is left out, where it stands at the end.
        """
        start = self._start(index) if index else 0
        enough = self._enough(index, scale)
        if enough is not None:
            data = self._upto(start, enough - start)
        elif index + 1 < self.count:
            data = self._exactly(start, self._end(self._starts[index]))
        else:
            self._file.seek(self._offset + start)
            data = self._file.read()
        return write_start() + data if index else data

    def _enough(self, index: int, scale: int) -> int | None:
        """Where the first section stands that frame `index` does not need at `scale`; None where it needs all."""
        finer = scale.bit_length() - 2
        if finer < 0 or not self._header(index).scalable:
            return None
        sections = self._sections(self._start(index))
        next(sections)  # HEAD
        try:
            cut = (section for section in sections if section.tag in (HEAD, level_tag(finer)))
            return next((section.start for section in cut), None)
        except TruncatedError:
            return None

    def apart(self, index: int) -> tuple[Header, dict[bytes, bytes], bytes]:
        """Frame `index`'s header, its sections of metadata as in `head`, and its other sections. Raises as `head`."""
        start = self._start(index)
        end = self._end(start)
        sections = [section for section in self._sections(start) if section.start < end]
        rest = [section for section in sections[1:] if section.tag not in TAGS]
        data = b"".join(self._exactly(section.start, section.end) for section in rest)
        return self._header(index), self._front(index)[0], data

    def _header(self, index: int) -> Header:
        return read_header(Reader(self._raw_head(index), f"frame {index}"))

    def _raw_head(self, index: int) -> bytes:
        """The HEAD section of frame `index`."""
        section = next(self._sections(self._start(index)), None)
        if section is None:
            msg = f"file ends before section {HEAD!r}"
            raise TruncatedError(msg)
        if section.end - section.start > MAX_HEADER_BYTES:
            msg = f"section {section.tag!r} at byte {section.start} is too long for a header"
            raise FormatError(msg)
        return self._exactly(section.start, section.end)

    def _front(self, index: int) -> tuple[dict[bytes, bytes], bytes]:
        """The sections of metadata of frame `index` by tag, those that the first frame adds too; its palette's."""
        if not index:
            return self._first
        metadata, palette = self._own_front(index)
        return {tag: raw for tag, raw in self._first[0].items() if tag in SHARED_TAGS} | metadata, palette

    def _own_front(self, index: int) -> tuple[dict[bytes, bytes], bytes]:
        """The sections of metadata that frame `index` has itself, by tag; its palette's."""
        sections = self._sections(self._start(index))
        next(sections)  # HEAD
        found: dict[bytes, bytes] = {}
        palette = b""
        left = MAX_METADATA_BYTES
        for tag, start, payload, end in sections:
            if not tag[:1].islower():
                if tag == PLTE and end - payload <= MAX_HEADER_BYTES:
                    palette = self._exactly(start, end)
                break
            if tag not in TAGS:
                continue
            if tag in found:
                msg = f"section {tag!r} stands twice"
                raise FormatError(msg)
            left -= end - payload - 4
            if left < 0:
                msg = f"section {tag!r} at byte {start} is too long: metadata has {MAX_METADATA_BYTES} bytes at most"
                raise FormatError(msg)
            found[tag] = self._exactly(start, end)
        return found, palette

    def _start(self, index: int) -> int:
        """Where the HEAD of frame `index` begins."""
        if not 0 <= index < self.count:
            msg = f"no frame {index} in a file of {self.count}"
            raise IndexError(msg)
        while len(self._starts) <= index:
            self._find_next()
        return self._starts[index]

    def _find_next(self) -> None:
        """Go to the HEAD behind the last one known."""
        index = len(self._starts)
        start = self._end(self._starts[-1])
        if start == self._size:
            msg = f"file ends before frame {index} of {self.count}"
            raise TruncatedError(msg)
        self._starts.append(start)
        after = self._header(index).frames_after
        if after != self.count - 1 - index:
            self._starts.pop()
            msg = f"frame {index} of {self.count} says that {after} follow it"
            raise FormatError(msg)

    def _end(self, start: int) -> int:
        """Where the frame whose HEAD begins at `start` ends: at the next HEAD, or with the file."""
        sections = self._sections(start)
        next(sections)  # HEAD
        try:
            return next((section.start for section in sections if section.tag == HEAD), self._size)
        except TruncatedError:
            return self._size

    def _sections(self, at: int) -> Iterator[_Section]:
        """The sections from byte `at` on, without reading what is in them; the last may run past the file's end."""
        while at < self._size:
            reader = Reader(self._upto(at, _MAX_BEFORE_PAYLOAD), f"section at byte {at}")
            try:
                tag, length = bytes(reader.take(4)), reader.varint()
            except TruncatedError as error:
                msg = f"file ends at byte {self._size}, inside the section at byte {at}"
                raise TruncatedError(msg) from error
            payload = at + reader.at
            yield _Section(tag, at, payload, payload + length + 4)
            at = payload + length + 4

    def _exactly(self, start: int, end: int) -> bytes:
        """Bytes `start` to `end` of the file, which has them."""
        data = self._upto(start, end - start)
        if len(data) < end - start:
            msg = f"file ends at byte {start + len(data)}, {end} were expected"
            raise TruncatedError(msg)
        return data

    def _upto(self, at: int, count: int) -> bytes:
        """The `count` bytes from byte `at` on, fewer at the end of the file. Short reads take a block at once."""
        skip = at - self._block_start
        if not 0 <= skip <= skip + min(count, self._size - at) <= len(self._block):
            self._file.seek(self._offset + at)
            if count > MAX_HEADER_BYTES:
                return self._file.read(min(count, self._size - at))
            self._block, self._block_start, skip = self._file.read(MAX_HEADER_BYTES), at, 0
        return self._block[skip : skip + count]


def join(files: Iterable[bytes]) -> bytes:
    """All the frames of `files`, in order, in one file. Raises ValueError where there is none, else as Frames does."""
    opened = [Frames(io.BytesIO(file)) for file in files]
    after = sum(frames.count for frames in opened)
    if not after:
        msg = "a file needs one frame at least"
        raise ValueError(msg)
    parts = [write_start()]
    shared: dict[bytes, bytes] = {}
    for frames in opened:
        for index in range(frames.count):
            after -= 1
            header, metadata, rest = frames.apart(index)
            parts.append(pack_section(HEAD, header._replace(frames_after=after).pack()))
            parts += [raw for tag, raw in metadata.items() if raw != shared.get(tag)]
            parts += [pack_section(tag, b"") for tag in shared if tag not in metadata]
            parts.append(rest)
            if frames is opened[0] and not index:
                shared = {tag: raw for tag, raw in metadata.items() if tag in SHARED_TAGS}
    return b"".join(parts)
