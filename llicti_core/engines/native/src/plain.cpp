// Plain bits, packed row by row.
#include "plain.hpp"

#include "problem.hpp"

namespace llicti {

namespace {

// A row of a tile's pixels on the lattice of a level: those from `first` on, every `step`th of `columns`.
struct LatticeRow {
    int first, step, columns;

    LatticeRow(const PlainLevel& part, int row, int columns)
        : first(part.coarsest || row & 1 ? 0 : 1), step(first + 1), columns(columns) {}

    int count() const { return (columns - first + step - 1) / step; }
};

class BitWriter {
public:
    explicit BitWriter(uint8_t* to) : to_(to) {}

    void put(unsigned value, int bits) {
        held_ = held_ << bits | value;
        count_ += bits;
        while (count_ >= 8) {
            count_ -= 8;
            *to_++ = uint8_t(held_ >> count_);
        }
    }

    // Fills the last byte with bits that are 0.
    void close() {
        if (count_) put(0, 8 - count_);
    }

private:
    uint8_t* to_;
    uint32_t held_ = 0;
    int count_ = 0;  // bits held, 0 to 7 between calls
};

class BitReader {
public:
    explicit BitReader(const uint8_t* from) : from_(from) {}

    unsigned take(int bits) {
        if (count_ < bits) {
            held_ = held_ << 8 | *from_++;
            count_ += 8;
        }
        count_ -= bits;
        return held_ >> count_ & ((1u << bits) - 1);
    }

    void skip(size_t bits) {
        if (bits < size_t(count_)) {
            count_ -= int(bits);
            return;
        }
        bits -= size_t(count_);
        from_ += bits / 8;
        count_ = 0;
        if (bits % 8) take(int(bits % 8));
    }

    // Whether the bits that are left of the byte read last are 0.
    bool rest_is_zero() const { return !(held_ & ((1u << count_) - 1)); }

private:
    const uint8_t* from_;
    uint32_t held_ = 0;
    int count_ = 0;  // bits held
};

}  // namespace

size_t plain_size(const TileRect& tile, int channels, const PlainLevel& part) {
    const auto pixels = [&](int level) {
        return size_t(level_size(tile.height, level)) * size_t(level_size(tile.width, level));
    };
    const size_t added = pixels(part.level) - (part.coarsest ? 0 : pixels(part.level + 1));
    return (added * size_t(channels) * size_t(part.bits) + 7) / 8;
}

std::vector<uint8_t> pack_plain(const Pixels& pixels, const PlainLevel& part) {
    std::vector<uint8_t> bytes(plain_size({0, 0, pixels.height, pixels.width}, pixels.channels, part));
    BitWriter writer(bytes.data());
    const int rows = level_size(pixels.height, part.level), columns = level_size(pixels.width, part.level);
    for (int r = 0; r < rows; r++) {
        const LatticeRow row(part, r, columns);
        const uint8_t* from = pixels.at(r << part.level, row.first << part.level);
        const ptrdiff_t apart = ptrdiff_t(row.step << part.level) * pixels.channels;
        for (int left = row.count(); left > 0; left--, from += apart) {
            for (int c = 0; c < pixels.channels; c++) writer.put(from[c], part.bits);
        }
    }
    writer.close();
    return bytes;
}

void unpack_plain(const uint8_t* bytes, const PlainLevel& part, const TileRect& tile, int level, const Pixels& to) {
    BitReader reader(bytes);
    const int rows = level_size(tile.height, part.level), columns = level_size(tile.width, part.level);
    // Row (or column) n of the lattice is the view's top + (n << finer >> coarser), where the view has it.
    const int finer = std::max(0, part.level - level), coarser = std::max(0, level - part.level);
    const int top = tile.y >> level, left = tile.x >> level, skipped = (1 << coarser) - 1;
    const size_t pixel_bits = size_t(to.channels) * size_t(part.bits);
    for (int r = 0; r < rows; r++) {
        const LatticeRow row(part, r, columns);
        const int y = top + (r << finer >> coarser);
        if (r & skipped || y < 0 || y >= to.height) {
            reader.skip(size_t(row.count()) * pixel_bits);
            continue;
        }
        for (int column = row.first; column < columns; column += row.step) {
            const int x = left + (column << finer >> coarser);
            if (column & skipped || x < 0 || x >= to.width) {
                reader.skip(pixel_bits);
                continue;
            }
            uint8_t* pixel = to.at(y, x);
            for (int c = 0; c < to.channels; c++) pixel[c] = uint8_t(reader.take(part.bits));
        }
    }
    if (!reader.rest_is_zero()) throw FormatProblem("plain bits are followed by bits that are not 0");
}

}  // namespace llicti
