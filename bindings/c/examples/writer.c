/*
 * Writes frames to a ring, in place, and their descriptions to standard output, one line of JSON each:
 *
 *     ./writer 100 | ./reader
 *
 * The ring is that of the sidecar at FRAMEBUFFER_URL (default: http://127.0.0.1:7570), or, if FRAMEBUFFER_KEY is set,
 * the one with that key.
 */

#include <stdio.h>
#include <stdlib.h>

#include <framebuffer.h>

#include "pattern.h"

static framebuffer_status open_ring(framebuffer_client **ring) {
    const char *key = getenv("FRAMEBUFFER_KEY");
    return key != NULL ? framebuffer_client_open(key, NULL, ring) : framebuffer_client_connect(NULL, NULL, 0, ring);
}

static void draw(uint8_t *pixels, unsigned long number) {
    for (unsigned row = 0; row < ROWS; row++) {
        for (unsigned x = 0; x < STEP; x++) {
            pixels[row * STEP + x] = pattern_byte(number, row, x);
        }
    }
}

/* Draws a frame into the ring and prints its description for the reader. */
static framebuffer_status write_frame(const framebuffer_client *ring, unsigned long number) {
    framebuffer_loan *loan = NULL;
    framebuffer_status status = framebuffer_client_loan(ring, FRAME_SIZE, &loan);
    if (status != FRAMEBUFFER_STATUS_OK) {
        return status;
    }
    draw(framebuffer_loan_data(loan), number);

    framebuffer_frame frame;
    status = framebuffer_loan_commit(loan, &frame);
    if (status != FRAMEBUFFER_STATUS_OK) {
        return status;
    }
    char line[FRAMEBUFFER_FRAME_JSON_SIZE];
    status = framebuffer_frame_to_json(&frame, line, sizeof line);
    if (status == FRAMEBUFFER_STATUS_OK) {
        puts(line);
        fflush(stdout);
    }
    return status;
}

int main(int argc, char **argv) {
    const unsigned long frames = argc > 1 ? strtoul(argv[1], NULL, 10) : 100;

    framebuffer_client *ring = NULL;
    framebuffer_status status = open_ring(&ring);
    for (unsigned long number = 0; status == FRAMEBUFFER_STATUS_OK && number < frames; number++) {
        status = write_frame(ring, number);
    }
    framebuffer_client_close(ring);

    if (status != FRAMEBUFFER_STATUS_OK) {
        fprintf(stderr, "writer: %s\n", framebuffer_error_message());
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
