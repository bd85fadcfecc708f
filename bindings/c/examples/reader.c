/*
 * Reads descriptions of frames from standard input, one line of JSON each, views the frames in place and checks every
 * byte. It opens the ring as writer.c does. Exits with 1 if a byte is wrong.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <framebuffer.h>

#include "pattern.h"

static framebuffer_status open_ring(framebuffer_client **ring) {
    const char *key = getenv("FRAMEBUFFER_KEY");
    return key != NULL ? framebuffer_client_open(key, NULL, ring) : framebuffer_client_connect(NULL, NULL, 0, ring);
}

static bool is_drawn(const uint8_t *pixels, size_t size, unsigned long number) {
    if (size != FRAME_SIZE) {
        return false;
    }
    for (unsigned row = 0; row < ROWS; row++) {
        for (unsigned x = 0; x < STEP; x++) {
            if (pixels[row * STEP + x] != pattern_byte(number, row, x)) {
                return false;
            }
        }
    }
    return true;
}

/* Views the frame that a line describes and checks it. */
static framebuffer_status read_frame(const framebuffer_client *ring, const char *line, unsigned long number, bool *right) {
    framebuffer_frame frame;
    framebuffer_status status = framebuffer_frame_from_json(line, strlen(line), &frame);
    if (status != FRAMEBUFFER_STATUS_OK) {
        return status;
    }
    framebuffer_view *view = NULL;
    status = framebuffer_client_view(ring, &frame, &view);
    if (status != FRAMEBUFFER_STATUS_OK) {
        return status;
    }
    *right = is_drawn(framebuffer_view_data(view), framebuffer_view_size(view), number);
    framebuffer_view_release(view);
    return status;
}

int main(void) {
    framebuffer_client *ring = NULL;
    framebuffer_status status = open_ring(&ring);
    unsigned long lines = 0, lost = 0, wrong = 0;
    char line[1024];
    while (status == FRAMEBUFFER_STATUS_OK && fgets(line, sizeof line, stdin) != NULL) {
        bool right = true;
        status = read_frame(ring, line, lines++, &right);
        if (status == FRAMEBUFFER_STATUS_TIMEOUT) {
            /* We are slower than the writer: the ring has moved past this frame. The next one is newer. */
            lost++;
            status = FRAMEBUFFER_STATUS_OK;
        }
        wrong += !right;
    }
    framebuffer_client_close(ring);

    if (status != FRAMEBUFFER_STATUS_OK) {
        fprintf(stderr, "reader: %s\n", framebuffer_error_message());
        return EXIT_FAILURE;
    }
    printf("%lu frames, %lu lost, %lu wrong\n", lines, lost, wrong);
    return wrong == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
