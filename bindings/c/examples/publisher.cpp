// Sends frames over the channel "camera", 30 a second, drawn in the ring itself. Receive them with subscriber.cpp:
//
//     ./subscriber 100 & ./publisher 100
//
// The ring is that of the sidecar at FRAMEBUFFER_URL (default: http://127.0.0.1:7570), or, if FRAMEBUFFER_KEY is set,
// the one with that key.

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <string>
#include <thread>
#include <utility>

#include <framebuffer.hpp>

#include "pattern.h"

int main(int argc, char** argv) try {
    const unsigned long frames = argc > 1 ? std::stoul(argv[1]) : 100;
    const char* key = std::getenv("FRAMEBUFFER_KEY");
    const auto ring = key != nullptr ? framebuffer::Client::open(key) : framebuffer::Client::connect();

    framebuffer::Publisher camera = ring.publisher("camera");
    for (unsigned long number = 0; number < frames; number++) {
        const auto now = std::chrono::system_clock::now().time_since_epoch();
        framebuffer::Loan loan = camera.loan(FRAME_SIZE);
        for (unsigned row = 0; row < ROWS; row++) {
            for (unsigned x = 0; x < STEP; x++) {
                loan.data()[row * STEP + x] = pattern_byte(number, row, x);
            }
        }
        const auto image = framebuffer::Descriptor::of<std::uint8_t>({ROWS, COLUMNS, 3});
        camera.send(std::move(loan), framebuffer::Descriptor(image).time(now).user(number));
        std::this_thread::sleep_for(std::chrono::milliseconds(33));
    }
} catch (const std::exception& error) {
    std::cerr << "publisher: " << error.what() << '\n';
    return EXIT_FAILURE;
}
