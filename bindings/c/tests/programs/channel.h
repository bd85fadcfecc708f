/* Publishers and subscribers of a check's ring, and frames of one byte. */

#ifndef CHANNEL_H
#define CHANNEL_H

#include "ring.h"

/* Longer than anything takes that does come, also under valgrind. */
enum { LONG_MS = 60 * 1000 };

static inline framebuffer_publisher *publisher_of(const framebuffer_client *client, const char *name) {
    framebuffer_publisher *publisher = NULL;
    EXPECT(OK, framebuffer_publisher_open(client, name, NULL, &publisher));
    return publisher;
}

static inline framebuffer_publisher *publisher_keeping(const framebuffer_client *client, const char *name, size_t keep) {
    framebuffer_publisher_options options = FRAMEBUFFER_PUBLISHER_OPTIONS_DEFAULT;
    options.keep = keep;
    framebuffer_publisher *publisher = NULL;
    EXPECT(OK, framebuffer_publisher_open(client, name, &options, &publisher));
    return publisher;
}

static inline framebuffer_subscriber *subscriber_of(const framebuffer_client *client, const char *name) {
    framebuffer_subscriber *subscriber = NULL;
    EXPECT(OK, framebuffer_subscriber_open(client, name, NULL, &subscriber));
    return subscriber;
}

static inline framebuffer_subscriber *subscriber_from(const framebuffer_client *client, const char *name,
                                                      framebuffer_start start, uint64_t after) {
    framebuffer_subscriber_options options = FRAMEBUFFER_SUBSCRIBER_OPTIONS_DEFAULT;
    options.start = start;
    options.after = after;
    framebuffer_subscriber *subscriber = NULL;
    EXPECT(OK, framebuffer_subscriber_open(client, name, &options, &subscriber));
    return subscriber;
}

static inline framebuffer_subscriber *lossless_of(const framebuffer_client *client, const char *name) {
    framebuffer_subscriber_options options = FRAMEBUFFER_SUBSCRIBER_OPTIONS_DEFAULT;
    options.lossless = 1;
    framebuffer_subscriber *subscriber = NULL;
    EXPECT(OK, framebuffer_subscriber_open(client, name, &options, &subscriber));
    return subscriber;
}

/* Sends a frame of this byte, and returns its number. */
static inline uint64_t send_byte(framebuffer_publisher *publisher, unsigned char value) {
    framebuffer_sent sent;
    EXPECT(OK, framebuffer_publisher_send(publisher, &value, 1, NULL, 0, &sent));
    return sent.number;
}

/* Waits for the next frame, which must be of one byte. */
static inline unsigned char next_byte(framebuffer_subscriber *subscriber) {
    framebuffer_sample *sample = NULL;
    EXPECT(OK, framebuffer_subscriber_next(subscriber, LONG_MS, &sample));
    CHECK(framebuffer_sample_size(sample) == 1);
    const unsigned char value = *framebuffer_sample_data(sample);
    framebuffer_sample_release(sample);
    return value;
}

static inline framebuffer_counts counts_of(const framebuffer_subscriber *subscriber) {
    framebuffer_counts counts;
    EXPECT(OK, framebuffer_subscriber_counts(subscriber, &counts, sizeof counts));
    return counts;
}

#endif
