"""Every constant and table of the format, clause by clause (docs/format.md); modes and sample types are in samples.py.

Imports next to nothing: opening a small file reads this module first. C++ has a header made of it when it is
built; Triton repeats what its compiler has to know, and a test compares.
"""

from __future__ import annotations

from typing import NamedTuple

# 2.1 File, 2.2 Section.

SIGNATURE = b"\x89LLC\r\n\x1a\n"
VERSION = 1

HEAD = b"HEAD"
PLTE = b"PLTE"
"""The palette."""
LEVL = b"LEVL"
"""The value table."""
GENR = b"GENR"
"""A channel group coded by a fallback coder."""
CORR = b"CORR"
"""The adaptation of the model to the image."""
COAR = b"COAR"
"""The lowpass of every tile."""


def level_tag(level: int) -> bytes:
    """Tag of the sections of a level."""
    return b"SCL%d" % level


# 2.3 HEAD.

MAX_HEADER_BYTES = 8192
"""Signature, version and first header section always fit in this many bytes."""

MAX_SIZE = 2**31 - 1
"""Largest width or height."""

MAX_CHANNELS = 255

HAS_VALUE_TABLE = 0x80
"""Added to the number of the mode where the file has a value table."""

CONSTANT, FALLBACK, LEARNED, ADAPTED, COPIED = range(5)
"""How a channel group is coded: as one value, by a fallback coder, by the model as it is, by the model adapted to the
image, as a copy of the group before."""

EQUAL_CHANNELS = 0x80
"""Added to the coding where the channels of a group are equal, and coded as one."""

MIN_TILE_LOG2, MAX_TILE_LOG2 = 6, 15

MODEL_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}"
"""Regular expression of what models may be called."""

IDENTITY_BYTES = 8

# 2.5 Metadata.

METADATA_TAGS = {
    "icc_profile": b"iccp",
    "exif": b"exif",
    "xmp": b"xmpp",
    "comment": b"cmnt",
    "text": b"text",
    "dpi": b"dpix",
    "gamma": b"gama",
    "transparency": b"trns",
    "background": b"back",
    "loop": b"loop",
    "duration": b"time",
}
"""Kind of metadata to the tag of its section."""

OWN_METADATA_TAGS = frozenset((b"trns", b"time"))
"""Metadata that frames after the first do not have from it."""

BLOB_STORED, BLOB_DEFLATED = 0, 1

MAX_METADATA_BYTES = 2**26
"""A frame's metadata has at most this many bytes, both as they are stored and with blobs unpacked."""

MAX_TEXT_BYTES = 2**24
"""Texts and their names, unpacked, have at most this many of them."""

MAX_TEXTS = 2**12

# 3 Learned groups.

Y_OFFSET = 128
"""Taken from Y, so that it is centred on zero."""

CHANNEL_BOUNDS = ((-128, 127), (-255, 255), (-255, 255))
"""Least and greatest value that Y, Co and Cg can take."""

SYMBOLS_PER_STREAM = 320_000
"""About this many symbols go to one stream of a tile: some 10,000 a lane."""

# 4 Pyramid.

LEVELS = 5
"""Levels of the pyramid; 0 is the finest."""

PHASES = ("00", "11", "01", "10")
"""The four phases of a level in coding order, named by the parity of (row, column)."""

_ODD = (-3, -1, 1, 3)
_EVEN = (-2, 0, 2)


class Band(NamedTuple):
    """One predicted phase of a level.

    `neighbours` are (phase, dy, dx), offsets from the predicted pixel in units of half the level's step;
    `nearest` are the indices of the four whose rounded mean is the base of the prediction.
    """

    name: str
    row: int
    column: int
    neighbours: tuple[tuple[str, int, int], ...]
    nearest: tuple[int, int, int, int]


def _band(name: str, *parts: tuple[str, tuple[int, ...], tuple[int, ...]]) -> Band:
    neighbours = tuple((phase, dy, dx) for phase, rows, columns in parts for dy in rows for dx in columns)
    diagonal = name == "11"
    nearest = tuple(
        index for index, (phase, dy, dx) in enumerate(neighbours) if dy * dy + dx * dx == (2 if diagonal else 1)
    )
    a, b, c, d = nearest
    return Band(name, int(name[0]), int(name[1]), neighbours, (a, b, c, d))


BANDS = (
    _band("11", ("00", _ODD, _ODD)),
    _band("01", ("00", _EVEN, _ODD), ("11", _ODD, _EVEN)),
    _band("10", ("00", _ODD, _EVEN), ("11", _EVEN, _ODD), ("01", _ODD, _ODD)),
)
"""The predicted bands in coding order, with the windows of Kamisli 2023, section III."""

# 5 Network.

MAX_WIDTH, MAX_DEPTH = 256, 16
"""Channels of a hidden layer, and hidden layers, of the largest model."""

PARAMETER_KINDS = 4
"""Of a network's outputs: spreads, means, weights, cross-channel coefficients."""

COMPONENTS = 5
"""Components of a mixture."""

OUTPUTS = 3 * COMPONENTS
"""Outputs of a parameter kind: three channels (or coefficients a, b, d) of five components."""

HIDDEN_SHIFT = 14
"""Accumulators of hidden layers are multiplied by m / 2**HIDDEN_SHIFT."""

OUTPUT_SHIFT = 12
"""Accumulators of output layers are multiplied by m / 2**OUTPUT_SHIFT."""

INPUT_MIN, INPUT_MAX = -128, 127

ACTIVATION_MAX = 127
"""Activations are 7-bit, so that they are exact both as signed and as unsigned bytes."""

FINE_SHIFT = 4
"""Output layers give parameters in 1 / 2**FINE_SHIFT of their unit."""

GAIN_SHIFT = 6
"""Gains of an adaptation are in 1 / 2**GAIN_SHIFT."""

HIDDEN_BIAS_UNIT = 2
"""A change of 1 in a hidden bias moves the activation by about this much."""

PARAMETER_MIN, PARAMETER_MAX = -32768, 32767

# 6 Mixture.

MAX_SPREAD_INDEX = 87
MAX_MEAN = 16383
COEFFICIENT_MIN, COEFFICIENT_MAX = -256, 255
MAX_POSITION = 8191
RECIPROCAL_SHIFT = 27
"""Weights are normalised by (2**RECIPROCAL_SHIFT - 1) // sum."""

# fmt: off
CDF_TAIL = (
    32767, 30723, 28693, 26695, 24743, 22849, 21025, 19282, 17625, 16062, 14595, 13226, 11955, 10782,
    9702, 8714, 7812, 6992, 6249, 5577, 4971, 4427, 3938, 3500, 3108, 2758, 2446, 2168, 1921, 1701, 1506,
    1333, 1179, 1042, 922, 815, 720, 636, 562, 497, 439, 387, 342, 302, 267, 236, 208, 184, 162, 143, 126,
    111, 98, 87, 77, 68, 60, 53, 47, 41, 36, 32, 28, 25, 0,
)
"""Lower tail of the logistic distribution, 65536 / (1 + exp(j / 8)), j = 0..64; the ends are set by hand so that the
whole function is monotone and loses no probability."""

SPREAD_MANTISSA = (
    4095, 3756, 3444, 3158, 2896, 2656, 2435, 2233,
)
"""4096 * 2**(-r / 8), r = 0..7: what a distance is multiplied by to be measured in spreads."""

WEIGHT_EXP = (
    2048, 1924, 1807, 1698, 1595, 1498, 1408, 1322, 1242, 1167, 1096, 1030, 967, 909, 854, 802, 753, 708,
    665, 625, 587, 551, 518, 486, 457, 429, 403, 379, 356, 334, 314, 295, 277, 260, 245, 230, 216, 203,
    190, 179, 168, 158, 148, 139, 131, 123, 116, 109, 102, 96, 90, 85, 79, 75, 70, 66, 62, 58, 55, 51, 48,
    45, 43, 40, 38, 35, 33, 31, 29, 27, 26, 24, 23, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 11, 10, 9,
    9, 8, 8, 7, 7, 7, 6, 6, 5, 5, 5, 4, 4, 4, 4, 3, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1,
)
"""2048 * exp(-t / 16), t = 0..127: a component's weight, t steps below the heaviest."""

# fmt: on

# 7 Entropy coder: range variant of asymmetric numeral systems (Duda 2013), lanes interleaved (Giesen 2014).

LANES = 32
"""Interleaved rANS lanes of a stream."""

STATE_MIN = 1 << 16
"""Least state of a lane, and the one in which encoding begins and decoding ends."""

# 8 Samples, channel groups and fallback coders.

MAX_TABLE_VALUES = 2**24
"""Entries of a value table at most: without a limit, a megabyte of deflate could hold a thousand million."""

BLOCK = 4096
"""Groups coded by a fallback coder are cut in squares of this many pixels a side."""

DEFLATE, LZMA2, VP8L = range(3)
"""The fallback coders."""

LZMA2_DICTIONARY = 1 << 24

VP8L_SIGNATURE = 0x2F

MAX_PALETTE = 256
"""Entries of a palette at most."""

PALETTE_CHANNELS = {"RGB": 3, "RGBA": 4, "CMYK": 4}
"""What the entries of a palette can be, and the bytes of one."""
