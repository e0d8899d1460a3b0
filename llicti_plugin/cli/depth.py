"""What a file says of its own samples, read from its headers before Pillow loads what may be less than that.

Pillow has no mode for most samples of more than 8 bits, and converts them without a word: `examine` tells where.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from llicti_plugin.cli import pnm
from llicti_plugin.cli.batch import Failure
from llicti_plugin.cli.tiff_tags import SUB_DIRECTORIES, left_out

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile


class Finding(NamedTuple):
    """lost: what Pillow's pixels leave out, in words, if anything. notes: what else is worth telling."""

    lost: str = ""
    notes: tuple[str, ...] = ()


_WHOLE = Finding()


def examine(im: ImageFile, file: IO[bytes]) -> Finding:
    """Compare what Pillow would load for the frame that `im` shows with what the file holds.

    file: the same file, which can seek. Raises Failure where nothing can read such a file whole.
    """
    examiner = _EXAMINERS.get(im.format or "")
    if examiner:
        return examiner(im, file)
    if im.format in _WITHOUT_PIXELS:
        msg = f"{im.format} holds drawings, which have no pixels of their own"
        raise Failure(msg)
    if im.format in _HELD_WHOLE:
        return _beside(im)
    return Finding(notes=(f"whether its reader in Pillow, {im.format}, keeps all of it is not known",))


def samples_of(bits: int) -> str:
    """The words for samples of which Pillow keeps 8 bits."""
    return f"its samples have {bits} bits, of which Pillow keeps 8"


_PNG_STORED = {b"gAMA", b"iCCP", b"iTXt", b"tEXt", b"zTXt", b"tRNS", b"pHYs", b"eXIf"}
_PNG_OF_FRAMES = {b"acTL", b"fcTL", b"fdAT"}
_PNG_OF_SRGB = {b"sRGB", b"cHRM"}
"""Chunks that say together what is assumed where nothing is said."""


def _png(im: ImageFile, file: IO[bytes]) -> Finding:
    """PNG, 11.2.1: the bit depth and colour type in IHDR; 11.3: ancillary chunks, whose first letter is small."""
    file.seek(24)
    depth, color = file.read(2)
    chunks = list(_png_chunks(file))
    kinds = [chunk.kind for chunk in chunks if chunk.kind[0] & 32]
    stored = _PNG_STORED - {b"pHYs"} if "aspect" in im.info else _PNG_STORED
    left_out = {kind: None for kind in kinds if kind not in stored | _PNG_OF_FRAMES}
    if b"sRGB" in left_out:
        left_out = {kind: None for kind in left_out if kind not in _PNG_OF_SRGB}
    notes: tuple[str, ...] = (
        (f"not stored: chunks {', '.join(kind.decode('latin-1') for kind in left_out)}",) if left_out else ()
    )
    if chunks and chunks[-1].kind == b"IEND":
        notes += _after(chunks[-1].end, file)
    return Finding(samples_of(16) if depth == 16 and color != 0 else "", notes)


def _png_chunks(file: IO[bytes]) -> Iterator[_Box]:
    """The chunks of a PNG file, as far as it goes; a chunk ends with its checksum."""
    at = 8
    while True:
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return
        start, at = at + 8, at + 12 + int.from_bytes(head[:4], "big")
        yield _Box(head[4:], start, at)
        if head[4:] == b"IEND":
            return


def _after(end: int, file: IO[bytes]) -> tuple[str, ...]:
    """A note on what follows an image in its file, such as the film of a moving photograph, if anything does."""
    count = file.seek(0, io.SEEK_END) - end
    return (f"not stored: {count} bytes after its end",) if count > 0 else ()


_XMP_SEGMENT = b"http://ns.adobe.com/xap/1.0/\0"
_JPEG_STORED = (b"JFIF\0", b"JFXX\0", b"Exif\0", _XMP_SEGMENT, b"ICC_PROFILE\0", b"Adobe", b"MPF\0")
"""How the application segments begin that are stored, or say only how the file is made."""


def _jpeg(im: ImageFile, file: IO[bytes]) -> Finding:
    """The application segments of a JPEG file, and what follows it: that of which Pillow's `info` has nothing."""
    left_out = {
        f"{name} ({data[:40].partition(bytes(1))[0].decode('ascii', 'replace')})": None
        for name, data in getattr(im, "applist", ())
        if name.startswith("APP") and not data.startswith(_JPEG_STORED)
    }
    notes: tuple[str, ...] = (f"not stored: {', '.join(left_out)}",) if left_out else ()
    if im.format == "JPEG":  # after MPO's there are others
        file.seek(0)
        notes += _after(_end_of_jpeg(file.read()), file)
    return Finding(notes=notes)


_AFTER_A_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""A marker that is not within a scan, where 0 follows a byte of 255, and restart markers are."""


def _end_of_jpeg(data: bytes) -> int:
    """Where the image in a JPEG file ends (ITU-T T.81, B.1.1 and B.2.1), or the data where that is not found."""
    at = 2
    while data[at : at + 1] == b"\xff":
        kind = data[at + 1 : at + 2]
        if kind == b"\xd9":
            return at + 2
        if kind == b"\xff":  # fill bytes
            at += 1
            continue
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if kind == b"\xda":
            following = _AFTER_A_SCAN.search(data, at)
            at = following.start() if following else len(data)
    return len(data)


def _netpbm(im: ImageFile, file: IO[bytes]) -> Finding:
    file.seek(0)
    header = pnm.read_header(file.read(pnm.MAX_HEADER))
    if header is None:  # a PFM, or one of Pillow's own variants, of 8 bits
        scale = im.info.get("scale", 1)
        return Finding(notes=(f"its scale of {scale:g} is not stored",) if scale != 1 else ())
    if header.maximum in (1, 255):
        return _WHOLE
    return Finding(f"its samples go to {header.maximum}, which Pillow scales")


_TIFF_WHOLE = {(1, 12), (1, 16), (2, 16), (2, 32), (3, 32)}
"""Sample format and bits of what Pillow keeps, of one channel of more than 8 bits (TIFF 6.0, SampleFormat)."""

_SAMPLE_FORMATS = {1: "unsigned integers", 2: "signed integers", 3: "floats"}


def _tiff(im: ImageFile, file: IO[bytes]) -> Finding:
    finding = _tiff_samples(im, file)
    return finding._replace(notes=(*finding.notes, *left_out(im, file)))


def _tiff_samples(im: ImageFile, file: IO[bytes]) -> Finding:
    tags: Any = im.tag_v2  # type: ignore[attr-defined]
    file.seek(8)
    if 50706 in tags or file.read(2) == b"CR" or (tags.get(254, 0) & 1 and SUB_DIRECTORIES in tags and im.tell() == 0):
        msg = "a raw photograph of a camera, of which Pillow reads a preview"
        raise Failure(msg)
    stack = re.match(r"ImageJ=.*?^images=(\d+)", str(tags.get(270, "")), re.DOTALL | re.MULTILINE)
    if stack and int(stack[1]) > getattr(im, "n_frames", 1):
        msg = f"a stack of {stack[1]} images made by ImageJ, of which Pillow reads {getattr(im, 'n_frames', 1)}"
        raise Failure(msg)

    bits, form = max(_numbers(tags, 258)), _numbers(tags, 339)[0]
    channels, extra = tags.get(277, 1), _numbers(tags, 338, 0)
    if bits > 8 or form != 1:
        if channels == 1 and (form, bits) in _TIFF_WHOLE:
            notes = ["that its samples are MINISWHITE is not stored"] if tags.get(262) == 0 else []
            wider = {(1, 12): "uint16", (2, 16): "int32"}.get((form, bits))
            notes += [f"its samples of {bits} bits are stored as they are, {wider}"] if wider else []
            return Finding(notes=tuple(notes))
        kind = _SAMPLE_FORMATS.get(form, f"of format {form}")
        return Finding(f"its samples are {kind} of {bits} bits, for which Pillow has no mode of {channels} channels")
    if channels != len(im.getbands()):
        return Finding(f"it has {channels} channels, of which Pillow keeps {len(im.getbands())}")
    if im.mode == "RGBA" and extra[0] == 1:
        return Finding("its colours are premultiplied by alpha, which Pillow undoes with loss")
    if any(entry & 255 not in (0, entry >> 8) for entry in tags.get(320, ())):
        msg = "its palette has colours of 16 bits, of which Pillow keeps 8"
        raise Failure(msg)
    return _WHOLE


def _numbers(tags: Any, tag: int, default: int = 1) -> tuple[int, ...]:
    value = tags.get(tag, default)
    return value if isinstance(value, tuple) and value else (default if value == () else value,)


def _jpeg_2000(im: ImageFile, file: IO[bytes]) -> Finding:
    """JPEG 2000, A.5.1: precision and sign of every component in SIZ."""
    file.seek(0)
    start = 0 if file.read(2) == b"\xff\x4f" else next((box.start for box in _boxes(file) if box.kind == b"jp2c"), None)
    if start is None:
        msg = "has no codestream"
        raise Failure(msg)
    file.seek(start)
    siz = file.read(42)
    (components,) = struct.unpack(">H", siz[40:42])
    precisions = file.read(3 * components)[::3]
    bits, signed = max(1 + (value & 127) for value in precisions), any(value & 128 for value in precisions)
    notes = tuple(_color_spaces(file))
    if not signed and (bits == 8 or (bits == 16 and components == 1)) and len(set(precisions)) == 1:
        return Finding("", notes)
    if bits > 8 and components > 1:
        return Finding(samples_of(bits), notes)
    return Finding(f"its samples have {bits} bits{' and a sign' if signed else ''}, which Pillow scales", notes)


def _color_spaces(file: IO[bytes]) -> Iterator[str]:
    """What cannot be stored of the colour spaces that a JPEG 2000 or AVIF file states by number.

    JPEG 2000, I.5.3.3: 16 is sRGB, 17 grey, 18 YCC of sRGB. ITU-T H.273: primaries and transfer characteristics 1 are
    those of BT.709, 2 unspecified; 13 is the transfer of sRGB, 6 that of BT.601, which is that of BT.709.
    """
    for box in _boxes(file):
        if box.kind != b"colr":
            continue
        file.seek(box.start)
        data = file.read(11)
        if data[:1] == b"\1" and len(data) >= 7 and (number := int.from_bytes(data[3:7], "big")) not in (16, 17, 18):
            yield f"that its colours are of the enumerated colour space {number} is not stored"
        if data[:4] == b"nclx" and len(data) == 11:
            primaries, transfer = struct.unpack(">HH", data[4:8])
            if primaries not in (1, 2) or transfer not in (1, 2, 6, 13):
                yield f"that its colours have primaries {primaries} and transfer {transfer} of H.273 is not stored"


def _avif(im: ImageFile, file: IO[bytes]) -> Finding:
    """AV1 in ISOBMFF, 2.3.3: the flags high_bitdepth and twelve_bit in every av1C."""
    bits = 8
    for box in _boxes(file):
        if box.kind == b"av1C":
            file.seek(box.start + 2)
            flags = file.read(1)[0]
            bits = max(bits, 8 if not flags & 64 else 12 if flags & 32 else 10)
    return Finding(samples_of(bits) if bits > 8 else "", tuple(_color_spaces(file)))


def _sgi(im: ImageFile, file: IO[bytes]) -> Finding:
    file.seek(3)
    if file.read(1) == b"\2":
        raise Failure(samples_of(16))
    return _WHOLE


def _fits(im: ImageFile, file: IO[bytes]) -> Finding:
    """FITS 4.0, 4.4.1: BITPIX, and BZERO and BSCALE, that Pillow does not apply."""
    file.seek(0)
    header = file.read(2880 * 8).partition(b"END     ")[0]
    values = dict(re.findall(rb"(BITPIX|BZERO|BSCALE) *= *([-+.0-9EDed]+)", header))
    bits = int(values.get(b"BITPIX", b"0"))
    plain = float(values.get(b"BZERO", b"0")) == 0 and float(values.get(b"BSCALE", b"1")) == 1
    if bits in (8, 32, -32) and plain:
        return _beside(im)
    msg = f"its samples (BITPIX {bits}{'' if plain else ', scaled'}) are others than Pillow reads"
    raise Failure(msg)


def _dds(im: ImageFile, file: IO[bytes]) -> Finding:
    if im.tile and im.tile[0][0] == "bcn" and _first_argument(im) == 6:
        msg = "its samples are floats of 16 bits (BC6H), of which Pillow keeps 8"
        raise Failure(msg)
    return _beside(im)


def _im(im: ImageFile, file: IO[bytes]) -> Finding:
    """IFUNC's format has floats that are packed as integers of up to 32 bits."""
    packed = re.fullmatch(r"F;(\d+)", str(_first_argument(im)))
    if packed and int(packed[1]) > 24:
        raise Failure(samples_of(int(packed[1])))
    return _WHOLE


def _first_argument(im: ImageFile) -> object:
    """The first of the arguments of the decoder that is to load an image."""
    arguments = im.tile[0][3] if im.tile else None
    return arguments[0] if isinstance(arguments, tuple) and arguments else arguments


def _icons(im: ImageFile, file: IO[bytes]) -> Finding:
    count = len(im.info.get("sizes", ()))
    return Finding(notes=(f"only the largest of its {count} pictures is stored",) if count > 1 else ())


_BESIDE = {
    "BLP": "smaller copies",
    "CUR": "other sizes, and where it points",
    "DDS": "smaller copies, layers and faces",
    "FITS": "keywords in its header, and further images",
    "FTEX": "smaller copies",
    "GBR": "name and spacing",
    "IPTC": "records",
    "MCIDAS": "its header",
    "PCD": "other sizes",
    "PSD": "layers as such, masks, paths and other resources",
    "SPIDER": "its header",
}
"""What files of some formats can hold that Pillow passes over."""


def _beside(im: ImageFile) -> Finding:
    beside = _BESIDE.get(im.format or "")
    return Finding(notes=(f"not stored, where it has them: {beside}",) if beside else ())


_EXAMINERS: dict[str, Callable[[ImageFile, IO[bytes]], Finding]] = {
    "AVIF": _avif,
    "DDS": _dds,
    "FITS": _fits,
    "ICNS": _icons,
    "ICO": _icons,
    "IM": _im,
    "JPEG": _jpeg,
    "JPEG2000": _jpeg_2000,
    "MPO": _jpeg,
    "PNG": _png,
    "PPM": _netpbm,
    "SGI": _sgi,
    "TIFF": _tiff,
}

_HELD_WHOLE = frozenset(
    (
        *("BLP", "BMP", "CUR", "DCX", "DIB", "FLI", "FTEX", "GBR", "GIF", "IMT", "IPTC", "LLC", "MCIDAS"),
        *("MSP", "PCD", "PCX", "PIXAR", "PSD", "QOI", "SPIDER", "SUN", "TGA", "WEBP", "XBM", "XPM", "XVTHUMB"),
    )
)
"""Formats whose samples have 8 bits, or all that Pillow keeps: it refuses their deeper variants."""

_WITHOUT_PIXELS = frozenset(("EPS", "WMF"))


class _Box(NamedTuple):
    """A box of JPEG 2000 and ISO base media files: where what it holds begins, and where it ends."""

    kind: bytes
    start: int
    end: int


_NESTED = {b"jp2h": 0, b"meta": 4, b"iprp": 0, b"ipco": 0, b"moov": 0, b"trak": 0, b"mdia": 0, b"minf": 0, b"stbl": 0}
_NESTED |= {b"stsd": 8, b"av01": 78}
"""Boxes that hold boxes, after so many bytes (ISO/IEC 14496-12)."""


def _boxes(file: IO[bytes], start: int = 0, end: int | None = None) -> Iterator[_Box]:
    """Every box from `start` to `end`, those within others too, as far as they are well-formed."""
    end = file.seek(0, io.SEEK_END) if end is None else end
    while start + 8 <= end:
        file.seek(start)
        head = file.read(16)
        size, kind = int.from_bytes(head[:4], "big"), head[4:8]
        inside = 8
        if size == 1:
            size, inside = int.from_bytes(head[8:16], "big"), 16
        elif size == 0:
            size = end - start
        if size < inside or start + size > end:
            return
        yield _Box(kind, start + inside, start + size)
        if kind in _NESTED:
            yield from _boxes(file, start + inside + _NESTED[kind], start + size)
        start += size
