// The pyramid of a tile (docs/format.md, clauses 3 and 4).
#include "pyramid.hpp"

#include <algorithm>

namespace llicti {

namespace {

void read_row(const uint8_t* from, int y, Image& image) {
    const int width = image[0].width();
    if (image.size() == 1) {
        int16_t* grey = image[0].row(y);
        for (int x = 0; x < width; x++) grey[x] = int16_t(from[x] - kYOffset);
        return;
    }
    int16_t *luma = image[0].row(y), *orange = image[1].row(y), *green = image[2].row(y);
    for (int x = 0; x < width; x++) {
        const int r = from[3 * x], g = from[3 * x + 1], b = from[3 * x + 2];
        const int co = r - b, t = b + (co >> 1), cg = g - t;
        luma[x] = int16_t(t + (cg >> 1) - kYOffset);
        orange[x] = int16_t(co);
        green[x] = int16_t(cg);
    }
}

void write_row(const Image& image, int y, int first, int width, uint8_t* to) {
    if (image.size() == 1) {
        const int16_t* grey = image[0].row(y) + first;
        for (int x = 0; x < width; x++) to[x] = uint8_t(grey[x] + kYOffset);
        return;
    }
    const int16_t *luma = image[0].row(y) + first, *orange = image[1].row(y) + first, *green = image[2].row(y) + first;
    for (int x = 0; x < width; x++) {
        const int co = orange[x], cg = green[x], t = luma[x] + kYOffset - (cg >> 1);
        const int b = t - (co >> 1);
        to[3 * x] = uint8_t(b + co);
        to[3 * x + 1] = uint8_t(t + cg);
        to[3 * x + 2] = uint8_t(b);
    }
}

// Calls visit(y) for every row of `height` of `width` pixels, a run of rows a thread.
template <class Visit>
void for_each_row(int height, int width, ThreadPool& pool, Visit visit) {
    const int parts = pool.size();
    const auto visit_part = [&](int part) {
        const int stop = int(int64_t(part + 1) * height / parts);
        for (int y = int(int64_t(part) * height / parts); y < stop; y++) visit(y);
    };
    pool.run(parts, visit_part, is_light(height, width));
}

}  // namespace

Image new_image(int height, int width, int channels) {
    Image image;
    for (int c = 0; c < channels; c++) image.emplace_back(height, width);
    return image;
}

Image read_pixels(const Pixels& pixels, ThreadPool& pool) {
    Image image = new_image(pixels.height, pixels.width, pixels.channels);
    for_each_row(pixels.height, pixels.width, pool,
                 [&](int y) { read_row(pixels.data + y * pixels.stride, y, image); });
    return image;
}

void write_pixels(const Image& image, int top, int left, const Pixels& pixels, ThreadPool& pool) {
    const int first_row = std::max(0, -top), height = std::min(image[0].height(), pixels.height - top) - first_row;
    const int first = std::max(0, -left), width = std::min(image[0].width(), pixels.width - left) - first;
    if (height <= 0 || width <= 0) return;
    uint8_t* corner = pixels.data + (top + first_row) * pixels.stride + ptrdiff_t(left + first) * pixels.channels;
    for_each_row(height, width, pool,
                 [&](int y) { write_row(image, first_row + y, first, width, corner + y * pixels.stride); });
}

std::vector<Bounds> find_bounds(const Image& image, ThreadPool& pool) {
    std::vector<Bounds> bounds(image.size());
    const auto find = [&](int c) {
        const Plane& plane = image[c];
        int16_t low = plane.row(0)[0], high = low;
        for (int y = 0; y < plane.height(); y++) {
            const int16_t* values = plane.row(y);
            for (int x = 0; x < plane.width(); x++) {
                low = std::min(low, values[x]);
                high = std::max(high, values[x]);
            }
        }
        bounds[c] = {low, high};
    };
    pool.run(int(image.size()), find, is_light(image[0].height(), image[0].width()));
    return bounds;
}

std::vector<Level> build_pyramid(Image& image, ThreadPool& pool) {
    std::vector<Level> levels;
    for (int s = 0; s < kLevels; s++) {
        Image& whole = s ? levels[s - 1].phase[0] : image;
        Level level(whole[0].height(), whole[0].width(), int(whole.size()));
        for_each_pair(whole, level, pool, [](int16_t& from, int16_t& to) { to = from; });
        for (int i = 0; i < 4; i++) level.fill_margin(i);
        levels.push_back(std::move(level));
    }
    return levels;
}

BandContext band_context(const Model& model, const Adaptation& adaptation, const Band& band, int index, Level& level,
                         const std::vector<Bounds>& bounds) {
    Image& target = level.phase[band.phase];
    BandContext context{};
    context.model = &model;
    context.band = &band;
    context.adaptation = &adaptation[index][&band - model.bands.data()];
    context.level = index;
    context.channels = int(target.size());
    context.width = target[0].width();
    context.target_stride = target[0].stride();
    for (size_t c = 0; c < target.size(); c++) {
        context.bounds[c] = bounds[c];
        context.target[c] = target[c].row(0);
    }
    for (size_t n = 0; n < band.neighbours.size(); n++) {
        const Neighbour& neighbour = band.neighbours[n];
        // A phase without pixels is stood in for by phase 00, which has at least one.
        const Image& from = level.phase[level.phase[neighbour.phase][0].empty() ? 0 : neighbour.phase];
        context.sources[n].stride = from[0].stride();
        for (size_t c = 0; c < target.size(); c++) {
            context.sources[n].origin[c] = from[c].row(neighbour.dy) + neighbour.dx;
        }
    }
    return context;
}

int64_t band_pixels(const Level& level, const Band& band) {
    const Plane& plane = level.phase[band.phase][0];
    return int64_t(plane.height()) * plane.width();
}

}  // namespace llicti
