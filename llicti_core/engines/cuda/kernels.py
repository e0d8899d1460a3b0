"""The Triton kernels: colour, skewed planes, networks, mixture, rANS, CRC-32 (docs/format.md, 3 to 7).

They use integers only, and of Triton only what its compiler and its interpreter give the same meaning. Where a comment
gives a bound, all products and sums before it fit in 32 bits; offsets in buffers are 64 bits wide.

Dense planes are int16 [pixels, DENSE] by tile, row by row: Y, Co, Cg, and one that is not used. Grey has Y alone there.

Skewed planes have what one level of a tile is predicted from, so that the 32 lanes of a step find any one neighbour
side by side: int16 [phases, channels, SLOTS, PITCH]. Column c of row 32 * g + l of a phase is in slot
g * P + 2 * l + c + MARGIN, which is its step and MARGIN, and at l + 2 there; l is -2..33 and c is -2..C + 1, since
the two rows and columns around a group belong to it too, those outside the phase as copies of its edge.

Rows of the int64 tables, of a level's tiles [tiles, FIELDS] and of its streams [streams, FIELDS], begin with: HEIGHT,
WIDTH in pixels, subsampled where a small version is all that is wanted; DENSE_AT: first pixel of the tile's dense
planes; SKEWED_AT: first number of its skewed planes; SLOTS of one; FIRST, GROUPS: its row groups, none where the tile
has no such level; TILE: its number; ADAPTATION: which of the adapted networks.

`level` is that in the subsampled tile, `bias_level` the one that has its biases and gains.

EXTRA is `e` of docs/format.md, 3: the bits that values have beyond eight, 2 in deep channel groups, else 0. Pixels are
uint8, in deep channel groups int16.
"""

from __future__ import annotations

from itertools import pairwise

import triton
import triton.language as tl

from llicti_core.spec import CDF_TAIL, SPREAD_MANTISSA, WEIGHT_SHARE

LANES = tl.constexpr(32)
DENSE = tl.constexpr(4)
PITCH = tl.constexpr(36)
MARGIN = tl.constexpr(6)
COLUMNS = tl.constexpr(8)
"""Columns that a mixture's components take, and the outputs of one parameter kind of one channel; five are used."""
COMPONENTS = tl.constexpr(5)

HEIGHT, WIDTH, DENSE_AT, SKEWED_AT, SLOTS, FIRST, GROUPS, TILE, ADAPTATION = map(tl.constexpr, range(9))
FIELDS = tl.constexpr(9)

PIXELS, TOP, LEFT, IMAGE_ROWS, IMAGE_COLUMNS = map(tl.constexpr, range(5))
"""Rows of places [tiles, PLACE_FIELDS]: first value of the picture in the buffer of pixels; the tile's place in the
picture, in pixels of it; its rows and columns."""
PLACE_FIELDS = tl.constexpr(5)

PLANE, OFFSET, THERE, IS_BASE, TO_LEFT, TO_RIGHT, ABOVE, OF_Y, OF_CO, OF_CG = map(tl.constexpr, range(10))
"""Rows of a window, int32 [10, inputs]. Of a neighbour its phase and channel, as the number of a skewed plane, and its
place there from that of the pixel; 1 where an input is a neighbour, and 1 where it is a base; the columns that the band
must have to the left and right of the pixel, and the rows of the stream above it; 1 for the channel that it is of.
After them: phases [4] and places [4] of the four nearest neighbours."""
WINDOW_ROWS = tl.constexpr(10)

KNOTS = tl.constexpr(tuple(tail << 16 | tail - after for tail, after in pairwise(CDF_TAIL)))
MANTISSAS, SHARES = map(tl.constexpr, (SPREAD_MANTISSA, WEIGHT_SHARE))
"""The tables of clause 6. KNOTS[j] is TAIL[j] * 2**16 + TAIL[j] - TAIL[j + 1]."""


@triton.jit
def _phase_size(size, level, parity):
    """Rows or columns of a phase; 0 where size <= parity << level."""
    return (size + ((2 - parity) << level) - 1) >> (level + 1)


@triton.jit
def _group_steps(width, level):
    return tl.maximum(_phase_size(width, level, 0) + 4, 64)


@triton.jit
def _field(table, index, FIELD: tl.constexpr):
    """A field that fits in 32 bits."""
    return tl.load(table + index * FIELDS + FIELD).to(tl.int32)


@triton.jit
def _clamp(value, least, most):
    return tl.minimum(tl.maximum(value, least), most)


# Colour (3) and skewed planes.


@triton.jit
def _to_ycocg(source, active, CHANNELS: tl.constexpr, EXTRA: tl.constexpr):
    """Y, Co, Cg of the pixels at `source`; three times Y where there is grey alone."""
    if CHANNELS == 1:
        luma = tl.load(source, mask=active, other=0).to(tl.int32) - (128 << EXTRA)
        return luma, luma, luma
    else:
        r = tl.load(source, mask=active, other=0).to(tl.int32)
        g = tl.load(source + 1, mask=active, other=0).to(tl.int32)
        b = tl.load(source + 2, mask=active, other=0).to(tl.int32)
        co = r - b
        t = b + (co >> 1)
        cg = g - t
        return t + (cg >> 1) - (128 << EXTRA), co, cg


@triton.jit
def _inside(places, tile, y, x, active):
    """Where a tile's pixels are in the buffer of pixels, counted in pixels from PIXELS, and which are in it."""
    row = places + tile * PLACE_FIELDS
    y = y + tl.load(row + TOP)
    x = x + tl.load(row + LEFT)
    columns = tl.load(row + IMAGE_COLUMNS)
    return y * columns + x, active & (y >= 0) & (y < tl.load(row + IMAGE_ROWS)) & (x >= 0) & (x < columns)


@triton.jit(do_not_specialize=["blocks"])
def split_colours(buffers, blocks, CHANNELS: tl.constexpr, EXTRA: tl.constexpr, BLOCK: tl.constexpr):
    """Pixels to dense planes, and each tile's least and greatest values to `bounds` int32 [tiles, CHANNELS, 2].

    buffers: pixels, dense, bounds, tiles, places.
    """
    pixels, dense, bounds, tiles, places = buffers
    tile = tl.program_id(0) // blocks
    height, width = _field(tiles, tile, HEIGHT), _field(tiles, tile, WIDTH)
    index = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    place, active = _inside(places, tile, index // width, index % width, index < height * width)
    source = pixels + tl.load(places + tile * PLACE_FIELDS + PIXELS) + place * CHANNELS
    y, co, cg = _to_ycocg(source, active, CHANNELS, EXTRA)
    target = dense + (tl.load(tiles + tile * FIELDS + DENSE_AT) + index) * DENSE
    bounds += tile * (2 * CHANNELS)
    _put(target, bounds, y, active)
    if CHANNELS == 3:
        _put(target + 1, bounds + 2, co, active)
        _put(target + 2, bounds + 4, cg, active)


@triton.jit
def _put(target, bounds, value, active):
    """Store a channel, and widen its bounds."""
    tl.store(target, value.to(tl.int16), mask=active)
    tl.atomic_min(bounds, tl.min(tl.where(active, value, 32767), axis=0))
    tl.atomic_max(bounds + 1, tl.max(tl.where(active, value, -32768), axis=0))


@triton.jit(do_not_specialize=["blocks", "scale"])
def merge_colours(buffers, blocks, scale, CHANNELS: tl.constexpr, EXTRA: tl.constexpr, BLOCK: tl.constexpr):
    """Every 2**scale-th of the dense planes to pixels, modulo 256 << EXTRA; what is outside the picture is left out.

    buffers: dense, pixels, tiles, places.
    """
    MOST: tl.constexpr = (256 << EXTRA) - 1
    dense, pixels, tiles, places = buffers
    tile = tl.program_id(0) // blocks
    height, width = _field(tiles, tile, HEIGHT), _field(tiles, tile, WIDTH)
    rows, columns = (height + (1 << scale) - 1) >> scale, (width + (1 << scale) - 1) >> scale
    index = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    y, x = index // columns, index % columns
    place, active = _inside(places, tile, y, x, index < rows * columns)
    target = pixels + tl.load(places + tile * PLACE_FIELDS + PIXELS) + place * CHANNELS
    source = dense + (tl.load(tiles + tile * FIELDS + DENSE_AT) + (y << scale) * width + (x << scale)) * DENSE
    luma = tl.load(source, mask=active, other=0).to(tl.int32) + (128 << EXTRA)
    if CHANNELS == 1:
        tl.store(target, (luma & MOST).to(pixels.dtype.element_ty), mask=active)
    else:
        co = tl.load(source + 1, mask=active, other=0).to(tl.int32)
        cg = tl.load(source + 2, mask=active, other=0).to(tl.int32)
        t = luma - (cg >> 1)
        b = t - (co >> 1)
        tl.store(target, ((b + co) & MOST).to(pixels.dtype.element_ty), mask=active)
        tl.store(target + 1, ((t + cg) & MOST).to(pixels.dtype.element_ty), mask=active)
        tl.store(target + 2, (b & MOST).to(pixels.dtype.element_ty), mask=active)


@triton.jit(do_not_specialize=["blocks", "level", "row", "column", "phase"])
def skew(
    buffers,
    blocks,
    level,
    row,
    column,
    phase,
    CHANNELS: tl.constexpr,
    START: tl.constexpr,
    STOP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Channels START to STOP of a phase from dense to skewed planes, with all copies and edges.

    buffers: dense, skewed, tiles. row, column: of the phase, whose number is `phase`.
    """
    dense, skewed, tiles = buffers
    tile = tl.program_id(0) // blocks
    height, width = _field(tiles, tile, HEIGHT), _field(tiles, tile, WIDTH)
    slots, groups = _field(tiles, tile, SLOTS), _field(tiles, tile, GROUPS)
    index = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    lane = index % PITCH - 2
    steps = _group_steps(width, level)
    at = index // PITCH - MARGIN - 2 * lane + 2  # group * steps + column + 2
    group = tl.maximum(at, 0) // steps
    x = tl.maximum(at, 0) % steps - 2
    active = (index < slots * PITCH) & (at >= 0) & (group < groups) & (x < _phase_size(width, level, 0) + 2)
    rows, columns = _phase_size(height, level, row), _phase_size(width, level, column)
    # A phase without pixels is stood in for by phase 00, which has at least one.
    empty = (rows == 0) | (columns == 0)
    rows = tl.where(empty, _phase_size(height, level, 0), rows)
    columns = tl.where(empty, _phase_size(width, level, 0), columns)
    row, column = tl.where(empty, 0, row), tl.where(empty, 0, column)
    y = _clamp(32 * group + lane, 0, rows - 1)
    x = _clamp(x, 0, columns - 1)
    place = ((2 * y + row) << level) * width + ((2 * x + column) << level)
    source = dense + (tl.load(tiles + tile * FIELDS + DENSE_AT) + place) * DENSE
    target = skewed + tl.load(tiles + tile * FIELDS + SKEWED_AT) + index
    for q in tl.static_range(START, STOP):
        value = tl.load(source + q, mask=active, other=0)
        tl.store(target + (phase * CHANNELS + q).to(tl.int64) * (slots * PITCH), value, mask=active)


# Order of the pixels, inputs and networks (4 and 5).


@triton.jit
def _steps(height, width, level, row, column, first, groups):
    """Steps that a stream takes in a band, whose rows and columns are returned too."""
    rows, columns = _phase_size(height, level, row), _phase_size(width, level, column)
    last = _clamp(rows - 32 * (first + groups - 1), 0, 32)
    # Where the last group has no row in this band, the one before it is the last.
    steps = (groups - 1) * _group_steps(width, level) + 2 * (last - 1) + columns
    before = (groups - 2) * _group_steps(width, level) + 62 + columns
    steps = tl.where(last > 0, steps, tl.where(groups > 1, before, 0))
    return tl.where((groups > 0) & (columns > 0), steps, 0), rows, columns


@triton.jit
def _lanes(step, width, level, first, groups, rows, columns):
    """Of each lane at a step: row and column of its pixel, its group, and whether there is one."""
    lane = tl.arange(0, LANES)
    at = step - 2 * lane
    steps = _group_steps(width, level)
    group = first + tl.maximum(at, 0) // steps
    column = tl.maximum(at, 0) % steps
    row = 32 * group + lane
    return row, column, group, (at >= 0) & (group < first + groups) & (row < rows) & (column < columns)


@triton.jit
def _base(source, window, size, active, q, channels, K: tl.constexpr):
    """Rounded mean of the four nearest neighbours in channel q, [LANES]."""
    total = tl.zeros_like(active.to(tl.int32))
    lane = tl.arange(0, LANES)
    for n in tl.static_range(4):
        plane = tl.load(window + WINDOW_ROWS * K + n) * channels + q
        place = plane.to(tl.int64) * size + tl.load(window + WINDOW_ROWS * K + 4 + n)
        total += tl.load(source + place + lane, mask=active, other=0).to(tl.int32)
    return (total + 2) >> 2


@triton.jit
def _inputs(
    source,
    window,
    size,
    row,
    column,
    columns,
    active,
    bases,
    k,
    K: tl.constexpr,
    CHROMA: tl.constexpr,
    EXTRA: tl.constexpr,
):
    """Inputs `k` of a network, int8 [LANES, len(k)].

    source: the step's slot of the first skewed plane; size: of a plane. row: from the stream's first.
    """
    there = active[:, None] & (tl.load(window + THERE * K + k) != 0)[None, :]
    there = there & (column[:, None] >= tl.load(window + TO_LEFT * K + k)[None, :])
    there = there & (column[:, None] + tl.load(window + TO_RIGHT * K + k)[None, :] < columns)
    there = there & (row[:, None] >= tl.load(window + ABOVE * K + k)[None, :])
    place = tl.load(window + PLANE * K + k).to(tl.int64) * size + tl.load(window + OFFSET * K + k)
    at = place[None, :] + tl.arange(0, LANES)[:, None]
    y_base, co_base, cg_base = bases
    # Channels are told apart by products, and what is not loaded is given as what becomes the input: some versions of
    # Triton do not compile conditions that go into a product of matrices.
    is_base = tl.load(window + IS_BASE * K + k)[None, :]
    of_y = tl.load(window + OF_Y * K + k)[None, :]
    base = y_base[:, None] * of_y
    level = base >> EXTRA
    if CHROMA:
        of_co, of_cg = tl.load(window + OF_CO * K + k)[None, :], tl.load(window + OF_CG * K + k)[None, :]
        level = level + (co_base >> (1 + EXTRA))[:, None] * of_co + (cg_base >> (1 + EXTRA))[:, None] * of_cg
        base = base + co_base[:, None] * of_co + cg_base[:, None] * of_cg
    value = tl.load(source + at, mask=there, other=(base + is_base * (level << EXTRA)).to(tl.int16)).to(tl.int32)
    return _clamp((value - base + ((1 << EXTRA) >> 1)) >> EXTRA, -128, 127).to(tl.int8)


@triton.jit
def _activations(total, numbers, bias_level, o, W: tl.constexpr):
    """Activations int8 of a hidden layer's products. Models are proved to keep all within 32 bits (7.3).

    numbers: int32, biases [5, W] and multipliers [W].
    """
    bias, multiplier = tl.load(numbers + bias_level * W + o), tl.load(numbers + 5 * W + o)
    scaled = ((total + bias[None, :]) * multiplier[None, :] + 8192) >> 14
    return _clamp(scaled, 0, 127).to(tl.int8)


@triton.jit
def _products(x, weights, o, K: tl.constexpr):
    """Products int32 of inputs int8 [LANES, K] and rows `o` of weights int8 [outputs, K]."""
    k = tl.arange(0, K)
    return tl.dot(x, tl.load(weights + o[None, :] * K + k[:, None]), out_dtype=tl.int32)


@triton.jit
def _first(a, b, weights, numbers, bias_level, o, KA: tl.constexpr, KB: tl.constexpr, W: tl.constexpr):
    """Activations `o` of the first layer."""
    total = _products(a, weights, o, KA)
    if KB:
        total += _products(b, weights + W * KA, o, KB)
    return _activations(total, numbers, bias_level, o, W)


@triton.jit
def _next(x, weights, numbers, bias_level, o, W: tl.constexpr):
    return _activations(_products(x, weights, o, W), numbers, bias_level, o, W)


@triton.jit
def _hidden(a, b, weights, numbers, bias_level, depth, KA: tl.constexpr, KB: tl.constexpr, W: tl.constexpr):
    """Activations int8 [LANES, W] of the last hidden layer, for inputs int8 [LANES, KA] and [LANES, KB].

    weights: int8, one after the other [W, KA], [W, KB], [depth - 1, W, W] and [outputs, W]. numbers: int32, of each
    hidden layer biases [5, W] and multipliers [W]; then what _output says. Wide layers are done in halves, which take
    half the registers.
    """
    if W <= 128:
        h = _first(a, b, weights, numbers, bias_level, tl.arange(0, W), KA, KB, W)
    else:
        o = 2 * tl.arange(0, W // 2)
        even = _first(a, b, weights, numbers, bias_level, o, KA, KB, W)
        odd = _first(a, b, weights, numbers, bias_level, o + 1, KA, KB, W)
        h = tl.reshape(tl.join(even, odd), (LANES, W))
    weights += W * (KA + KB)
    for _layer in range(1, depth):
        numbers += 6 * W
        if W <= 128:
            h = _next(h, weights, numbers, bias_level, tl.arange(0, W), W)
        else:
            o = 2 * tl.arange(0, W // 2)
            even = _next(h, weights, numbers, bias_level, o, W)
            odd = _next(h, weights, numbers, bias_level, o + 1, W)
            h = tl.reshape(tl.join(even, odd), (LANES, W))
        weights += W * W
    return h


@triton.jit
def _output(outputs, kind, KINDS: tl.constexpr, W: tl.constexpr):
    """Adapted outputs int32 [LANES, COLUMNS] of one parameter kind of one channel; 0 in the columns that are not used.

    outputs: the last hidden activations, weights, numbers, bias_level. weights: int8 [KINDS, COLUMNS, W]. numbers:
    int32 [16, KINDS, COLUMNS], biases [5], multipliers, gains [5] with 64 added, and shifts [5] times 512, with 512
    added.
    """
    h, weights, numbers, bias_level = outputs
    o = kind * COLUMNS + tl.arange(0, COLUMNS)
    bias = tl.load(numbers + bias_level * (KINDS * COLUMNS) + o)
    multiplier = tl.load(numbers + 5 * (KINDS * COLUMNS) + o)
    gain = tl.load(numbers + (6 + bias_level) * (KINDS * COLUMNS) + o)
    shift = tl.load(numbers + (11 + bias_level) * (KINDS * COLUMNS) + o)
    fine = ((_products(h, weights, o, W) + bias[None, :]) * multiplier[None, :] + 2048) >> 12
    adapted = (fine * gain[None, :] + shift[None, :]) >> 10  # within 2**27 before the shift (5.2)
    return _clamp(adapted, -32768, 32767)


@triton.jit
def _prologue(problem, stream, level, row, column):
    """Of a stream in a band: (height, width), (first group, groups), (steps, rows, columns), (first number of its
    skewed planes, numbers in a plane, first slot), tile, adaptation."""
    table = problem[2]
    height, width = _field(table, stream, HEIGHT), _field(table, stream, WIDTH)
    first, groups = _field(table, stream, FIRST), _field(table, stream, GROUPS)
    steps, rows, columns = _steps(height, width, level, row, column, first, groups)
    skewed = problem[1] + tl.load(table + stream * FIELDS + SKEWED_AT)
    size = _field(table, stream, SLOTS) * PITCH
    slot = first * _group_steps(width, level) + MARGIN
    place = (skewed, size, slot)
    tile, adaptation = _field(table, stream, TILE), tl.load(table + stream * FIELDS + ADAPTATION)
    return (height, width), (first, groups), (steps, rows, columns), place, tile, adaptation


@triton.jit
def _predict(
    network,
    source,
    size,
    pixel,
    columns,
    active,
    bias_level,
    depth,
    adaptation,
    channels,
    KA: tl.constexpr,
    KB: tl.constexpr,
    W: tl.constexpr,
    CHROMA: tl.constexpr,
    EXTRA: tl.constexpr,
):
    """What _output takes of a step's pixels, and their bases of Y, Co and Cg.

    network: window, weights, numbers. pixel: rows from the stream's first, and columns.
    """
    window, weights, numbers = network
    K: tl.constexpr = KA + KB
    KINDS: tl.constexpr = 7 if CHROMA else 3
    y_base = _base(source, window, size, active, 0, channels, K)
    co_base = y_base
    cg_base = y_base
    if CHROMA:
        co_base = _base(source, window, size, active, 1, channels, K)
        cg_base = _base(source, window, size, active, 2, channels, K)
    bases = (y_base, co_base, cg_base)
    row, column = pixel
    a = _inputs(source, window, size, row, column, columns, active, bases, tl.arange(0, KA), K, CHROMA, EXTRA)
    b = a
    if KB:
        k = KA + tl.arange(0, KB)
        b = _inputs(source, window, size, row, column, columns, active, bases, k, K, CHROMA, EXTRA)
    before = W * K + (depth - 1) * (W * W)
    weights += adaptation * (before + KINDS * COLUMNS * W)
    numbers += adaptation * (depth * 6 * W + 16 * KINDS * COLUMNS)
    h = _hidden(a, b, weights, numbers, bias_level, depth, KA, KB, W)
    return (h, weights + before, numbers + depth * 6 * W, bias_level), bases


# Mixture (6).


# Tables are looked up by choosing among constants: loads have a layout of their own, and to bring an index there and a
# number back from it takes a program's threads several barriers each time. (Some versions of Triton do not compile a
# function that calls itself.)


@triton.jit
def _of_two(bits, TABLE: tl.constexpr, FIRST: tl.constexpr):
    return tl.where(bits[0], TABLE[FIRST + 1], TABLE[FIRST])


@triton.jit
def _of_four(bits, TABLE: tl.constexpr, FIRST: tl.constexpr):
    return tl.where(bits[1], _of_two(bits, TABLE, FIRST + 2), _of_two(bits, TABLE, FIRST))


@triton.jit
def _of_eight(bits, TABLE: tl.constexpr, FIRST: tl.constexpr):
    return tl.where(bits[2], _of_four(bits, TABLE, FIRST + 4), _of_four(bits, TABLE, FIRST))


@triton.jit
def _looked_up(index, TABLE: tl.constexpr, SIZE: tl.constexpr):
    """TABLE[index % SIZE], of SIZE numbers, 8 or 16."""
    bits = ((index & 1) != 0, (index & 2) != 0, (index & 4) != 0)
    if SIZE == 8:
        return _of_eight(bits, TABLE, 0)
    else:
        return tl.where((index & 8) != 0, _of_eight(bits, TABLE, 8), _of_eight(bits, TABLE, 0))


@triton.jit
def _mixture(outputs, bounds, base, co, Q: tl.constexpr, CHROMA: tl.constexpr, EXTRA: tl.constexpr, W: tl.constexpr):
    """The mixture of Y, or of channel Q of Co and Cg: (base [LANES]; of the components centre, scale of the spread, and
    weight uint32, all [LANES, COLUMNS]; low, high).

    bounds: int32 [channels, 2]. co: Co less its base, for Cg.
    """
    COUNT: tl.constexpr = 2 if CHROMA else 1
    KINDS: tl.constexpr = 7 if CHROMA else 3
    CHANNEL: tl.constexpr = Q + 1 if CHROMA else 0
    low, high = tl.load(bounds + 2 * CHANNEL), tl.load(bounds + 2 * CHANNEL + 1)
    spread = _clamp(_output(outputs, Q, KINDS, W), 0, 87)
    centre = _output(outputs, COUNT + Q, KINDS, W)
    if Q == 1:
        coefficient = _clamp(_output(outputs, 6, KINDS, W), -256, 255)
        centre += (coefficient * co[:, None] + (2 << EXTRA)) >> (2 + EXTRA)
    centre = _clamp(centre, -16383, 16383)
    logit = _output(outputs, 2 * COUNT + Q, KINDS, W)
    used = (tl.arange(0, COLUMNS) < COMPONENTS)[None, :]
    top = tl.max(tl.where(used, logit, -32768), axis=1)[:, None]
    steps = _clamp(top - logit, 0, 191)
    share = tl.where(used, _looked_up(steps, SHARES, 16) >> (steps >> 4), 0)
    # At most 2**27 / 2**11 * 2**16, which takes 32 bits without a sign.
    reciprocal = (134217727 // tl.sum(share, axis=1)).to(tl.uint32)
    unit = (reciprocal * (65535 - (high - low)).to(tl.uint32)) >> 16
    weight = (share.to(tl.uint32) * unit[:, None]) >> 11
    return base, centre, _looked_up(spread, MANTISSAS, 8) >> (spread >> 3), weight, low, high


@triton.jit
def _cumulative(value, mixture, EXTRA: tl.constexpr):
    """Of 65536, what values below `value` [LANES] have."""
    base, centre, scale, weight, low, high = mixture
    distance = ((16 * (value - base) - 8) >> EXTRA)[:, None] - centre
    position = tl.minimum((tl.abs(distance) * scale) >> 7, 4095)
    knot = _looked_up(position >> 8, KNOTS, 16)
    tail = (knot >> 16) - (((knot & 65535) * (position & 255)) >> 8)
    logistic = tl.where(distance < 0, tail, 65535 - tail)
    part = ((weight * logistic.to(tl.uint32)) >> 16).to(tl.int32)
    inside = tl.sum(part, axis=1) + value - low
    return tl.where(value <= low, 0, tl.where(value > high, 65536, inside))


@triton.jit
def _bits(number, EXTRA: tl.constexpr):
    """Bits of a number of 0..511, or of 0..2047 where EXTRA is 2."""
    bits = (number > 0).to(tl.int32) + (number > 1).to(tl.int32) + (number > 3).to(tl.int32)
    bits += (number > 7).to(tl.int32) + (number > 15).to(tl.int32) + (number > 31).to(tl.int32)
    bits = bits + (number > 63).to(tl.int32) + (number > 127).to(tl.int32) + (number > 255).to(tl.int32)
    if EXTRA:
        bits += (number > 511).to(tl.int32) + (number > 1023).to(tl.int32)
    return bits


# Passes: one network in one band.


@triton.jit
def _interval(value, mixture, active, EXTRA: tl.constexpr):
    """cdf_low | frequency << 16 of values, int32 [LANES]; 0 where nothing is coded."""
    below, above = _cumulative(value, mixture, EXTRA), _cumulative(value + 1, mixture, EXTRA)
    low, high = mixture[4], mixture[5]
    interval = below.to(tl.uint32) | ((above - below).to(tl.uint32) << 16)
    # A constant channel has the interval 0..65536, whose frequency does not fit: it is not coded.
    return tl.where(active & (low < high), interval, 0).to(tl.int32, bitcast=True)


@triton.jit(do_not_specialize=["blocks", "level", "row", "column", "phase", "bias_level", "depth", "channels"])
def encode_pass(
    problem,
    network,
    coder,
    blocks,
    level,
    row,
    column,
    phase,
    bias_level,
    depth,
    channels,
    KA: tl.constexpr,
    KB: tl.constexpr,
    W: tl.constexpr,
    CHROMA: tl.constexpr,
    EXTRA: tl.constexpr,
    STEPS: tl.constexpr,
):
    """Intervals of a pass (7.1), from skewed planes that hold the whole level; STEPS steps of a stream a program.

    problem: dense, skewed, streams, bounds. network: window, weights, numbers. coder: intervals int32 [rows,
    LANES], and first_row int64 [streams], where each stream's of this pass begin: a row a step, in chroma two.
    """
    stream = tl.program_id(0) // blocks
    first_step = (tl.program_id(0) % blocks) * STEPS
    size, groups, band, place, tile, adaptation = _prologue(problem, stream, level, row, column)
    steps, rows, columns = band
    if first_step >= steps:
        return
    bounds = problem[3] + tile * (2 * channels)
    intervals, first_row = coder
    lane = tl.arange(0, LANES)
    target = intervals + tl.load(first_row + stream) * LANES + lane
    for step in range(first_step, tl.minimum(first_step + STEPS, steps)):
        y, x, _, active = _lanes(step, size[1], level, groups[0], groups[1], rows, columns)
        source = place[0] + ((place[2] + step) * PITCH + 2)
        outputs, bases = _predict(
            network, source, place[1], (y - 32 * groups[0], x), columns, active, bias_level, depth, adaptation,
            channels, KA, KB, W, CHROMA, EXTRA,
        )  # fmt: skip
        own = source + (phase * channels).to(tl.int64) * place[1] + lane
        if CHROMA:
            co = tl.load(own + place[1], mask=active, other=0).to(tl.int32)
            cg = tl.load(own + 2 * place[1].to(tl.int64), mask=active, other=0).to(tl.int32)
            mixture = _mixture(outputs, bounds, bases[1], co, 0, CHROMA, EXTRA, W)
            tl.store(target + step * (2 * LANES), _interval(co, mixture, active, EXTRA))
            mixture = _mixture(outputs, bounds, bases[2], co - bases[1], 1, CHROMA, EXTRA, W)
            tl.store(target + step * (2 * LANES) + LANES, _interval(cg, mixture, active, EXTRA))
        else:
            value = tl.load(own, mask=active, other=0).to(tl.int32)
            mixture = _mixture(outputs, bounds, bases[0], value, 0, CHROMA, EXTRA, W)
            tl.store(target + step * LANES, _interval(value, mixture, active, EXTRA))


@triton.jit
def _decode_values(coder, mixture, active, EXTRA: tl.constexpr):
    """Decode a value of each active lane. Returns states uint32, the next word, and the values.

    coder: states, the next word, words int16, and `end`, that of the segment, from which on none is read.
    """
    state, cursor, words, end = coder
    low, high = mixture[4], mixture[5]
    slot = (state & 65535).to(tl.int32)
    # The greatest value whose cumulative is at most the slot, by halving what is left of the bounds. `above` is the
    # cumulative of the least value known to be too great: at the end of the one after `found`.
    found = tl.zeros_like(slot) + low
    below = tl.zeros_like(slot)
    above = tl.zeros_like(slot) + 65536
    bits = _bits(high - low, EXTRA)
    for bit in range(bits):
        trial = found + ((1 << (bits - 1)) >> bit)
        inside = _cumulative(trial, mixture, EXTRA)
        fits = inside <= slot
        found = tl.where(fits, trial, found)
        below = tl.where(fits, inside, below)
        above = tl.where(fits, above, inside)
    # At most 2**16 * (2**16 - 1) + 2**16 - 1: 32 bits without a sign. A constant channel leaves the state as it is.
    advanced = (above - below).to(tl.uint32) * (state >> 16) + (slot - below).to(tl.uint32)
    state = tl.where(active, advanced, state)
    short = state < 65536
    order = tl.cumsum(short.to(tl.int32), axis=0)
    next_word = cursor + order - 1
    word = tl.load(words + next_word, mask=short & (next_word < end), other=0).to(tl.uint32) & 65535
    state = tl.where(short, (state << 16) | word, state)
    return state, cursor + tl.max(order, axis=0), found


@triton.jit
def _keep(dense, own, copy, value, active, copied):
    """Store decoded values in the dense and the skewed planes, and those that are also above the next group there."""
    tl.store(dense, value.to(tl.int16), mask=active)
    tl.store(own, value.to(tl.int16), mask=active)
    tl.store(copy, value.to(tl.int16), mask=copied)


@triton.jit(do_not_specialize=["level", "row", "column", "phase", "bias_level", "depth", "channels"])
def decode_pass(
    problem,
    network,
    coder,
    level,
    row,
    column,
    phase,
    bias_level,
    depth,
    channels,
    KA: tl.constexpr,
    KB: tl.constexpr,
    W: tl.constexpr,
    CHROMA: tl.constexpr,
    EXTRA: tl.constexpr,
):
    """Decode a pass into the planes, a stream a program.

    problem, network: as encode_pass has them. coder: states int32 [streams, LANES], kept from pass to pass, none below
    65536; cursors int64 [streams], the next of `words` int16, moved on past `ends` int64 [streams] where words are
    missing, though none is read there; ends; words.
    """
    stream = tl.program_id(0)
    size, groups, band, place, tile, adaptation = _prologue(problem, stream, level, row, column)
    steps, rows, columns = band
    bounds = problem[3] + tile * (2 * channels)
    if CHROMA:
        varies = (tl.load(bounds + 2) < tl.load(bounds + 3)) | (tl.load(bounds + 4) < tl.load(bounds + 5))
    else:
        varies = tl.load(bounds) < tl.load(bounds + 1)
    if (steps == 0) | (varies == 0):
        return
    lane = tl.arange(0, LANES)
    states, cursors, ends, words = coder
    end = tl.load(ends + stream)
    state = tl.load(states + stream * LANES + lane).to(tl.uint32, bitcast=True)
    cursor = tl.load(cursors + stream)
    dense = problem[0] + tl.load(problem[2] + stream * FIELDS + DENSE_AT) * DENSE
    group_steps = _group_steps(size[1], level)
    for step in range(steps):
        y, x, group, active = _lanes(step, size[1], level, groups[0], groups[1], rows, columns)
        source = place[0] + ((place[2] + step) * PITCH + 2)
        outputs, bases = _predict(
            network, source, place[1], (y - 32 * groups[0], x), columns, active, bias_level, depth, adaptation,
            channels, KA, KB, W, CHROMA, EXTRA,
        )  # fmt: skip
        pixel = (((2 * y + row) << level) * size[1] + ((2 * x + column) << level)).to(tl.int64)
        target = dense + pixel * DENSE
        own = source + (phase * channels).to(tl.int64) * place[1] + lane
        # The last row of a group is above the first one of the next, where it has the lane before lane 0.
        copy = own + ((group_steps - 64) * PITCH - LANES)
        copied = active & (lane == LANES - 1) & (group + 1 < groups[0] + groups[1])
        if CHROMA:
            mixture = _mixture(outputs, bounds, bases[1], y, 0, CHROMA, EXTRA, W)
            state, cursor, co = _decode_values((state, cursor, words, end), mixture, active, EXTRA)
            mixture = _mixture(outputs, bounds, bases[2], co - bases[1], 1, CHROMA, EXTRA, W)
            state, cursor, cg = _decode_values((state, cursor, words, end), mixture, active, EXTRA)
            _keep(target + 1, own + place[1], copy + place[1], co, active, copied)
            twice = 2 * place[1].to(tl.int64)
            _keep(target + 2, own + twice, copy + twice, cg, active, copied)
        else:
            mixture = _mixture(outputs, bounds, bases[0], y, 0, CHROMA, EXTRA, W)
            state, cursor, value = _decode_values((state, cursor, words, end), mixture, active, EXTRA)
            _keep(target, own, copy, value, active, copied)
        # The next step's inputs are read by other threads of the program. The barrier makes what was stored before it
        # visible to all of them; loads and stores go through the first cache of the one multiprocessor that they share.
        # num_stages=1 keeps the compiler from loading them ahead of it. No step reads what the same step stores.
        tl.debug_barrier()
    tl.store(states + stream * LANES + lane, state.to(tl.int32, bitcast=True))
    tl.store(cursors + stream, cursor)


# Entropy coder (7).


@triton.jit(do_not_specialize=["kinds", "count"])
def encode_streams(buffers, kinds, count):
    """The words of every stream, from its last symbol to its first, a stream a program.

    buffers: intervals int32 [rows, LANES]; first_row int64 [kinds + 1, count], where each stream's rows of each kind of
    segment begin, and where the last end; words int16 [rows, LANES], each stream's from the end of its part down;
    cursors int64 [kinds, count], where the words of each kind begin; states int32 [count, LANES], in the end.
    """
    intervals, first_row, words, cursors, states = buffers
    stream = tl.program_id(0)
    lane = tl.arange(0, LANES)
    state = tl.zeros_like(lane).to(tl.uint32) + 65536
    cursor = tl.load(first_row + kinds * count + stream) * LANES
    for index in range(kinds):
        first = tl.load(first_row + (kinds - 1 - index) * count + stream)
        rows = (tl.load(first_row + (kinds - index) * count + stream) - first).to(tl.int32)
        for done in range(rows):
            interval = tl.load(intervals + (first + (rows - 1 - done)) * LANES + lane).to(tl.uint32, bitcast=True)
            below = interval & 65535
            frequency = interval >> 16
            coded = frequency > 0
            frequency = tl.maximum(frequency, 1)
            full = coded & ((state >> 16) >= frequency)
            order = tl.cumsum(full.to(tl.int32), axis=0)
            cursor -= tl.max(order, axis=0)
            tl.store(words + (cursor + order - 1), (state & 65535).to(tl.int16), mask=full)
            state = tl.where(full, state >> 16, state)
            quotient = state // frequency
            coarse = (quotient << 16) + (state - quotient * frequency) + below
            state = tl.where(coded, coarse, state)
        tl.store(cursors + (kinds - 1 - index) * count + stream, cursor)
    tl.store(states + stream * LANES + lane, state.to(tl.int32, bitcast=True))


@triton.jit(do_not_specialize=["blocks"])
def copy_words(words, sources, targets, lengths, packed, blocks, BLOCK: tl.constexpr):
    """Runs of int16 from `sources` in `words` to `targets` in `packed`, `lengths` long, int64 [runs]."""
    run = tl.program_id(0) // blocks
    index = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    there = index < tl.load(lengths + run)
    word = tl.load(words + tl.load(sources + run) + index, mask=there, other=0)
    tl.store(packed + tl.load(targets + run) + index, word, mask=there)


# Checksum (1).


@triton.jit(do_not_specialize=["size", "chunks"], do_not_specialize_on_alignment=["data"])
def chunk_remainders(data, table, remainders, size, chunks, CHUNK: tl.constexpr, BLOCK: tl.constexpr):
    """Remainder int32 of each of `chunks` chunks of uint8 `data`, the first of them filled up with zeros in front."""
    chunk = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    start = size - (chunks - chunk.to(tl.int64)) * CHUNK
    remainder = tl.zeros_like(chunk).to(tl.uint32)
    for index in range(CHUNK):
        at = start + index
        byte = tl.load(data + at, mask=(at >= 0) & (at < size), other=0).to(tl.uint32)
        step = tl.load(table + ((remainder ^ byte) & 255)).to(tl.uint32, bitcast=True)
        remainder = (remainder >> 8) ^ step
    tl.store(remainders + chunk, remainder.to(tl.int32, bitcast=True), mask=chunk < chunks)
