/*
 * Checks of wrong arguments to the functions of channels, and of channels that cannot be had. Run as checks.c is.
 */

#include "channel.h"

static void null_is_an_error_and_never_a_crash(void) {
    ring it = start();
    framebuffer_publisher *publisher = publisher_of(it.client, "camera"), *no_publisher;
    framebuffer_subscriber *subscriber = subscriber_of(it.client, "camera"), *no_subscriber;
    framebuffer_loan *loan;
    framebuffer_sample *sample;
    framebuffer_descriptor descriptor;
    framebuffer_frame frame;
    framebuffer_counts counts;
    framebuffer_channel channel;
    size_t count;
    int fd;

    EXPECT(INVALID_ARGUMENT, framebuffer_publisher_open(NULL, "camera", NULL, &no_publisher));
    CHECK(no_publisher == NULL);
    EXPECT_MESSAGE(INVALID_ARGUMENT, framebuffer_publisher_open(it.client, NULL, NULL, &no_publisher), "name", "NULL");
    EXPECT(INVALID_ARGUMENT, framebuffer_publisher_open(it.client, "camera", NULL, NULL));
    EXPECT(INVALID_ARGUMENT, framebuffer_publisher_send(NULL, "x", 1, NULL, 0, NULL));
    EXPECT_MESSAGE(INVALID_ARGUMENT, framebuffer_publisher_send(publisher, NULL, 1, NULL, 0, NULL), "data", "NULL");
    EXPECT(INVALID_ARGUMENT, framebuffer_publisher_send(publisher, "x", SIZE_MAX, NULL, 0, NULL));
    EXPECT(INVALID_ARGUMENT, framebuffer_publisher_ready(NULL, 0));
    EXPECT(INVALID_ARGUMENT, framebuffer_publisher_flush(NULL, 0));
    EXPECT(INVALID_ARGUMENT, framebuffer_publisher_loan(NULL, 1, &loan));
    CHECK(loan == NULL);
    EXPECT(INVALID_ARGUMENT, framebuffer_publisher_loan(publisher, 1, NULL));
    EXPECT(INVALID_ARGUMENT, framebuffer_publisher_send_loan(publisher, NULL, NULL, 0, NULL));
    EXPECT(INVALID_ARGUMENT, framebuffer_publisher_send_loan_unhashed(publisher, NULL, NULL, 0, NULL));
    EXPECT(OK, framebuffer_publisher_loan(publisher, 1, &loan));
    EXPECT_MESSAGE(INVALID_ARGUMENT, framebuffer_publisher_send_loan(NULL, loan, NULL, 0, NULL), "publisher", "NULL");
    EXPECT(INVALID_ARGUMENT, framebuffer_subscriber_open(NULL, "camera", NULL, &no_subscriber));
    CHECK(no_subscriber == NULL);
    EXPECT(INVALID_ARGUMENT, framebuffer_subscriber_open(it.client, NULL, NULL, &no_subscriber));
    EXPECT(INVALID_ARGUMENT, framebuffer_subscriber_open(it.client, "camera", NULL, NULL));
    EXPECT(INVALID_ARGUMENT, framebuffer_subscriber_next(NULL, 0, &sample));
    CHECK(sample == NULL);
    EXPECT(INVALID_ARGUMENT, framebuffer_subscriber_try_next(NULL, &sample));
    EXPECT(INVALID_ARGUMENT, framebuffer_subscriber_latest(NULL, &sample));
    send_byte(publisher, 7);
    EXPECT(INVALID_ARGUMENT, framebuffer_subscriber_next(subscriber, 0, NULL));
    EXPECT(INVALID_ARGUMENT, framebuffer_subscriber_try_next(subscriber, NULL));
    EXPECT(INVALID_ARGUMENT, framebuffer_subscriber_latest(subscriber, NULL));
    CHECK(next_byte(subscriber) == 7); /* none of them has taken it */
    EXPECT(INVALID_ARGUMENT, framebuffer_subscriber_counts(NULL, &counts, sizeof counts));
    EXPECT(INVALID_ARGUMENT, framebuffer_subscriber_counts(subscriber, NULL, sizeof counts));
    EXPECT(INVALID_ARGUMENT, framebuffer_subscriber_fd(NULL, &fd));
    EXPECT(INVALID_ARGUMENT, framebuffer_subscriber_fd(subscriber, NULL));
    EXPECT(INVALID_ARGUMENT, framebuffer_sample_descriptor(NULL, &descriptor));
    EXPECT(INVALID_ARGUMENT, framebuffer_sample_frame(NULL, &frame));
    EXPECT(INVALID_ARGUMENT, framebuffer_sample_verify(NULL));
    CHECK(framebuffer_sample_data(NULL) == NULL && framebuffer_sample_size(NULL) == 0);
    CHECK(framebuffer_sample_number(NULL) == 0 && framebuffer_sample_time_ns(NULL) == 0);
    CHECK(framebuffer_sample_committed_ns(NULL) == 0 && !framebuffer_sample_is_hashed(NULL));
    send_byte(publisher, 7);
    EXPECT(OK, framebuffer_subscriber_try_next(subscriber, &sample));
    EXPECT(INVALID_ARGUMENT, framebuffer_sample_descriptor(sample, NULL));
    EXPECT(INVALID_ARGUMENT, framebuffer_sample_frame(sample, NULL));
    framebuffer_sample_release(sample);
    EXPECT(INVALID_ARGUMENT, framebuffer_client_channels(NULL, &channel, sizeof channel, 1, &count));
    EXPECT(INVALID_ARGUMENT, framebuffer_client_channels(it.client, NULL, sizeof channel, 1, &count));
    EXPECT(INVALID_ARGUMENT, framebuffer_client_channels(it.client, &channel, sizeof channel, 1, NULL));
    EXPECT(INVALID_ARGUMENT, framebuffer_client_channels(it.client, &channel, SIZE_MAX, 2, &count));
    framebuffer_publisher_close(NULL);
    framebuffer_subscriber_close(NULL);
    framebuffer_sample_release(NULL);
    framebuffer_subscriber_close(subscriber);
    framebuffer_publisher_close(publisher);
    framebuffer_stats stats;
    EXPECT(OK, framebuffer_server_stats(it.server, &stats, sizeof stats));
    CHECK(stats.pins == 0);
    stop(it);
}

static void names_and_options_beyond_their_bounds_are_refused_with_the_reason(void) {
    ring it = start();
    framebuffer_publisher *publisher = NULL;
    framebuffer_subscriber *subscriber = NULL;
    char name[65] = {0};
    memset(name, 'n', 64);
    EXPECT_MESSAGE(INVALID_ARGUMENT, framebuffer_publisher_open(it.client, name, NULL, &publisher), "64 bytes", "63");
    EXPECT_MESSAGE(INVALID_ARGUMENT, framebuffer_publisher_open(it.client, "", NULL, &publisher), "empty", "63");
    EXPECT_MESSAGE(INVALID_ARGUMENT, framebuffer_subscriber_open(it.client, "a b", NULL, &subscriber), "' '", "a-z");
    EXPECT_MESSAGE(INVALID_ARGUMENT, framebuffer_subscriber_open(it.client, "\xff", NULL, &subscriber), "name", "UTF-8");

    framebuffer_publisher_options keeps = FRAMEBUFFER_PUBLISHER_OPTIONS_DEFAULT;
    keeps.keep = 33;
    EXPECT_MESSAGE(INVALID_ARGUMENT, framebuffer_publisher_open(it.client, "a", &keeps, &publisher), "32", "33");
    char type[257] = {0};
    memset(type, 't', 256);
    keeps.keep = 32;
    keeps.content_type = type;
    EXPECT_MESSAGE(INVALID_ARGUMENT, framebuffer_publisher_open(it.client, "a", &keeps, &publisher), "256 bytes", "255");
    keeps.content_type = "\xff";
    EXPECT_MESSAGE(INVALID_ARGUMENT, framebuffer_publisher_open(it.client, "a", &keeps, &publisher), "content_type", "UTF");
    keeps.content_type = "";
    EXPECT(OK, framebuffer_publisher_open(it.client, "a", &keeps, &publisher));
    framebuffer_publisher_close(publisher);

    framebuffer_subscriber_options options = FRAMEBUFFER_SUBSCRIBER_OPTIONS_DEFAULT;
    options.start = 4;
    EXPECT_MESSAGE(INVALID_ARGUMENT, framebuffer_subscriber_open(it.client, "a", &options, &subscriber), "4", "AFTER, 3");
    options = (framebuffer_subscriber_options)FRAMEBUFFER_SUBSCRIBER_OPTIONS_DEFAULT;
    options.spin_us = INT64_MAX;
    EXPECT(OK, framebuffer_subscriber_open(it.client, "a", &options, &subscriber));
    framebuffer_subscriber_close(subscriber);
    CHECK(publisher != NULL && subscriber != NULL);
    stop(it);
}

static void options_say_how_large_they_are(void) {
    ring it = start();
    framebuffer_publisher *publisher = NULL;
    framebuffer_subscriber *subscriber = NULL;
    framebuffer_publisher_options forgotten = {0, 1, NULL};
    EXPECT_MESSAGE(INVALID_ARGUMENT, framebuffer_publisher_open(it.client, "a", &forgotten, &publisher), "0 bytes",
                   "FRAMEBUFFER_PUBLISHER_OPTIONS_DEFAULT");
    framebuffer_subscriber_options never_set;
    memset(&never_set, 0xa5, sizeof never_set);
    EXPECT_MESSAGE(INVALID_ARGUMENT, framebuffer_subscriber_open(it.client, "a", &never_set, &subscriber), " bytes",
                   "FRAMEBUFFER_SUBSCRIBER_OPTIONS_DEFAULT");
    struct newer {
        framebuffer_publisher_options known;
        uint64_t unknown;
    } newer = {FRAMEBUFFER_PUBLISHER_OPTIONS_DEFAULT, 0};
    newer.known.size = sizeof newer;
    EXPECT(OK, framebuffer_publisher_open(it.client, "a", &newer.known, &publisher));
    framebuffer_publisher_close(publisher);
    newer.unknown = 1;
    EXPECT_MESSAGE(INVALID_ARGUMENT, framebuffer_publisher_open(it.client, "a", &newer.known, &publisher), "newer", "24");
    CHECK(publisher == NULL && subscriber == NULL);
    stop(it);
}

static void a_shape_that_does_not_fit_the_bytes_is_refused(void) {
    ring it = start();
    framebuffer_publisher *publisher = publisher_of(it.client, "camera");
    framebuffer_subscriber *subscriber = subscriber_of(it.client, "camera");
    framebuffer_descriptor image = {.element = FRAMEBUFFER_ELEMENT_U16, .dims = {4, 5}, .rank = 2};
    char bytes[40] = {0};
    EXPECT(OK, framebuffer_publisher_send(publisher, bytes, 40, &image, 0, NULL));
    EXPECT_MESSAGE(INVALID_ARGUMENT, framebuffer_publisher_send(publisher, bytes, 39, &image, 0, NULL), "39 bytes", "40");
    framebuffer_loan *loan = NULL;
    EXPECT(OK, framebuffer_publisher_loan(publisher, 39, &loan));
    EXPECT(INVALID_ARGUMENT, framebuffer_publisher_send_loan(publisher, loan, &image, 0, NULL));
    image.rank = 5;
    EXPECT_MESSAGE(INVALID_ARGUMENT, framebuffer_publisher_send(publisher, bytes, 40, &image, 0, NULL), "5 dimensions",
                   "4 dimensions");
    image.rank = UINT32_MAX;
    EXPECT(INVALID_ARGUMENT, framebuffer_publisher_send(publisher, bytes, 40, &image, 0, NULL));
    EXPECT(OK, framebuffer_publisher_loan(publisher, 40, &loan));
    EXPECT(INVALID_ARGUMENT, framebuffer_publisher_send_loan_unhashed(publisher, loan, &image, 0, NULL));
    framebuffer_sample *sample = NULL;
    EXPECT(OK, framebuffer_subscriber_try_next(subscriber, &sample));
    framebuffer_sample_release(sample);
    EXPECT(NO_FRAME, framebuffer_subscriber_try_next(subscriber, &sample));
    framebuffer_subscriber_close(subscriber);
    framebuffer_publisher_close(publisher);
    stop(it);
}

static void channels_that_cannot_be_had_so_are_refused_with_the_reason(void) {
    ring it = start();
    framebuffer_publisher *publisher = NULL;
    framebuffer_subscriber *subscriber = NULL, *lossless[FRAMEBUFFER_MAX_LOSSLESS];
    framebuffer_publisher_options options = FRAMEBUFFER_PUBLISHER_OPTIONS_DEFAULT;
    options.content_type = "image/png";
    EXPECT(OK, framebuffer_publisher_open(it.client, "camera", &options, &publisher));
    framebuffer_publisher_close(publisher);
    options.content_type = "image/jpeg";
    EXPECT_MESSAGE(CHANNEL, framebuffer_publisher_open(it.client, "camera", &options, &publisher), "image/png",
                   "image/jpeg");

    for (size_t i = 0; i < FRAMEBUFFER_MAX_LOSSLESS; i++) {
        lossless[i] = lossless_of(it.client, "log");
    }
    framebuffer_subscriber_options lose_nothing = FRAMEBUFFER_SUBSCRIBER_OPTIONS_DEFAULT;
    lose_nothing.lossless = 1;
    EXPECT_MESSAGE(CHANNEL, framebuffer_subscriber_open(it.client, "log", &lose_nothing, &subscriber), "log", "8");
    options = (framebuffer_publisher_options)FRAMEBUFFER_PUBLISHER_OPTIONS_DEFAULT;
    options.keep = 0;
    EXPECT_MESSAGE(CHANNEL, framebuffer_publisher_open(it.client, "log", &options, &publisher), "lossless", "keeps none");
    for (size_t i = 0; i < FRAMEBUFFER_MAX_LOSSLESS; i++) {
        framebuffer_subscriber_close(lossless[i]);
    }
    EXPECT(OK, framebuffer_publisher_open(it.client, "log", &options, &publisher));
    EXPECT(CHANNEL, framebuffer_subscriber_open(it.client, "log", &lose_nothing, &subscriber));
    CHECK(subscriber == NULL);
    framebuffer_publisher_close(publisher);

    for (int i = 2; i < FRAMEBUFFER_MAX_CHANNELS; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        framebuffer_publisher_close(publisher_of(it.client, name));
    }
    EXPECT_MESSAGE(CHANNEL, framebuffer_publisher_open(it.client, "more", NULL, &publisher), "64 channels", "more");
    EXPECT(CHANNEL, framebuffer_subscriber_open(it.client, "more", NULL, &subscriber));
    size_t count = 0;
    EXPECT(OK, framebuffer_client_channels(it.client, NULL, 0, 0, &count));
    CHECK(count == FRAMEBUFFER_MAX_CHANNELS && publisher == NULL && subscriber == NULL);
    stop(it);
}

static void a_loan_ends_only_as_it_was_lent(void) {
    ring it = start();
    framebuffer_publisher *publisher = publisher_of(it.client, "camera"), *other = publisher_of(it.client, "camera");
    framebuffer_subscriber *subscriber = subscriber_of(it.client, "camera");
    framebuffer_loan *loan = NULL;
    framebuffer_frame frame;
    EXPECT(OK, framebuffer_publisher_loan(publisher, 1, &loan));
    EXPECT_MESSAGE(INVALID_ARGUMENT, framebuffer_publisher_send_loan(other, loan, NULL, 0, NULL), "not of this publisher",
                   "that lent it");
    EXPECT(OK, framebuffer_publisher_loan(publisher, 1, &loan));
    EXPECT(INVALID_ARGUMENT, framebuffer_loan_commit(loan, &frame));
    EXPECT(OK, framebuffer_publisher_loan(publisher, 1, &loan));
    EXPECT(INVALID_ARGUMENT, framebuffer_loan_commit_unhashed(loan, &frame));
    EXPECT(OK, framebuffer_client_loan(it.client, 1, &loan));
    EXPECT(INVALID_ARGUMENT, framebuffer_publisher_send_loan(publisher, loan, NULL, 0, NULL));
    EXPECT(OK, framebuffer_publisher_loan(publisher, 1, &loan));
    framebuffer_publisher_close(publisher);
    publisher = publisher_of(it.client, "camera");
    EXPECT(INVALID_ARGUMENT, framebuffer_publisher_send_loan_unhashed(publisher, loan, NULL, 0, NULL));
    framebuffer_sample *sample = NULL;
    EXPECT(NO_FRAME, framebuffer_subscriber_try_next(subscriber, &sample));
    framebuffer_stats stats;
    EXPECT(OK, framebuffer_client_stats(it.client, &stats, sizeof stats));
    CHECK(stats.pins == 0);
    framebuffer_subscriber_close(subscriber);
    framebuffer_publisher_close(other);
    framebuffer_publisher_close(publisher);
    stop(it);
}

static void a_channel_of_a_ring_that_has_stopped_is_retired_and_its_samples_stay(void) {
    ring it = start();
    framebuffer_publisher *publisher = publisher_of(it.client, "camera"), *late;
    framebuffer_subscriber *subscriber = subscriber_of(it.client, "camera"), *later;
    framebuffer_sample *sample = NULL, *none = NULL;
    framebuffer_loan *loan = NULL, *no_loan = NULL;
    send_byte(publisher, 7);
    EXPECT(OK, framebuffer_subscriber_next(subscriber, LONG_MS, &sample));
    EXPECT(OK, framebuffer_publisher_loan(publisher, 1, &loan));
    EXPECT(OK, framebuffer_server_stop(it.server));
    EXPECT_MESSAGE(RETIRED, framebuffer_publisher_send(publisher, "x", 1, NULL, 0, NULL), "given up", "open it anew");
    EXPECT(RETIRED, framebuffer_publisher_loan(publisher, 1, &no_loan));
    EXPECT(RETIRED, framebuffer_subscriber_next(subscriber, FRAMEBUFFER_FOREVER, &none));
    EXPECT(RETIRED, framebuffer_subscriber_try_next(subscriber, &none));
    EXPECT(RETIRED, framebuffer_subscriber_latest(subscriber, &none));
    EXPECT(RETIRED, framebuffer_publisher_open(it.client, "camera", NULL, &late));
    EXPECT(RETIRED, framebuffer_subscriber_open(it.client, "camera", NULL, &later));
    CHECK(none == NULL && no_loan == NULL && late == NULL && later == NULL && counts_of(subscriber).received == 1);
    framebuffer_loan_abandon(loan);
    CHECK(*framebuffer_sample_data(sample) == 7);
    framebuffer_subscriber_close(subscriber);
    framebuffer_publisher_close(publisher);
    framebuffer_client_close(it.client);
    EXPECT(OK, framebuffer_sample_verify(sample));
    framebuffer_sample_release(sample);
}

int main(int argc, char **argv) {
#define CHECK_NAMED(name) {#name, name}
    static const check checks[] = {
        CHECK_NAMED(null_is_an_error_and_never_a_crash),
        CHECK_NAMED(names_and_options_beyond_their_bounds_are_refused_with_the_reason),
        CHECK_NAMED(options_say_how_large_they_are),
        CHECK_NAMED(a_shape_that_does_not_fit_the_bytes_is_refused),
        CHECK_NAMED(channels_that_cannot_be_had_so_are_refused_with_the_reason),
        CHECK_NAMED(a_loan_ends_only_as_it_was_lent),
        CHECK_NAMED(a_channel_of_a_ring_that_has_stopped_is_retired_and_its_samples_stay),
    };
    return RUN_CHECKS(checks, argc, argv);
}
