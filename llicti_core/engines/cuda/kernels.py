"""The Triton kernels: colour, context and networks, mixture, rANS, CRC-32 (docs/format.md, 3 to 7).

They use integers only, and of Triton only what its compiler and its interpreter give the same meaning. Where a comment
gives a bound, all products and sums before it fit in 32 bits; offsets in buffers are 64 bits wide.

Rows of the int64 tables that tell kernels where things are:

- tiles [tiles, 11]: HEIGHT, WIDTH in pixels, subsampled where a scale above 0 is all that is wanted; STREAMS; PLANES:
  first pixel of the tile's planes; PICTURE: which corrections; COARSE: first byte of its coarsest phase; PIXELS: first
  byte of the picture in the buffer of pixels; TOP, LEFT: the tile's place in the picture, in pixels; ROWS, COLUMNS of
  the picture.
- streams [streams, 4]: TILE; NUMBER in the tile; BATCH: first batch of 32 pixels in the buffer of a band's parameters;
  PARAMETER: the first number there, BATCH * OUTPUTS * LANES. It is given, and not worked out, so that the compiler does
  not know how it is aligned: otherwise it would load the numbers of several lanes at a time, and give lanes that do the
  same work to other threads.

`scale` is that of the subsampled tile, `level` the one that has its biases and corrections.

Planes are int16 [pixels, PITCH] by tile, row by row: Y, Co, Cg, and one that is not used. Grey has Y alone there.
"""

from __future__ import annotations

import triton
import triton.language as tl

LANES = tl.constexpr(32)
OUTPUTS = tl.constexpr(16)
"""Outputs of a group, one of them padding: column 5 * q + k is component k of channel q."""
PITCH = tl.constexpr(4)
COMPONENTS = tl.constexpr(8)
"""Components of a mixture, three of them padding."""

HEIGHT, WIDTH, STREAMS, PLANES, PICTURE, COARSE, PIXELS, TOP, LEFT, ROWS, COLUMNS = map(tl.constexpr, range(11))
TILE_FIELDS = tl.constexpr(11)
TILE, NUMBER, BATCH, PARAMETER = map(tl.constexpr, range(4))
STREAM_FIELDS = tl.constexpr(4)

CHANNEL, ROW, COLUMN, PHASE_ROW, PHASE_COLUMN, NEAREST = map(tl.constexpr, range(6))
"""Rows of a window, int32 [6, inputs]: the channel of a neighbour (3 + channel: its base; 6: padding), its place in its
phase relative to the predicted pixel's, its phase, and its channel where it is one of the nearest, else -1."""
LEVEL = tl.constexpr(3)


@triton.jit
def _phase_size(size, scale, parity):
    """Rows or columns of a phase; 0 where size <= parity << scale."""
    return (size + ((2 - parity) << scale) - 1) >> (scale + 1)


@triton.jit
def _tile_size(tiles, tile):
    row = tiles + tile * TILE_FIELDS
    return tl.load(row + HEIGHT).to(tl.int32), tl.load(row + WIDTH).to(tl.int32)


@triton.jit
def _run(tiles, tile, streams, stream, height, width, scale, row, column):
    """First pixel, number of pixels and columns of a stream's run in a band (4.2)."""
    columns = _phase_size(width, scale, column)
    pixels = (_phase_size(height, scale, row) * columns).to(tl.int64)
    number = tl.load(streams + stream * STREAM_FIELDS + NUMBER)
    count = tl.load(tiles + tile * TILE_FIELDS + STREAMS)
    start = number * pixels // count
    stop = (number + 1) * pixels // count
    return start.to(tl.int32), (stop - start).to(tl.int32), columns


# Colour (3.1).


@triton.jit
def _to_ycocg(source, active, CHANNELS: tl.constexpr):
    """Y, Co, Cg of the bytes at `source`; three times Y where there is grey alone."""
    if CHANNELS == 1:
        luma = tl.load(source, mask=active, other=0).to(tl.int32) - 128
        return luma, luma, luma
    else:
        r = tl.load(source, mask=active, other=0).to(tl.int32)
        g = tl.load(source + 1, mask=active, other=0).to(tl.int32)
        b = tl.load(source + 2, mask=active, other=0).to(tl.int32)
        co = r - b
        t = b + (co >> 1)
        cg = g - t
        return t + (cg >> 1) - 128, co, cg


@triton.jit
def _inside(tiles, tile, index, width, active):
    """Where a tile's pixels are in the buffer of pixels, counted in pixels from PIXELS, and which of them are in it."""
    row = tiles + tile * TILE_FIELDS
    y = tl.load(row + TOP) + index // width
    x = tl.load(row + LEFT) + index % width
    columns = tl.load(row + COLUMNS)
    return y * columns + x, active & (y >= 0) & (y < tl.load(row + ROWS)) & (x >= 0) & (x < columns)


@triton.jit(do_not_specialize=["blocks"])
def split_colours(pixels, planes, ranges, tiles, blocks, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):
    """Pixels uint8 to planes, and each tile's least and greatest values int32 [tiles, CHANNELS, 2] into `ranges`."""
    tile = tl.program_id(0) // blocks
    height, width = _tile_size(tiles, tile)
    index = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    place, active = _inside(tiles, tile, index, width, index < height * width)
    source = pixels + tl.load(tiles + tile * TILE_FIELDS + PIXELS) + place * CHANNELS
    y, co, cg = _to_ycocg(source, active, CHANNELS)
    target = planes + (tl.load(tiles + tile * TILE_FIELDS + PLANES) + index) * PITCH
    ranges += tile * (2 * CHANNELS)
    _put(target, ranges, y, active)
    if CHANNELS == 3:
        _put(target + 1, ranges + 2, co, active)
        _put(target + 2, ranges + 4, cg, active)


@triton.jit
def _put(target, limits, value, active):
    """Store a channel, and widen its range."""
    tl.store(target, value.to(tl.int16), mask=active)
    tl.atomic_min(limits, tl.min(tl.where(active, value, 32767), axis=0))
    tl.atomic_max(limits + 1, tl.max(tl.where(active, value, -32768), axis=0))


@triton.jit(do_not_specialize=["blocks", "scales"])
def place_coarse(coarse, planes, tiles, blocks, scales, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):
    """The stored pixels, those with both coordinates multiples of 2**scales, into the planes."""
    tile = tl.program_id(0) // blocks
    height, width = _tile_size(tiles, tile)
    rows = (height + (1 << scales) - 1) >> scales
    columns = (width + (1 << scales) - 1) >> scales
    index = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    active = index < rows * columns
    source = coarse + tl.load(tiles + tile * TILE_FIELDS + COARSE) + index * CHANNELS
    y, co, cg = _to_ycocg(source, active, CHANNELS)
    place = ((index // columns) << scales) * width + ((index % columns) << scales)
    target = planes + (tl.load(tiles + tile * TILE_FIELDS + PLANES) + place) * PITCH
    tl.store(target, y.to(tl.int16), mask=active)
    if CHANNELS == 3:
        tl.store(target + 1, co.to(tl.int16), mask=active)
        tl.store(target + 2, cg.to(tl.int16), mask=active)


@triton.jit(do_not_specialize=["blocks"])
def merge_colours(planes, pixels, tiles, blocks, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):
    """Planes to pixels uint8, modulo 256; what lies outside the picture is left out."""
    tile = tl.program_id(0) // blocks
    height, width = _tile_size(tiles, tile)
    index = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    place, active = _inside(tiles, tile, index, width, index < height * width)
    target = pixels + tl.load(tiles + tile * TILE_FIELDS + PIXELS) + place * CHANNELS
    source = planes + (tl.load(tiles + tile * TILE_FIELDS + PLANES) + index) * PITCH
    luma = tl.load(source, mask=active, other=0).to(tl.int32) + 128
    if CHANNELS == 1:
        tl.store(target, (luma & 255).to(tl.uint8), mask=active)
    else:
        co = tl.load(source + 1, mask=active, other=0).to(tl.int32)
        cg = tl.load(source + 2, mask=active, other=0).to(tl.int32)
        t = luma - (cg >> 1)
        b = t - (co >> 1)
        tl.store(target, ((b + co) & 255).to(tl.uint8), mask=active)
        tl.store(target + 1, ((t + cg) & 255).to(tl.uint8), mask=active)
        tl.store(target + 2, (b & 255).to(tl.uint8), mask=active)


# Context and networks (4.3 to 5.3).


@triton.jit(do_not_specialize=["blocks", "scale", "row", "column"])
def gather_band(
    planes,
    inputs,
    bases,
    tiles,
    streams,
    window,
    blocks,
    scale,
    row,
    column,
    K: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Inputs int8 [batches, LANES, K] of a band's network, and bases int16 [batches, 3, LANES] (4.3, 4.4)."""
    stream = tl.program_id(0) // blocks
    first = (tl.program_id(0) % blocks) * BLOCK
    tile = tl.load(streams + stream * STREAM_FIELDS + TILE)
    height, width = _tile_size(tiles, tile)
    start, count, band_columns = _run(tiles, tile, streams, stream, height, width, scale, row, column)
    if first >= count:
        return
    p = first + tl.arange(0, BLOCK)
    active = p < count
    k = tl.arange(0, K)
    channel = tl.load(window + CHANNEL * K + k)
    phase_row = tl.load(window + PHASE_ROW * K + k)
    phase_column = tl.load(window + PHASE_COLUMN * K + k)
    rows = _phase_size(height, scale, phase_row)
    columns = _phase_size(width, scale, phase_column)
    # A phase without pixels is stood in for by phase 00, which has at least one.
    empty = (rows == 0) | (columns == 0)
    rows = tl.where(empty, _phase_size(height, scale, 0), rows)
    columns = tl.where(empty, _phase_size(width, scale, 0), columns)
    phase_row = tl.where(empty, 0, phase_row)
    phase_column = tl.where(empty, 0, phase_column)
    y = ((start + p) // band_columns)[:, None] + tl.load(window + ROW * K + k)[None, :]
    y = tl.minimum(tl.maximum(y, 0), (rows - 1)[None, :])
    x = ((start + p) % band_columns)[:, None] + tl.load(window + COLUMN * K + k)[None, :]
    x = tl.minimum(tl.maximum(x, 0), (columns - 1)[None, :])
    place = ((2 * y + phase_row[None, :]) << scale) * width + ((2 * x + phase_column[None, :]) << scale)
    there = active[:, None] & (channel < CHANNELS)[None, :]
    planes += tl.load(tiles + tile * TILE_FIELDS + PLANES) * PITCH
    value = tl.load(planes + place.to(tl.int64) * PITCH + channel[None, :], mask=there, other=0).to(tl.int32)
    nearest = tl.load(window + NEAREST * K + k)
    y_base = (tl.sum(tl.where((nearest == 0)[None, :], value, 0), axis=1) + 2) >> 2
    co_base = (tl.sum(tl.where((nearest == 1)[None, :], value, 0), axis=1) + 2) >> 2
    cg_base = (tl.sum(tl.where((nearest == 2)[None, :], value, 0), axis=1) + 2) >> 2
    difference = value - _by_channel(channel, y_base, co_base, cg_base)
    level = _by_channel(channel - LEVEL, y_base, co_base >> 1, cg_base >> 1)
    x = tl.where((channel >= LEVEL)[None, :], level, tl.minimum(tl.maximum(difference, -128), 127))
    batch = tl.load(streams + stream * STREAM_FIELDS + BATCH)
    tl.store(inputs + (batch * LANES + p)[:, None] * K + k[None, :], x.to(tl.int8), mask=active[:, None])
    target = bases + (batch + p // 32) * (3 * LANES) + p % 32
    tl.store(target, y_base.to(tl.int16), mask=active)
    tl.store(target + LANES, co_base.to(tl.int16), mask=active)
    tl.store(target + 2 * LANES, cg_base.to(tl.int16), mask=active)


@triton.jit
def _by_channel(channel, y, co, cg):
    """[pixels, columns] of y, co and cg [pixels], by each column's channel; cg where that is none of the first two."""
    other = tl.where((channel == 1)[None, :], co[:, None], cg[:, None])
    return tl.where((channel == 0)[None, :], y[:, None], other)


@triton.jit
def _load_inputs(inputs, batch, p, active, K: tl.constexpr):
    k = tl.arange(0, K)
    return tl.load(inputs + (batch * LANES + p)[:, None] * K + k[None, :], mask=active[:, None], other=0)


@triton.jit
def _layer(x, weights, biases, moves, last, multipliers, K: tl.constexpr, W: tl.constexpr):
    """Activations int8 [pixels, W] of a hidden layer for inputs int8 [pixels, K], weights int8 [W, K].

    moves: int32 [W], added to the biases of the `last` hidden layer.
    """
    if W <= 128:
        return _activations(x, weights, biases, moves, last, multipliers, tl.arange(0, W), K)
    else:  # in halves, which take half the registers and shared memory
        o = 2 * tl.arange(0, W // 2)
        even = _activations(x, weights, biases, moves, last, multipliers, o, K)
        odd = _activations(x, weights, biases, moves, last, multipliers, o + 1, K)
        return tl.reshape(tl.join(even, odd), (x.shape[0], W))


@triton.jit
def _activations(x, weights, biases, moves, last, multipliers, o, K: tl.constexpr):
    """Those of channels `o` alone (_layer). Models are proved to keep the product within 32 bits (7.3)."""
    k = tl.arange(0, K)
    total = tl.dot(x, tl.load(weights + o[None, :] * K + k[:, None]), out_dtype=tl.int32)
    bias = tl.load(biases + o) + tl.where(last, tl.load(moves + o), 0)
    scaled = ((total + bias[None, :]) * tl.load(multipliers + o)[None, :] + 8192) >> 14
    return tl.minimum(tl.maximum(scaled, 0), 127).to(tl.int8)


@triton.jit
def _hidden(x, weights, numbers, moves, level, depth, K: tl.constexpr, W: tl.constexpr):
    """Activations int8 [pixels, W] of the last hidden layer, for inputs int8 [pixels, K].

    weights: int8, one after the other [W, K], [depth - 1, W, W] and [60, W]. numbers: int32, biases [5, W] and
    multipliers [W]; for each further hidden layer both, [2, W]; for the outputs [2, 60]. moves: int32 [W], what the
    picture's corrections add to biases of the last hidden layer (5.2).
    """
    h = _layer(x, weights, numbers + level * W, moves, depth == 1, numbers + 5 * W, K, W)
    weights += W * K
    numbers += 6 * W
    for layer in range(depth - 1):
        biases = numbers + layer * (2 * W)
        h = _layer(h, weights + layer * (W * W), biases, moves, layer == depth - 2, biases + W, W, W)
    return h


@triton.jit
def _outputs(h, weights, numbers, corrections, group, o, depth, K: tl.constexpr, W: tl.constexpr):
    """Corrected outputs `o` [OUTPUTS] of a group, int32 [pixels, OUTPUTS]; 0 where o is none of 0..14."""
    j = tl.arange(0, W)
    there = (o >= 0) & (o < 15)
    row = group * 15 + o
    at = weights + W * K + (depth - 1) * (W * W) + row[None, :] * W + j[:, None]
    weight = tl.load(at, mask=there[None, :], other=0)
    last = numbers + 6 * W + (depth - 1) * (2 * W) + row
    bias = tl.load(last, mask=there, other=0)
    multiplier = tl.load(last + 60, mask=there, other=0)
    fine = ((tl.dot(h, weight, out_dtype=tl.int32) + bias[None, :]) * multiplier[None, :] + 2048) >> 12
    gain = tl.load(corrections + row, mask=there, other=0).to(tl.int32) + 64
    offset = tl.load(corrections + 60 + row, mask=there, other=0).to(tl.int32) * 512 + 512
    corrected = (fine * gain[None, :] + offset[None, :]) >> 10  # within 2**27 before the shift (5.2)
    return tl.minimum(tl.maximum(corrected, -32768), 32767)


@triton.jit
def _weights(logit, o, ranges, exponential, CHANNELS: tl.constexpr):
    """Weights uint32 [pixels, OUTPUTS] of a mixture's components (6.2)."""
    channel = (o // 5)[None, :]
    top = tl.max(tl.where(channel == 0, logit, -32768), axis=1)[:, None]
    for q in tl.static_range(1, CHANNELS):
        top = tl.where(channel == q, tl.max(tl.where(channel == q, logit, -32768), axis=1)[:, None], top)
    below = tl.minimum(tl.maximum(top - logit, 0), 127)
    share = tl.load(exponential + below)
    weight = tl.zeros_like(share).to(tl.uint32)
    for q in tl.static_range(CHANNELS):
        mine = channel == q
        values = tl.load(ranges + 2 * q + 1) - tl.load(ranges + 2 * q) + 1
        total = tl.sum(tl.where(mine, share, 0), axis=1)
        # At most 2**27 / 2**11 * 2**16, which takes 32 bits without a sign.
        unit = ((134217727 // total).to(tl.uint32) * (65536 - values).to(tl.uint32)) >> 16
        weight = tl.where(mine, (share.to(tl.uint32) * unit[:, None]) >> 11, weight)
    return weight


# Mixture (6).


@triton.jit
def _logistic(distance, mantissa, shift, tail):
    """The cumulative distribution of a component, 0..65535 (6.1)."""
    position = tl.minimum((tl.abs(distance) * mantissa) >> shift, 8191)
    knot = tl.load(tail + (position >> 7))  # TAIL[j] * 2**16 + TAIL[j] - TAIL[j + 1]
    below = (knot >> 16) - (((knot & 65535) * (position & 127)) >> 7)
    return tl.where(distance < 0, below, 65535 - below)


@triton.jit
def _part(distance, mantissa, shift, weight, tail):
    """What a component adds to the cumulative: a product of two 16-bit numbers, shifted."""
    return ((weight * _logistic(distance, mantissa, shift, tail).to(tl.uint32)) >> 16).to(tl.int32)


@triton.jit(
    do_not_specialize=["blocks", "scale", "row", "column", "level", "band", "depth"],
    do_not_specialize_on_alignment=["first_batch"],
)
def encode_band(
    inputs,
    planes,
    bases,
    intervals,
    first_batch,
    tiles,
    streams,
    ranges,
    weights,
    numbers,
    corrections,
    moves,
    exponential,
    mantissas,
    tail,
    blocks,
    scale,
    row,
    column,
    level,
    band,
    depth,
    K: tl.constexpr,
    W: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Intervals of a band's symbols, cumulative | frequency << 16 (7.1), from planes that hold the whole image.

    intervals: int32 [batches, CHANNELS, LANES]; 0 for a symbol that is not coded. first_batch: int64 [streams], where
    each stream's run in this band begins in them.
    """
    stream = tl.program_id(0) // blocks
    first = (tl.program_id(0) % blocks) * BLOCK
    tile = tl.load(streams + stream * STREAM_FIELDS + TILE)
    height, width = _tile_size(tiles, tile)
    start, count, columns = _run(tiles, tile, streams, stream, height, width, scale, row, column)
    if first >= count:
        return
    p = first + tl.arange(0, BLOCK)
    active = p < count
    i = (start + p) // columns
    j = (start + p) % columns
    ranges += tile * (2 * CHANNELS)
    batch = tl.load(streams + stream * STREAM_FIELDS + BATCH)
    x = _load_inputs(inputs, batch, p, active, K)
    corrected = (tl.load(tiles + tile * TILE_FIELDS + PICTURE) * 5 + level) * 3 + band
    corrections += corrected * 120
    moves += corrected * W
    o = tl.arange(0, OUTPUTS)
    h = _hidden(x, weights, numbers, moves, level, depth, K, W)
    index = tl.minimum(tl.maximum(_outputs(h, weights, numbers, corrections, 0, o, depth, K, W), 0), 87)
    mean = _outputs(h, weights, numbers, corrections, 1, o, depth, K, W)
    logit = _outputs(h, weights, numbers, corrections, 2, o, depth, K, W)
    weight = _weights(logit, o, ranges, exponential, CHANNELS)

    place = ((2 * i + row) << scale) * width + ((2 * j + column) << scale)
    planes += tl.load(tiles + tile * TILE_FIELDS + PLANES) * PITCH
    pixel = planes + place.to(tl.int64) * PITCH
    value = tl.load(pixel, mask=active, other=0).to(tl.int32)
    base = bases + (batch + p // 32) * (3 * LANES) + p % 32
    y_base = tl.load(base, mask=active, other=0).to(tl.int32)
    centre = mean
    if CHANNELS == 3:
        co = tl.load(pixel + 1, mask=active, other=0).to(tl.int32)
        cg = tl.load(pixel + 2, mask=active, other=0).to(tl.int32)
        co_base = tl.load(base + LANES, mask=active, other=0).to(tl.int32)
        cg_base = tl.load(base + 2 * LANES, mask=active, other=0).to(tl.int32)
        # Channels in columns: `a` and `b` of group 3 are wanted in those of Co and Cg, five further on; `d` in its own.
        by_y = _outputs(h, weights, numbers, corrections, 3, o - 5, depth, K, W)
        by_y = tl.minimum(tl.maximum(by_y, -256), 255)
        by_co = _outputs(h, weights, numbers, corrections, 3, o, depth, K, W)
        by_co = tl.minimum(tl.maximum(by_co, -256), 255)
        by_co = tl.where((o >= 10)[None, :], by_co, 0)
        shift = by_y * (value - y_base)[:, None] + by_co * (co - co_base)[:, None]
        centre += (shift + 2) >> 2
        distance = 16 * (_by_channel(o // 5, value, co, cg) - _by_channel(o // 5, y_base, co_base, cg_base)) - 8
    else:
        distance = (16 * (value - y_base) - 8)[:, None]
    distance = distance - tl.minimum(tl.maximum(centre, -16383), 16383)
    mantissa = tl.load(mantissas + (index & 7))
    power = (index >> 3) + 2
    below = _part(distance, mantissa, power, weight, tail)
    above = _part(distance + 16, mantissa, power, weight, tail)
    target = intervals + tl.load(first_batch + stream) * (CHANNELS * LANES) + (p // 32) * (CHANNELS * LANES) + p % 32
    padded = p < ((count + 31) // 32) * 32
    for q in tl.static_range(CHANNELS):
        if q == 1:
            value = co
        if q == 2:
            value = cg
        mine = (o // 5 == q)[None, :]
        low = tl.load(ranges + 2 * q)
        high = tl.load(ranges + 2 * q + 1)
        under = tl.sum(tl.where(mine, below, 0), axis=1) + value - low
        under = tl.where(value <= low, 0, under)
        over = tl.sum(tl.where(mine, above, 0), axis=1) + value + 1 - low
        over = tl.where(value >= high, 65536, over)
        interval = under.to(tl.uint32) | ((over - under).to(tl.uint32) << 16)
        # A constant channel has the interval 0..65536, whose frequency does not fit: it is not coded.
        interval = tl.where(active & (low < high), interval, 0)
        tl.store(target + q * LANES, interval.to(tl.int32, bitcast=True), mask=padded)


@triton.jit(do_not_specialize=["blocks", "scale", "row", "column", "level", "band", "depth"])
def predict_band(
    inputs,
    mixtures,
    others,
    tiles,
    streams,
    ranges,
    weights,
    numbers,
    corrections,
    moves,
    exponential,
    blocks,
    scale,
    row,
    column,
    level,
    band,
    depth,
    K: tl.constexpr,
    W: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Parameters of a band's mixtures, for decode_band.

    mixtures: int32 [batches, OUTPUTS, LANES], mean | weight << 16. others: int16 of the same shape, scale index |
    coefficient << 7, where a to d of a component are kept with its Y, Co and Cg.
    """
    stream = tl.program_id(0) // blocks
    first = (tl.program_id(0) % blocks) * BLOCK
    tile = tl.load(streams + stream * STREAM_FIELDS + TILE)
    height, width = _tile_size(tiles, tile)
    _, count, _ = _run(tiles, tile, streams, stream, height, width, scale, row, column)
    if first >= count:
        return
    p = first + tl.arange(0, BLOCK)
    active = p < count
    batch = tl.load(streams + stream * STREAM_FIELDS + BATCH)
    x = _load_inputs(inputs, batch, p, active, K)
    corrected = (tl.load(tiles + tile * TILE_FIELDS + PICTURE) * 5 + level) * 3 + band
    corrections += corrected * 120
    moves += corrected * W
    o = tl.arange(0, OUTPUTS)
    h = _hidden(x, weights, numbers, moves, level, depth, K, W)
    index = tl.minimum(tl.maximum(_outputs(h, weights, numbers, corrections, 0, o, depth, K, W), 0), 87)
    mean = _outputs(h, weights, numbers, corrections, 1, o, depth, K, W)
    logit = _outputs(h, weights, numbers, corrections, 2, o, depth, K, W)
    weight = _weights(logit, o, ranges + tile * (2 * CHANNELS), exponential, CHANNELS)
    if CHANNELS == 3:
        coefficient = _outputs(h, weights, numbers, corrections, 3, o, depth, K, W)
        index |= tl.minimum(tl.maximum(coefficient, -256), 255) * 128

    target = ((batch + p // 32) * (OUTPUTS * LANES) + p % 32)[:, None] + (o * LANES)[None, :]
    there = active[:, None] & (o < 5 * CHANNELS)[None, :]
    mixture = (mean & 65535).to(tl.uint32) | (weight << 16)
    tl.store(mixtures + target, mixture.to(tl.int32, bitcast=True), mask=there)
    tl.store(others + target, index.to(tl.int16), mask=there)


# Entropy coder (7).


@triton.jit(do_not_specialize=["scale", "row", "column"], do_not_specialize_on_alignment=["ends"])
def decode_band(
    planes,
    mixtures,
    others,
    bases,
    states,
    cursors,
    ends,
    words,
    tiles,
    streams,
    ranges,
    mantissas,
    tail,
    scale,
    row,
    column,
    CHANNELS: tl.constexpr,
):
    """Decode a band into the planes, a stream a program.

    states: int32 [streams, LANES], kept from band to band, none below 65536. cursors: int64 [streams], the next of
    `words` int16; it is moved on past `ends` int64 [streams] where words are missing, but none is read there.
    """
    stream = tl.program_id(0)
    tile = tl.load(streams + stream * STREAM_FIELDS + TILE)
    height, width = _tile_size(tiles, tile)
    start, count, columns = _run(tiles, tile, streams, stream, height, width, scale, row, column)
    planes += tl.load(tiles + tile * TILE_FIELDS + PLANES) * PITCH
    ranges += tile * (2 * CHANNELS)
    parameter = tl.load(streams + stream * STREAM_FIELDS + PARAMETER)
    mixtures += parameter
    others += parameter
    bases += tl.load(streams + stream * STREAM_FIELDS + BATCH) * (3 * LANES)
    lane = tl.arange(0, LANES)
    component = tl.arange(0, COMPONENTS)[:, None]
    state = tl.load(states + stream * LANES + lane).to(tl.uint32, bitcast=True)
    cursor = tl.load(cursors + stream)
    end = tl.load(ends + stream)
    for first in range(0, count, LANES):
        p = first + lane
        active = p < count
        there = (component < 5) & active[None, :]
        i = (start + p) // columns
        j = (start + p) % columns
        place = ((2 * i + row) << scale) * width + ((2 * j + column) << scale)
        pixel = planes + place.to(tl.int64) * PITCH
        y = tl.zeros_like(p)
        co = tl.zeros_like(p)
        by_y = tl.zeros_like(component + p[None, :])
        for q in tl.static_range(CHANNELS):
            at = (first * OUTPUTS + q * (5 * LANES)) + component * LANES + lane[None, :]
            mixture = tl.load(mixtures + at, mask=there, other=0)
            other = tl.load(others + at, mask=there, other=0).to(tl.int32)
            base = tl.load(bases + first * 3 + q * LANES + lane, mask=active, other=0).to(tl.int32)
            mean = (mixture << 16) >> 16
            weight = mixture.to(tl.uint32, bitcast=True) >> 16
            mantissa = tl.load(mantissas + (other & 7))
            power = ((other & 127) >> 3) + 2
            if q == 0:
                shift = by_y
            elif q == 1:
                shift = by_y * y[None, :]
            else:
                shift = by_y * y[None, :] + (other >> 7) * co[None, :]
            by_y = other >> 7  # a, then b: each comes with the channel before the one that it is for
            centre = tl.minimum(tl.maximum(mean + ((shift + 2) >> 2), -16383), 16383)
            low = tl.load(ranges + 2 * q)
            high = tl.load(ranges + 2 * q + 1)
            slot = (state & 65535).to(tl.int32)
            # The greatest value whose cumulative is at most the slot, by halving what is left of the range. `above` is
            # the cumulative of the least value known to be too great: at the end the one after `found`.
            found = tl.zeros_like(p) + low
            below = tl.zeros_like(p)
            above = tl.zeros_like(p) + 65536
            for bit in range(_bits(high - low)):
                trial = found + ((1 << (_bits(high - low) - 1)) >> bit)
                distance = (16 * (trial - base) - 8)[None, :] - centre
                inside = tl.sum(_part(distance, mantissa, power, weight, tail), axis=0) + trial - low
                inside = tl.where(trial > high, 65536, inside)
                fits = inside <= slot
                found = tl.where(fits, trial, found)
                below = tl.where(fits, inside, below)
                above = tl.where(fits, above, inside)
            # At most 2**16 * (2**16 - 1) + 2**16 - 1: 32 bits without a sign.
            advanced = (above - below).to(tl.uint32) * (state >> 16) + (slot - below).to(tl.uint32)
            state = tl.where(active, advanced, state)
            short = state < 65536
            order = tl.cumsum(short.to(tl.int32), axis=0)
            next_word = cursor + order - 1
            word = tl.load(words + next_word, mask=short & (next_word < end), other=0).to(tl.uint32) & 65535
            state = tl.where(short, (state << 16) | word, state)
            cursor += tl.max(order, axis=0)
            tl.store(pixel + q, found.to(tl.int16), mask=active)
            if q == 0:
                y = found - base
            if q == 1:
                co = found - base
    tl.store(states + stream * LANES + lane, state.to(tl.int32, bitcast=True))
    tl.store(cursors + stream, cursor)


@triton.jit
def _bits(number):
    """Bits of a number of 0..511."""
    bits = (number > 0).to(tl.int32) + (number > 1).to(tl.int32) + (number > 3).to(tl.int32)
    bits += (number > 7).to(tl.int32) + (number > 15).to(tl.int32) + (number > 31).to(tl.int32)
    return bits + (number > 63).to(tl.int32) + (number > 127).to(tl.int32) + (number > 255).to(tl.int32)


@triton.jit(do_not_specialize=["count"])
def encode_streams(intervals, first_batch, words, cursors, states, count, CHANNELS: tl.constexpr):
    """The words of every stream, from its last symbol to its first, a stream a program.

    first_batch: int64 [6, count], where each stream's batches of each scale begin, coarsest first, and where they end.
    words: int16 [batches, CHANNELS, LANES], each stream's from the end of its part down. cursors: int64 [5, count],
    where the words of each scale begin. states: int32 [count, LANES], in the end.
    """
    stream = tl.program_id(0)
    lane = tl.arange(0, LANES)
    state = tl.zeros_like(lane).to(tl.uint32) + 65536
    cursor = tl.load(first_batch + 5 * count + stream) * (CHANNELS * LANES)
    for index in range(5):
        first = tl.load(first_batch + (4 - index) * count + stream)
        batches = (tl.load(first_batch + (5 - index) * count + stream) - first).to(tl.int32)
        for done in range(batches):
            batch = intervals + (first + (batches - 1 - done)) * (CHANNELS * LANES) + lane
            for q in tl.static_range(CHANNELS):
                interval = tl.load(batch + (CHANNELS - 1 - q) * LANES).to(tl.uint32, bitcast=True)
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
        tl.store(cursors + (4 - index) * count + stream, cursor)
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
