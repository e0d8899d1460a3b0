"""Which files hold pixels that were coded with loss: stored without loss these would take several times as much."""

from __future__ import annotations

HEAD = 8192
"""Bytes of a file in which most formats say so, and of a `.llc` file in which its header ends."""

SUFFIXES = frozenset((".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".heic", ".heif", ".avif"))
"""How files of such formats are called, where no other format's are called so."""

_HEIF_BRANDS = {b"avif": "AVIF", b"avis": "AVIF"}
_HEIF_BRANDS |= dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC")


def lossy_format(data: bytes) -> str | None:
    """The name of the lossy format in which a file is that begins so; None where it is lossless, or that is not known.

    data: the first HEAD bytes or more. Only all of a file is enough for WebP and JPEG XL, where the same format can be
    either. AVIF and HEIC can be lossless too, which is rare and not easily told; they count as lossy.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data[4:8] == b"ftyp":
        return _HEIF_BRANDS.get(data[8:12])
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "lossy WebP" if _has_vp8(data, 12, len(data)) else None
    if data[4:12] == b"JXL \r\n\x87\n" and _has_jbrd(data):
        return "JPEG within JPEG XL"
    return None


def _has_vp8(data: bytes, start: int, end: int) -> bool:
    """Whether a chunk of a WebP file from `start` to `end` is one of lossy coding (RFC 9649, 2.5 and 2.7.1)."""
    while start + 8 <= end:
        kind, size = data[start : start + 4], int.from_bytes(data[start + 4 : start + 8], "little")
        inside = start + 8
        if kind == b"VP8 " or (kind == b"ANMF" and _has_vp8(data, inside + 16, min(inside + size, end))):
            return True
        start = inside + size + size % 2
    return False


def _has_jbrd(data: bytes) -> bool:
    """Whether a box of a JPEG XL file says how to make the JPEG file again that it was made of (ISO/IEC 18181-2)."""
    start = 0
    while start + 16 <= len(data):
        size, kind = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8]
        if kind == b"jbrd":
            return True
        if size == 1:
            size = int.from_bytes(data[start + 8 : start + 16], "big")
        if size < 8:
            return False
        start += size
    return False
