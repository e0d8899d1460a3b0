"""Every constant and table of the format, clause by clause (docs/format.md); modes and sample types are in samples.py.

Imports next to nothing: opening a small file reads this module first. C++ has a header made of it when it is
built; Triton repeats what its compiler has to know, and a test compares.
"""

from __future__ import annotations

# 2.1 File, 2.2 Section.

SIGNATURE = b"\x89LLC\r\n\x1a\n"
VERSION = 0

HEAD = b"HEAD"
PLTE = b"PLTE"
"""The palette."""
LEVL = b"LEVL"
"""The value table."""
GENR = b"GENR"
"""A channel group coded by a fallback coder."""
ADPT = b"ADPT"
"""The adaptation of the model to the image."""

COARSE_LEVEL = 3
"""One section holds the lowpass and all levels from this one on; each finer level has a section of its own."""


def level_tag(level: int) -> bytes:
    """Tag of the sections of a level, 0 to COARSE_LEVEL."""
    return b"LVL%d" % level


def plain_tag(level: int) -> bytes:
    """Tag of the sections that hold the plain bits of a level, 0 to COARSE_LEVEL."""
    return b"BIT%d" % level


# 2.3 HEAD.

MAX_HEADER_BYTES = 8192
"""Signature, version and first header section always fit in this many bytes."""

MAX_SIZE = 2**31 - 1
"""Largest width or height."""

MAX_CHANNELS = 255

HAS_VALUE_TABLE = 0x80
"""Added to the number of the mode where the file has a value table."""

CONSTANT, FALLBACK, LEARNED, ADAPTED, COPIED, JOINED, PLAIN = range(7)
"""How a channel group is coded: as one value, by a fallback coder, by the model as it is, by the model adapted to the
image, as a copy of the group before, together with the group before by a fallback coder, as plain bits."""

DEEP = 0x10
"""Added to the coding of a learned group whose values have DEEP_BITS in place of eight."""

DEEP_BITS = 10

EQUAL_CHANNELS = 0x80
"""Added to the coding where the channels of a group are equal, and coded as one."""

MIN_TILE_LOG2, MAX_TILE_LOG2 = 6, 15

MAX_MODEL_NAME = 32
MODEL_NAME_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
MODEL_NAME_SEPARATORS = "._-"
"""A model's name has 1 to MAX_MODEL_NAME of these, the first of which is no separator."""

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


def channel_bounds(bits: int) -> tuple[tuple[int, int], ...]:
    """Least and greatest value that Y, Co and Cg can take where R, G and B have so many bits."""
    half, most = 1 << (bits - 1), (1 << bits) - 1
    return (-half, half - 1), (-most, most), (-most, most)


ROW_GROUP = 32
"""Rows of a band that the lanes of a stream code side by side."""

GROUPS_PER_STREAM = 2
"""Row groups of the finest level that one stream codes, about."""

LANE_DELAY = 2
"""Steps that each lane is behind the one before it, so that it knows what is above and to the right."""

MIN_GROUP_STEPS, GROUP_PAD = 64, 4
"""A row group begins this many steps after the one before it, or as many as the level has columns, and GROUP_PAD."""

# 4 Pyramid.

MAX_LOWPASS = 4
"""A tile has as many levels as it takes for its lowpass to have no more rows, nor columns, than this."""

MAX_VIEW_LEVEL = 5
"""Small versions have every 2**level-th pixel, levels up to this one."""

PHASES = ("00", "11", "01", "10")
"""The four phases of a level in coding order, named by the parity of (row, column)."""

NETWORKS = ("luma", "chroma")
"""In coding order: of Y, and of Co and Cg."""

BACK = ((0, -2), (0, -4), (-2, -2), (-2, 0), (-2, 2))
"""Places (dy, dx) of the band itself that a pixel is predicted from, in units of half the level's step."""

_ODD = (-3, -1, 1, 3)
_EVEN = (-2, 0, 2)


class Band:
    """One predicted phase of a level.

    `neighbours` are (phase, dy, dx), offsets from the predicted pixel in units of half the level's step;
    `nearest` are the indices of the four whose rounded mean is the base of the prediction; `more_luma` are (dy, dx),
    the other places of the 5x5 square around the pixel, whose luma chroma is predicted from.
    """

    def __init__(self, name: str, *windows: tuple[str, tuple[int, ...], tuple[int, ...]]) -> None:
        """windows: phase, rows and columns of known pixels."""
        self.name, self.row, self.column = name, int(name[0]), int(name[1])
        self.neighbours = tuple((phase, dy, dx) for phase, rows, columns in windows for dy in rows for dx in columns)
        distance = 2 if name == "11" else 1  # squared
        places = [(dy, dx) for _, dy, dx in self.neighbours]
        self.nearest = tuple(index for index, (dy, dx) in enumerate(places) if dy * dy + dx * dx == distance)
        square = ((dy, dx) for dy in range(-2, 3) for dx in range(-2, 3))
        self.more_luma = tuple(place for place in square if place not in places)


BANDS = (
    Band("11", ("00", _ODD, _ODD)),
    Band("01", ("00", _EVEN, _ODD), ("11", _ODD, _EVEN)),
    Band("10", ("00", _ODD, _EVEN), ("11", _EVEN, _ODD), ("01", _ODD, _ODD)),
)
"""The predicted bands in coding order, with the windows of Kamisli 2023, section III."""

# 5 Network.

MAX_WIDTH, MAX_DEPTH = 256, 16
"""Channels of a hidden layer, and hidden layers, of the largest model."""

BIAS_LEVELS = 5
"""Biases of a first layer: of levels 0 to 3, and of all coarser ones."""

COMPONENTS = 5
"""Components of a mixture."""

LUMA_OUTPUTS, CHROMA_OUTPUTS = 3 * COMPONENTS, 7 * COMPONENTS
"""Spreads, means, logits; of both channels, and coefficients."""

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

MAX_SETS = BIAS_LEVELS
"""Sets of biases, gains and shifts of an adaptation: of levels 0, 1, ...; the last of all coarser ones too."""

MAX_PRECISION = 4
"""Changes of weights and hidden biases are in units divided by up to 2**MAX_PRECISION."""

ADAPTED_MIN, ADAPTED_MAX = -128, 127
"""Numbers of an adaptation."""

FIRST_WEIGHT_SHIFT, HIDDEN_WEIGHT_SHIFT = 11, 10
"""A change of 1 in a weight is 2**shift / multiplier: in the first layer, in other hidden layers."""

SPREAD_WEIGHT_SHIFT, MEAN_WEIGHT_SHIFT, LOGIT_WEIGHT_SHIFT, COEFFICIENT_WEIGHT_SHIFT = 10, 13, 11, 12
"""The same in output layers, by what the output is."""

HIDDEN_BIAS_SHIFT = 15
"""The same of hidden biases."""

WEIGHT_MAX = 127
"""Weights are no further from 0."""

PARAMETER_MIN, PARAMETER_MAX = -32768, 32767

# 6 Mixture.

MAX_SPREAD_INDEX = 87
MAX_MEAN = 16383
COEFFICIENT_MIN, COEFFICIENT_MAX = -256, 255
MAX_POSITION = 4095
MAX_LOGIT_DIFFERENCE = 191
RECIPROCAL_SHIFT = 27
"""Weights are normalised by (2**RECIPROCAL_SHIFT - 1) // sum."""

CDF_TAIL = (32767, 24743, 17625, 11955, 7812, 4971, 3108, 1921, 1179, 720, 439, 267, 162, 98, 60, 36, 0)
"""Lower tail of the logistic distribution, 65536 / (1 + exp(j / 2)), j = 0..16; the ends are set by hand so that the
whole function is monotone and loses no probability."""

SPREAD_MANTISSA = (65535, 60097, 55109, 50535, 46341, 42495, 38968, 35734)
"""65536 * 2**(-r / 8), r = 0..7: what a distance is multiplied by to be measured in spreads."""

WEIGHT_SHARE = (2048, 1961, 1878, 1798, 1722, 1649, 1579, 1512, 1448, 1387, 1328, 1272, 1218, 1166, 1117, 1069)
"""2048 * 2**(-t / 16), t = 0..15: a component's share, t steps below the heaviest."""

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

VP8L_HAS_ALPHA = 1 << 28
"""The bit `alpha_is_used` of the number that follows the signature."""

MAX_PALETTE = 256
"""Entries of a palette at most."""

PALETTE_CHANNELS = {"RGB": 3, "RGBA": 4, "CMYK": 4}
"""What the entries of a palette can be, in the order of their numbers in a file, and the bytes of one."""

PALETTE_STORED, PALETTE_DEFLATED, PALETTE_DIFFERENCES = range(3)
"""How the entries are packed: as they are; channel after channel, deflated; the same of differences."""
