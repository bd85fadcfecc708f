// Pixels in memory, whose rows may be further apart than they are long, as in cv::Mat and GStreamer's video
// frames are. With OpenCV, cv::Mat(ROWS, COLUMNS, CV_8UC3, loan.data(), STEP) is the frame in the ring.

#ifndef IMAGE_HPP
#define IMAGE_HPP

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "pattern.h"

template <typename Byte>
struct Image {
    Byte* data;
    unsigned rows;
    std::size_t row_size;
    // Bytes from one row to the next.
    std::size_t step;

    Byte* row(unsigned number) const { return data + number * step; }

    // A part of it: no copy, the same step.
    Image region(unsigned first_row, unsigned row_count, std::size_t from, std::size_t size) const {
        return {row(first_row) + from, row_count, size, step};
    }
};

inline void copy(const Image<const std::uint8_t>& from, const Image<std::uint8_t>& to) {
    for (unsigned row = 0; row < to.rows; row++) {
        std::memcpy(to.row(row), from.row(row), to.row_size);
    }
}

#endif
