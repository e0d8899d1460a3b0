// The pyramid of a tile (docs/format.md, clauses 3 and 4).
#include "pyramid.hpp"

#include <algorithm>

namespace llicti {

Image new_image(int height, int width, int channels) { return Image(size_t(channels), Plane(height, width)); }

Image read_pixels(const Pixels& pixels) {
    Image image = new_image(pixels.height, pixels.width, pixels.channels);
    for (int y = 0; y < pixels.height; y++) {
        const uint8_t* from = pixels.data + y * pixels.stride;
        if (pixels.channels == 1) {
            int16_t* grey = image[0].row(y);
            for (int x = 0; x < pixels.width; x++) grey[x] = int16_t(from[x] - 128);
            continue;
        }
        int16_t *luma = image[0].row(y), *orange = image[1].row(y), *green = image[2].row(y);
        for (int x = 0; x < pixels.width; x++) {
            const int r = from[3 * x], g = from[3 * x + 1], b = from[3 * x + 2];
            const int co = r - b, t = b + (co >> 1), cg = g - t;
            luma[x] = int16_t(t + (cg >> 1) - 128);
            orange[x] = int16_t(co);
            green[x] = int16_t(cg);
        }
    }
    return image;
}

void write_pixels(const Image& image, const Pixels& pixels) {
    for (int y = 0; y < pixels.height; y++) {
        uint8_t* to = pixels.data + y * pixels.stride;
        if (pixels.channels == 1) {
            const int16_t* grey = image[0].row(y);
            for (int x = 0; x < pixels.width; x++) to[x] = uint8_t(grey[x] + 128);
            continue;
        }
        const int16_t *luma = image[0].row(y), *orange = image[1].row(y), *green = image[2].row(y);
        for (int x = 0; x < pixels.width; x++) {
            const int co = orange[x], cg = green[x], t = luma[x] + 128 - (cg >> 1);
            const int b = t - (co >> 1);
            to[3 * x] = uint8_t(b + co);
            to[3 * x + 1] = uint8_t(t + cg);
            to[3 * x + 2] = uint8_t(b);
        }
    }
}

std::vector<Range> find_ranges(const Image& image) {
    std::vector<Range> ranges;
    for (const Plane& plane : image) {
        int16_t low = plane.row(0)[0], high = low;
        for (int y = 0; y < plane.height(); y++) {
            const auto [least, most] = std::minmax_element(plane.row(y), plane.row(y) + plane.width());
            low = std::min(low, *least);
            high = std::max(high, *most);
        }
        ranges.push_back({low, high});
    }
    return ranges;
}

std::vector<Scale> build_pyramid(Image image) {
    std::vector<Scale> scales;
    for (int s = 0; s < kScales; s++) {
        scales.emplace_back(image[0].height(), image[0].width(), int(image.size()));
        for_each_pair(image, scales[s], [](int16_t& whole, int16_t& part) { part = whole; });
        for (int i = 0; i < 4; i++) scales[s].fill_margin(i);
        image = scales[s].phase[0];
    }
    return scales;
}

BandContext band_context(const Model& model, const Corrections& corrections, const Band& band, int index, Scale& scale,
                         const std::vector<Range>& ranges) {
    Image& target = scale.phase[band.phase];
    BandContext context{};
    context.model = &model;
    context.band = &band;
    context.correction = &corrections[index][&band - model.bands.data()];
    context.scale = index;
    context.channels = int(target.size());
    context.width = target[0].width();
    context.target_stride = target[0].stride();
    for (size_t c = 0; c < target.size(); c++) {
        context.ranges[c] = ranges[c];
        context.target[c] = target[c].row(0);
    }
    for (size_t n = 0; n < band.neighbours.size(); n++) {
        const Neighbour& neighbour = band.neighbours[n];
        // A phase without pixels is stood in for by phase 00, which has at least one.
        const Image& from = scale.phase[scale.phase[neighbour.phase][0].empty() ? 0 : neighbour.phase];
        context.sources[n].stride = from[0].stride();
        for (size_t c = 0; c < target.size(); c++) {
            context.sources[n].origin[c] = from[c].row(neighbour.dy) + neighbour.dx;
        }
    }
    return context;
}

int64_t band_pixels(const Scale& scale, const Band& band) {
    const Plane& plane = scale.phase[band.phase][0];
    return int64_t(plane.height()) * plane.width();
}

}  // namespace llicti
