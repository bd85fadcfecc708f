/*
 * Checks of wrong arguments and of frames that are gone. Run as checks.c is.
 */

#include "ring.h"

static void null_is_an_error_and_never_a_crash(void) {
    ring it = start();
    const framebuffer_frame frame = publish(it.client, 7);
    const framebuffer_client *none = NULL;
    framebuffer_client *client;
    framebuffer_server *server;
    framebuffer_frame out;
    framebuffer_view *view;
    framebuffer_loan *loan;
    framebuffer_stats stats;
    uint64_t number;
    char text[FRAMEBUFFER_FRAME_JSON_SIZE];

    EXPECT_MESSAGE(INVALID_ARGUMENT, framebuffer_client_open(NULL, NULL, &client), "key", "NULL");
    CHECK(client == NULL);
    EXPECT(INVALID_ARGUMENT, framebuffer_client_open("key", NULL, NULL));
    EXPECT(INVALID_ARGUMENT, framebuffer_client_connect("http://127.0.0.1:1", NULL, 1, NULL));
    EXPECT(INVALID_ARGUMENT, framebuffer_client_allocate(none, 1, &number));
    EXPECT(INVALID_ARGUMENT, framebuffer_client_allocate(it.client, 1, NULL));
    EXPECT(INVALID_ARGUMENT, framebuffer_client_write(none, 64, text, 1, &number));
    EXPECT(INVALID_ARGUMENT, framebuffer_client_write(it.client, 64, NULL, 1, &number));
    EXPECT(INVALID_ARGUMENT, framebuffer_client_write(it.client, 64, text, 1, NULL));
    EXPECT(INVALID_ARGUMENT, framebuffer_client_publish(none, text, 1, &out));
    EXPECT_MESSAGE(INVALID_ARGUMENT, framebuffer_client_publish(it.client, NULL, 1, &out), "data", "NULL");
    EXPECT(INVALID_ARGUMENT, framebuffer_client_publish(it.client, text, 1, NULL));
    EXPECT(INVALID_ARGUMENT, framebuffer_client_loan(none, 1, &loan));
    CHECK(loan == NULL);
    EXPECT(INVALID_ARGUMENT, framebuffer_client_loan(it.client, 1, NULL));
    EXPECT(INVALID_ARGUMENT, framebuffer_client_read(none, 64, 1, 0, text));
    EXPECT(INVALID_ARGUMENT, framebuffer_client_read(it.client, frame.offset, SIZE, frame.checksum, NULL));
    EXPECT(INVALID_ARGUMENT, framebuffer_client_read_frame(none, &frame, text, sizeof text));
    EXPECT(INVALID_ARGUMENT, framebuffer_client_read_frame(it.client, NULL, text, sizeof text));
    EXPECT(INVALID_ARGUMENT, framebuffer_client_read_frame(it.client, &frame, NULL, SIZE));
    EXPECT(INVALID_ARGUMENT, framebuffer_client_view(none, &frame, &view));
    CHECK(view == NULL);
    EXPECT(INVALID_ARGUMENT, framebuffer_client_view(it.client, NULL, &view));
    EXPECT(INVALID_ARGUMENT, framebuffer_client_view(it.client, &frame, NULL));
    EXPECT(INVALID_ARGUMENT, framebuffer_client_stats(none, &stats, sizeof stats));
    EXPECT(INVALID_ARGUMENT, framebuffer_client_stats(it.client, NULL, sizeof stats));
    EXPECT(INVALID_ARGUMENT, framebuffer_view_frame(NULL, &out));
    EXPECT(INVALID_ARGUMENT, framebuffer_view_verify(NULL));
    EXPECT(INVALID_ARGUMENT, framebuffer_loan_truncate(NULL, 1));
    EXPECT(INVALID_ARGUMENT, framebuffer_loan_commit(NULL, &out));
    EXPECT(INVALID_ARGUMENT, framebuffer_loan_commit_unhashed(NULL, &out));
    EXPECT(OK, framebuffer_client_loan(it.client, 1, &loan));
    EXPECT(INVALID_ARGUMENT, framebuffer_loan_commit(loan, NULL));
    EXPECT(INVALID_ARGUMENT, framebuffer_server_start(NULL, RING, NULL));
    EXPECT(INVALID_ARGUMENT, framebuffer_server_allocate(NULL, 1, &number));
    EXPECT(INVALID_ARGUMENT, framebuffer_server_allocate(it.server, 1, NULL));
    EXPECT(INVALID_ARGUMENT, framebuffer_server_reap(NULL));
    EXPECT(INVALID_ARGUMENT, framebuffer_server_stats(NULL, &stats, sizeof stats));
    EXPECT(INVALID_ARGUMENT, framebuffer_frame_to_json(NULL, text, sizeof text));
    EXPECT(INVALID_ARGUMENT, framebuffer_frame_to_json(&frame, NULL, sizeof text));
    EXPECT(INVALID_ARGUMENT, framebuffer_frame_from_json(NULL, 1, &out));
    EXPECT(INVALID_ARGUMENT, framebuffer_frame_from_json("{}", 2, NULL));
    EXPECT(INVALID_ARGUMENT, framebuffer_checksum(NULL, 1, &number));
    EXPECT(INVALID_ARGUMENT, framebuffer_checksum(text, 1, NULL));
    EXPECT(INVALID_ARGUMENT, framebuffer_server_start(NULL, 0, &server));
    CHECK(server == NULL);
    CHECK(framebuffer_client_size(NULL) == 0 && framebuffer_server_size(NULL) == 0 && framebuffer_server_key(NULL) == NULL);
    CHECK(framebuffer_view_data(NULL) == NULL && framebuffer_view_size(NULL) == 0 && !framebuffer_view_is_hashed(NULL));
    CHECK(framebuffer_loan_data(NULL) == NULL && framebuffer_loan_size(NULL) == 0);
    framebuffer_client_close(NULL);
    framebuffer_view_release(NULL);
    framebuffer_loan_abandon(NULL);
    EXPECT(OK, framebuffer_server_stop(NULL));
    EXPECT(OK, framebuffer_server_stats(it.server, &stats, sizeof stats));
    CHECK(stats.pins == 0);
    stop(it);
}

static void offsets_and_sizes_beyond_the_ring_are_refused(void) {
    ring it = start();
    const framebuffer_frame frame = publish(it.client, 7);
    char copy[SIZE];
    framebuffer_frame forged = frame;
    const uint64_t offsets[] = {frame.offset + 64 * 1024, 1ULL << 40, UINT64_MAX, UINT64_MAX - 63};
    for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
        forged.offset = offsets[i];
        EXPECT(NEVER_ALLOCATED, framebuffer_client_read_frame(it.client, &forged, copy, sizeof copy));
        framebuffer_view *view = NULL;
        EXPECT(NEVER_ALLOCATED, framebuffer_client_view(it.client, &forged, &view));
        uint64_t checksum = 0;
        EXPECT(NEVER_ALLOCATED, framebuffer_client_write(it.client, forged.offset, copy, SIZE, &checksum));
    }
    forged = frame;
    const uint64_t sizes[] = {RING + 1, 1ULL << 40, INT64_MAX, 1ULL << 63, UINT64_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        forged.size = sizes[i];
        EXPECT(LARGER_THAN_RING, framebuffer_client_read_frame(it.client, &forged, copy, SIZE_MAX));
        framebuffer_view *view = NULL;
        EXPECT(LARGER_THAN_RING, framebuffer_client_view(it.client, &forged, &view));
        framebuffer_loan *loan = NULL;
        EXPECT(LARGER_THAN_RING, framebuffer_client_loan(it.client, sizes[i], &loan));
        uint64_t offset = 0;
        EXPECT_MESSAGE(LARGER_THAN_RING, framebuffer_client_allocate(it.client, sizes[i], &offset),
                       "larger than the ring", "1048576 bytes");
    }
    EXPECT(LARGER_THAN_RING, framebuffer_client_publish(it.client, copy, RING + 1, &forged));
    EXPECT_MESSAGE(INVALID_ARGUMENT, framebuffer_client_publish(it.client, copy, SIZE_MAX, &forged),
                   "18446744073709551615", "9223372036854775807");
    EXPECT_MESSAGE(BUFFER_TOO_SMALL, framebuffer_client_read_frame(it.client, &frame, copy, SIZE - 1), "999", "1000");
    stop(it);
}

static void a_frame_that_the_ring_has_moved_past_is_a_timeout(void) {
    ring it = start();
    const framebuffer_frame frame = publish(it.client, 7);
    uint64_t late = 0, checksum = 0;
    EXPECT(OK, framebuffer_client_allocate(it.client, SIZE, &late));
    lap(it.client);
    char copy[SIZE];
    EXPECT_MESSAGE(TIMEOUT, framebuffer_client_read_frame(it.client, &frame, copy, sizeof copy), "overwritten", "1 laps");
    framebuffer_view *view = (framebuffer_view *)copy;
    EXPECT(TIMEOUT, framebuffer_client_view(it.client, &frame, &view));
    CHECK(view == NULL);
    EXPECT(TIMEOUT, framebuffer_client_write(it.client, late, copy, SIZE, &checksum));
    stop(it);
}

static void another_checksum_or_size_is_a_timeout(void) {
    ring it = start();
    framebuffer_frame frame = publish(it.client, 7);
    char copy[SIZE];
    frame.checksum ^= 1;
    EXPECT_MESSAGE(TIMEOUT, framebuffer_client_read_frame(it.client, &frame, copy, sizeof copy), "mismatch", "checksum");
    framebuffer_view *view = NULL;
    EXPECT(TIMEOUT, framebuffer_client_view(it.client, &frame, &view));
    frame.checksum ^= 1;
    frame.size--;
    EXPECT_MESSAGE(TIMEOUT, framebuffer_client_read_frame(it.client, &frame, copy, sizeof copy), "999", "1000");
    stop(it);
}

static void a_ring_that_is_held_whole_is_exhausted_and_free_again_afterwards(void) {
    ring it = start();
    framebuffer_loan *loan = NULL, *another = NULL;
    EXPECT(OK, framebuffer_client_loan(it.client, RING, &loan));
    EXPECT_MESSAGE(EXHAUSTED, framebuffer_client_loan(it.client, RING, &another), "1048576 bytes", "hold");
    CHECK(another == NULL);
    framebuffer_loan_abandon(loan);
    publish(it.client, 7);
    stop(it);
}

static void rings_that_cannot_be_are_refused_with_the_reason(void) {
    ring it = start();
    const char *key = framebuffer_server_key(it.server);
    framebuffer_server *server = NULL;
    framebuffer_client *client = NULL;
    CHECK(framebuffer_server_size(it.server) == RING && framebuffer_client_size(it.client) == RING);
    EXPECT(ALREADY_OWNED, framebuffer_server_start(key, RING, &server));
    EXPECT_MESSAGE(NO_MEMORY, framebuffer_server_start(NULL, 1ULL << 44, &server), "17592186044416", "leaves");
    EXPECT_MESSAGE(INVALID_ARGUMENT, framebuffer_server_start(NULL, UINT64_MAX, &server), "18446744073709551615", "limit");
    EXPECT_MESSAGE(INVALID_ARGUMENT, framebuffer_server_start("a/b", RING, &server), "invalid key", "'/'");
    EXPECT(INVALID_ARGUMENT, framebuffer_server_start("", RING, &server));
    EXPECT(INVALID_ARGUMENT, framebuffer_server_start("\xff", RING, &server));
    EXPECT_MESSAGE(NOT_FOUND, framebuffer_client_open(key, "/nowhere/at/all", &client), "no ring", "/nowhere/at/all");
    EXPECT(NOT_FOUND, framebuffer_client_open("another", NULL, &client));
    CHECK(strstr(framebuffer_error_message(), "another") == NULL);
    EXPECT(INVALID_ARGUMENT, framebuffer_client_connect("ftp://127.0.0.1", NULL, 1, &client));
    EXPECT_MESSAGE(NO_SIDECAR, framebuffer_client_connect("unix:/nowhere.sock", NULL, 1, &client), "/nowhere.sock",
                   "framebuffer-sidecar");
    CHECK(client == NULL && server == NULL);
    stop(it);
}

int main(int argc, char **argv) {
#define CHECK_NAMED(name) {#name, name}
    static const check checks[] = {
        CHECK_NAMED(null_is_an_error_and_never_a_crash),
        CHECK_NAMED(offsets_and_sizes_beyond_the_ring_are_refused),
        CHECK_NAMED(a_frame_that_the_ring_has_moved_past_is_a_timeout),
        CHECK_NAMED(another_checksum_or_size_is_a_timeout),
        CHECK_NAMED(a_ring_that_is_held_whole_is_exhausted_and_free_again_afterwards),
        CHECK_NAMED(rings_that_cannot_be_are_refused_with_the_reason),
    };
    return RUN_CHECKS(checks, argc, argv);
}
