// reader.c in C++. First reads a region of each frame, as a detector would.

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <string>

#include <framebuffer.hpp>

#include "image.hpp"

namespace {

framebuffer::Client open_ring() {
    const char* key = std::getenv("FRAMEBUFFER_KEY");
    return key != nullptr ? framebuffer::Client::open(key) : framebuffer::Client::connect();
}

double brightness(const Image<const std::uint8_t>& image) {
    double sum = 0;
    for (unsigned row = 0; row < image.rows; row++) {
        for (std::size_t x = 0; x < image.row_size; x++) {
            sum += image.row(row)[x];
        }
    }
    return sum / (static_cast<double>(image.rows) * static_cast<double>(image.row_size));
}

bool is_drawn(const Image<const std::uint8_t>& image, unsigned long number) {
    for (unsigned row = 0; row < image.rows; row++) {
        for (unsigned x = 0; x < image.row_size; x++) {
            if (image.row(row)[x] != pattern_byte(number, row, x)) {
                return false;
            }
        }
    }
    return true;
}

}  // namespace

int main() try {
    const framebuffer::Client ring = open_ring();
    unsigned long lines = 0, lost = 0, wrong = 0;
    double brightest = 0;
    for (std::string line; std::getline(std::cin, line); lines++) {
        try {
            const framebuffer::View view = ring.view(framebuffer::from_json(line));
            const Image<const std::uint8_t> image{view.data(), ROWS, STEP, STEP};
            if (view.size() != FRAME_SIZE || !is_drawn(image, lines)) {
                wrong++;
                continue;
            }
            const auto centre = image.region(ROWS / 4, ROWS / 2, STEP / 4, STEP / 2);
            brightest = std::max(brightest, brightness(centre));
        } catch (const framebuffer::timeout&) {
            // We are slower than the writer: the ring has moved past this frame. The next one is newer.
            lost++;
        }
    }
    std::cout << lines << " frames, " << lost << " lost, " << wrong << " wrong\n";
    std::cerr << "the centre of the brightest frame has a mean of " << brightest << '\n';
    return wrong == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
} catch (const std::exception& error) {
    std::cerr << "reader: " << error.what() << '\n';
    return EXIT_FAILURE;
}
