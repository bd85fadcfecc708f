/* What the examples put into their frames: 640 x 480 pixels of 3 bytes, a pattern that moves by one with each frame. */

#ifndef PATTERN_H
#define PATTERN_H

#include <stdint.h>

enum { ROWS = 480, COLUMNS = 640, STEP = 3 * COLUMNS, FRAME_SIZE = ROWS * STEP };

/* The byte at `x` (from 0 to STEP - 1) in a row of frame `number`. */
static inline uint8_t pattern_byte(unsigned long number, unsigned row, unsigned x) { return (uint8_t)(number + row + x); }

#endif
