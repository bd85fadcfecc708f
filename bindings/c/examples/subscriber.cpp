// Receives frames of the channel "camera", which publisher.cpp sends, and checks every byte in place. Ends after as many
// frames as its argument says, with 1 if a byte is wrong. It opens the ring as publisher.cpp does.

#include <cstdlib>
#include <iostream>
#include <string>

#include <framebuffer.hpp>

#include "pattern.h"

static bool is_drawn(const framebuffer::Sample& frame) {
    const framebuffer::Descriptor said = frame.descriptor();
    if (frame.size() != FRAME_SIZE || said.element() != FRAMEBUFFER_ELEMENT_U8 || said.shape()[0] != ROWS) {
        return false;
    }
    for (unsigned at = 0; at < FRAME_SIZE; at++) {
        if (frame.data()[at] != pattern_byte(said.user(), at / STEP, at % STEP)) {
            return false;
        }
    }
    return true;
}

int main(int argc, char** argv) try {
    const unsigned long frames = argc > 1 ? std::stoul(argv[1]) : 100;
    const char* key = std::getenv("FRAMEBUFFER_KEY");
    const auto ring = key != nullptr ? framebuffer::Client::open(key) : framebuffer::Client::connect();

    framebuffer::Subscriber camera = ring.subscriber("camera");
    unsigned long wrong = 0;
    for (const framebuffer::Sample& frame : camera) {
        wrong += is_drawn(frame) ? 0 : 1;
        if (camera.counts().received + camera.counts().lost >= frames) {
            break;
        }
    }
    std::cout << camera.counts().received << " frames, " << camera.counts().lost << " lost, " << wrong << " wrong\n";
    return wrong == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
} catch (const std::exception& error) {
    std::cerr << "subscriber: " << error.what() << '\n';
    return EXIT_FAILURE;
}
