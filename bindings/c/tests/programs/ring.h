/* A ring in the process of a check, and frames whose bytes are all the same. */

#ifndef RING_H
#define RING_H

#include "check.h"

enum { RING = 1 << 20, SIZE = 1000 };

/* A ring in this process, and a client of it. */
typedef struct ring {
    framebuffer_server *server;
    framebuffer_client *client;
} ring;

static inline ring start(void) {
    ring it = {NULL, NULL};
    EXPECT(OK, framebuffer_server_start(NULL, RING, &it.server));
    EXPECT(OK, framebuffer_client_open(framebuffer_server_key(it.server), NULL, &it.client));
    return it;
}

static inline void stop(ring it) {
    framebuffer_client_close(it.client);
    EXPECT(OK, framebuffer_server_stop(it.server));
}

static inline framebuffer_frame publish(const framebuffer_client *client, unsigned char value) {
    unsigned char data[SIZE];
    memset(data, value, sizeof data);
    framebuffer_frame frame;
    EXPECT(OK, framebuffer_client_publish(client, data, sizeof data, &frame));
    return frame;
}

/* Fills the ring once and a bit more. */
static inline void lap(const framebuffer_client *client) {
    for (unsigned i = 0; i < RING / SIZE + 100; i++) {
        publish(client, 0xEE);
    }
}

static inline bool consists_of(const unsigned char *data, size_t size, unsigned char value) {
    for (size_t i = 0; i < size; i++) {
        if (data[i] != value) {
            return false;
        }
    }
    return true;
}

#endif
