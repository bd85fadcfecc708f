// writer.c in C++. Copies a camera's image, whose rows are padded, row by row to the ring.

#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include <framebuffer.hpp>

#include "image.hpp"

namespace {

framebuffer::Client open_ring() {
    const char* key = std::getenv("FRAMEBUFFER_KEY");
    return key != nullptr ? framebuffer::Client::open(key) : framebuffer::Client::connect();
}

// Draws into its own memory, whose rows are aligned to 256 bytes, as drivers prefer.
class Camera {
public:
    Image<const std::uint8_t> capture(unsigned long number) {
        for (unsigned row = 0; row < ROWS; row++) {
            for (unsigned x = 0; x < STEP; x++) {
                memory_[row * step + x] = pattern_byte(number, row, x);
            }
        }
        return {memory_.data(), ROWS, STEP, step};
    }

private:
    static constexpr std::size_t step = (STEP + 255) / 256 * 256;
    std::vector<std::uint8_t> memory_ = std::vector<std::uint8_t>(ROWS * step, 0xFF);
};

}  // namespace

int main(int argc, char** argv) try {
    const unsigned long frames = argc > 1 ? std::stoul(argv[1]) : 100;
    const framebuffer::Client ring = open_ring();
    Camera camera;
    for (unsigned long number = 0; number < frames; number++) {
        framebuffer::Loan loan = ring.loan(FRAME_SIZE);
        copy(camera.capture(number), Image<std::uint8_t>{loan.data(), ROWS, STEP, STEP});
        std::cout << framebuffer::to_json(loan.commit()) << std::endl;
    }
} catch (const std::exception& error) {
    std::cerr << "writer: " << error.what() << '\n';
    return EXIT_FAILURE;
}
