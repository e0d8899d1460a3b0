"""Damaged, truncated and lying files: always an LLCError, never other pixels."""

from __future__ import annotations

import io
import struct
import zlib

import format_decoder
import golden
import numpy as np
import pytest
from coding import header_of
from images import photograph, smooth

import llicti_core
from llicti_core import FormatError, LLCError, TruncatedError, UnknownModelError, UnsupportedError, spec
from llicti_core.container import (
    Coding,
    Header,
    Reader,
    pack_section,
    pack_varint,
    write_frame,
    write_start,
)
from llicti_core.samples import SAMPLE_TYPES
from llicti_core.spec import CONSTANT, COPIED, FALLBACK, LEARNED


@pytest.fixture(scope="module")
def small() -> bytes:
    with golden.learned():
        return llicti_core.encode(photograph(21, 34))


def parts(data: bytes) -> tuple[Header, list[tuple[bytes, bytes]]]:
    return header_of(data), golden.sections(data)[1:]


def write_file(header: Header, sections: list[tuple[bytes, bytes]]) -> bytes:
    return write_start() + write_frame(header, sections)


def test_the_pieces_make_the_file(small: bytes) -> None:
    header, sections = parts(small)
    assert [tag for tag, _ in sections] == [b"LVL3", b"LVL2", b"LVL1", b"LVL0"]
    assert write_file(header, sections) == small


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**32, 2**63 - 1])
def test_numbers_of_any_length(value: int) -> None:
    assert Reader(pack_varint(value), "test").varint() == value


def test_a_number_without_end_is_refused() -> None:
    with pytest.raises(FormatError, match="63 bits"):
        Reader(b"\xff" * 20, "test").varint()


def test_a_number_has_one_form() -> None:
    with pytest.raises(FormatError, match="non-canonical"):
        Reader(b"\x85\x00", "test").varint()


def test_sections_that_may_be_skipped_are_skipped(small: bytes) -> None:
    header, sections = parts(small)
    for place in range(len(sections) + 1):
        extended = [*sections[:place], (b"xtra", b"of some later version"), *sections[place:]]
        assert (llicti_core.decode(write_file(header, extended)) == llicti_core.decode(small)).all()


def test_every_truncation_is_told(small: bytes) -> None:
    for length in range(len(small)):
        with pytest.raises(TruncatedError):
            llicti_core.decode(small[:length])


def test_every_flipped_bit_is_told(small: bytes) -> None:
    for position in range(len(small)):
        damaged = bytearray(small)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(LLCError):
            llicti_core.decode(damaged)


@pytest.mark.parametrize(
    "more", [b"\0", b"more bytes", pack_section(b"MORE", b""), pack_section(b"more", b"")[:-1], bytes(5000)]
)
def test_trailing_bytes_are_ignored_but_told(small: bytes, more: bytes) -> None:
    pixels = llicti_core.decode(small)
    for file in (small + more, io.BytesIO(small + more)):
        assert (llicti_core.decode(file) == pixels).all()
    llicti_core.verify(small + more)
    with pytest.raises(
        FormatError, match=f"trailing data after the last frame: {len(more)} bytes from byte {len(small)}"
    ):
        llicti_core.verify(small + more, strict=True)


def test_ancillary_sections_may_follow_the_last_frame(small: bytes) -> None:
    llicti_core.verify(small + pack_section(b"more", b"x") + pack_section(b"aaaa", b""), strict=True)


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n" + bytes(50), b"\x89LLC\n" + bytes(50), bytes(100)])
def test_other_files_are_refused(data: bytes) -> None:
    for read in (llicti_core.decode, llicti_core.inspect, llicti_core.verify):
        with pytest.raises(FormatError):
            read(data)  # type: ignore[operator]


def test_newer_versions_are_named(small: bytes) -> None:
    newer = bytearray(small)
    newer[8] = 2
    with pytest.raises(UnsupportedError, match="version 2"):
        llicti_core.decode(newer)


def test_sections_of_newer_versions_are_named(small: bytes) -> None:
    header, sections = parts(small)
    data = write_file(header, [(b"MORE", b"of some later version"), *sections])
    with pytest.raises(UnsupportedError, match="b'MORE' is not supported by this version"):
        llicti_core.decode(data)
    between = write_file(header._replace(frames_after=1), [*sections, (b"MORE", b"")]) + small[9:]
    with pytest.raises(UnsupportedError, match="b'MORE' is not supported by this version"):
        llicti_core.verify(between)
    with pytest.raises(FormatError, match="damaged"):
        llicti_core.decode(data.replace(b"MORE", b"MARE"))
    with pytest.raises(FormatError, match="where b'LVL3' was expected"):
        llicti_core.decode(write_file(header, [(b"GENR", b""), *sections]))


@pytest.mark.parametrize("coding", [7, 15, 16, 17, 20, 21, 22, 32, 64, 66, 132, 133, 135, 144, 160, 255])
def test_codings_of_newer_versions_are_named(small: bytes, coding: int) -> None:
    header, _ = parts(small)
    payload = header.pack()
    at = payload.rindex(bytes((LEARNED, header.tile_log2, len(header.model))))
    data = write_start() + pack_section(b"HEAD", payload[:at] + bytes((coding,)) + payload[at + 1 :])
    with pytest.raises(UnsupportedError, match=f"coding {coding}, which is not supported by this version"):
        llicti_core.decode(data + small[len(data) :])


def test_a_header_has_a_greatest_length() -> None:
    def file(zeros: int) -> bytes:
        """Three samples of value 7, coded by deflate in HEAD, after blocks of deflate that hold nothing."""
        samples = bytes((7, 7, 7))
        head = Header(3, 1, "L", SAMPLE_TYPES[0], 1, 0, 0, zlib.crc32(samples), (Coding(FALLBACK),)).pack()
        stored = b"\0\0\0\xff\xff" * zeros + b"\1\3\0\xfc\xff" + samples
        return write_start() + pack_section(b"HEAD", head + b"\0" + stored)

    good, bad = file(1631), file(1632)
    assert len(good) <= llicti_core.MAX_HEADER_BYTES < len(bad) < len(good) + 6
    assert llicti_core.decode(good).tolist() == [[7, 7, 7]]
    with pytest.raises(FormatError, match="at most 8183 are allowed"):
        llicti_core.decode(bad)
    with pytest.raises(format_decoder.Refused, match="HEAD"):
        format_decoder.decode(bad, None)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"width": 35}, FormatError),
        ({"height": 0}, FormatError),
        ({"width": 2**32 - 1}, FormatError),
        ({"width": 2**31 - 1, "height": 2**31 - 1}, UnsupportedError),
        ({"width": 65536, "height": 65536}, UnsupportedError),
        ({"width": 32768, "height": 32768}, UnsupportedError),
        ({"width": 13000, "height": 13000}, TruncatedError),
        ({"mode": "L"}, FormatError),
        ({"mode": "CMYK"}, LLCError),
        ({"mode": "XYZ"}, UnsupportedError),
        ({"mode": "P"}, FormatError),
        ({"sample_type": SAMPLE_TYPES[1], "mode": ""}, LLCError),
        ({"sample_type": SAMPLE_TYPES[4], "mode": ""}, FormatError),
        ({"channels": 0, "mode": ""}, FormatError),
        ({"channels": 1, "mode": ""}, FormatError),
        ({"channels": 2**40, "mode": ""}, FormatError),
        ({"bits": 8}, FormatError),
        ({"bits": 9}, FormatError),
        ({"frames_after": 1}, TruncatedError),
        ({"codings": (Coding(LEARNED, equal=True),)}, FormatError),
        ({"codings": (Coding(CONSTANT, values=b"abc"),)}, FormatError),
        ({"codings": (Coding(FALLBACK),)}, FormatError),
        ({"codings": (Coding(COPIED),)}, FormatError),
        ({"codings": (Coding(9),)}, UnsupportedError),
        ({"codings": ()}, LLCError),
        ({"codings": (Coding(LEARNED),) * 2}, FormatError),
        ({"tile_log2": 3}, FormatError),
        ({"tile_log2": 60}, FormatError),
        ({"model": "no-such-model"}, UnknownModelError),
        ({"model": "../../etc/passwd"}, FormatError),
        ({"identity": bytes(8)}, UnknownModelError),
        ({"checksum": 1}, FormatError),
    ],
    ids=str,
)
def test_lying_headers_are_refused(small: bytes, change: dict[str, object], error: type[LLCError]) -> None:
    header, sections = parts(small)
    with pytest.raises(error):
        llicti_core.verify(write_file(header._replace(**change), sections))  # type: ignore[arg-type]


def test_header_of_any_bytes_is_refused(small: bytes) -> None:
    rng = np.random.default_rng(0)
    payload = parts(small)[0].pack()
    for length in range(len(payload)):
        for tail in (b"", bytes(rng.integers(0, 256, 5, np.uint8))):
            head = spec.SIGNATURE + bytes((spec.VERSION,)) + pack_section(b"HEAD", payload[:length] + tail)
            with pytest.raises(LLCError):
                llicti_core.decode(head + small[len(head) :])


@pytest.mark.parametrize("index", range(4))
def test_sections_must_be_there_and_in_order(small: bytes, index: int) -> None:
    header, sections = parts(small)
    with pytest.raises(LLCError):
        llicti_core.decode(write_file(header, sections[:index] + sections[index + 1 :]))
    swapped = sections[:]
    swapped[index], swapped[index - 1] = swapped[index - 1], swapped[index]
    with pytest.raises(FormatError):
        llicti_core.decode(write_file(header, swapped))


def test_valid_checksums_do_not_save_wrong_content(small: bytes) -> None:
    header, sections = parts(small)
    rng = np.random.default_rng(1)
    for index, (tag, payload) in enumerate(sections):
        for _ in range(40):
            changed = bytearray(payload)
            changed[rng.integers(len(changed))] ^= 1 << int(rng.integers(8))
            lying = [*sections[:index], (tag, bytes(changed)), *sections[index + 1 :]]
            with pytest.raises(LLCError):
                llicti_core.decode(write_file(header, lying))


@pytest.mark.parametrize("ranges", [(5, 4), (-129, 0), (0, 128), (-32768, 32767)])
def test_impossible_ranges_are_refused(ranges: tuple[int, int]) -> None:
    with golden.learned():
        header, sections = parts(llicti_core.encode(smooth(8, 8, 1)))
    coarse = struct.pack("<hh", *ranges) + sections[0][1][4:]
    with pytest.raises(FormatError, match="bounds"):
        llicti_core.decode(write_file(header, [(b"LVL3", coarse), *sections[1:]]))


def test_empty_segments_end_at_once() -> None:
    """A file of 600 bytes that claims a megapixel of anything but one colour runs out of words, and says so."""
    with golden.learned():
        header, sections = parts(llicti_core.encode(np.zeros((512, 512), np.uint8)))
    header = header._replace(checksum=0)
    coarse = struct.pack("<hh", -128, 127) + sections[0][1][4:]
    states = struct.pack("<I", 65536 + 12345) * 32
    lowpass, streams = 4 + 16, len(sections[1][1])
    lying = [(b"LVL3", coarse[:lowpass] + (pack_varint(128) * streams) + states * streams), *sections[1:]]
    with pytest.raises(FormatError, match="stream"):
        llicti_core.decode(write_file(header, lying))


def test_verify_accepts_what_encode_wrote(small: bytes) -> None:
    llicti_core.verify(small)
