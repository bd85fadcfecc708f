/*
 * Checks of channels in the C API. Run as checks.c is.
 */

#include "channel.h"

static void what_is_sent_is_received_with_what_was_said_of_it(void) {
    ring it = start();
    framebuffer_publisher *publisher = publisher_of(it.client, "camera");
    framebuffer_subscriber *subscriber = subscriber_of(it.client, "camera");
    const float pixels[2][3] = {{1, 2, 3}, {4, 5, 6}};
    const framebuffer_descriptor said = {
        .time_ns = 42,
        .element = FRAMEBUFFER_ELEMENT_F32,
        .fourcc = FRAMEBUFFER_FOURCC('N', 'V', '1', '2'),
        .dims = {2, 3},
        .rank = 2,
        .row_stride = 12,
        .user = UINT64_MAX,
    };
    framebuffer_sent sent;
    EXPECT(OK, framebuffer_publisher_send(publisher, pixels, sizeof pixels, &said, 0, &sent));
    CHECK(sent.number == 0 && sent.frame.size == sizeof pixels);
    EXPECT(OK, framebuffer_publisher_send(publisher, NULL, 0, NULL, 0, NULL));

    framebuffer_sample *sample = NULL;
    EXPECT(OK, framebuffer_subscriber_try_next(subscriber, &sample));
    CHECK(framebuffer_sample_size(sample) == sizeof pixels && (uintptr_t)framebuffer_sample_data(sample) % 64 == 0);
    CHECK(memcmp(framebuffer_sample_data(sample), pixels, sizeof pixels) == 0);
    framebuffer_descriptor heard;
    EXPECT(OK, framebuffer_sample_descriptor(sample, &heard));
    CHECK(memcmp(&heard, &said, sizeof said) == 0);
    CHECK(framebuffer_sample_number(sample) == 0 && framebuffer_sample_time_ns(sample) == 42);
    CHECK(framebuffer_sample_committed_ns(sample) > UINT64_C(1700000000000000000));
    framebuffer_frame frame;
    EXPECT(OK, framebuffer_sample_frame(sample, &frame));
    CHECK(memcmp(&frame, &sent.frame, sizeof frame) == 0);
    CHECK(framebuffer_sample_is_hashed(sample));
    EXPECT(OK, framebuffer_sample_verify(sample));
    framebuffer_sample_release(sample);

    EXPECT(OK, framebuffer_subscriber_next(subscriber, LONG_MS, &sample));
    CHECK(framebuffer_sample_size(sample) == 0 && framebuffer_sample_number(sample) == 1);
    CHECK(framebuffer_sample_time_ns(sample) == framebuffer_sample_committed_ns(sample));
    framebuffer_sample_release(sample);
    framebuffer_subscriber_close(subscriber);
    framebuffer_publisher_close(publisher);
    stop(it);
}

static void no_frame_is_a_status_of_its_own_and_comes_in_time(void) {
    ring it = start();
    framebuffer_subscriber *subscriber = subscriber_of(it.client, "camera");
    framebuffer_sample *sample = (framebuffer_sample *)&it;
    EXPECT_MESSAGE(NO_FRAME, framebuffer_subscriber_next(subscriber, 50, &sample), "no frame", "channel");
    CHECK(sample == NULL);
    EXPECT(NO_FRAME, framebuffer_subscriber_next(subscriber, 0, &sample));
    EXPECT(NO_FRAME, framebuffer_subscriber_try_next(subscriber, &sample));
    EXPECT(NO_FRAME, framebuffer_subscriber_latest(subscriber, &sample));
    framebuffer_publisher *publisher = publisher_of(it.client, "camera");
    send_byte(publisher, 1);
    EXPECT(OK, framebuffer_subscriber_next(subscriber, FRAMEBUFFER_FOREVER, &sample));
    framebuffer_sample_release(sample);
    framebuffer_publisher_close(publisher);
    framebuffer_subscriber_close(subscriber);
    stop(it);
}

static void a_subscriber_begins_where_it_is_asked_to(void) {
    ring it = start();
    framebuffer_publisher *publisher = publisher_of(it.client, "camera");
    for (unsigned char value = 0; value < 5; value++) {
        CHECK(send_byte(publisher, value) == value);
    }
    framebuffer_subscriber *subscribers[] = {
        subscriber_of(it.client, "camera"),
        subscriber_from(it.client, "camera", FRAMEBUFFER_START_LATEST, 1),
        subscriber_from(it.client, "camera", FRAMEBUFFER_START_NEW, 0),
        subscriber_from(it.client, "camera", FRAMEBUFFER_START_OLDEST, 0),
        subscriber_from(it.client, "camera", FRAMEBUFFER_START_AFTER, 1),
        subscriber_from(it.client, "camera", FRAMEBUFFER_START_AFTER, 1000),
    };
    const unsigned char first[] = {4, 4, 5, 0, 2, 0};
    send_byte(publisher, 5);
    for (size_t i = 0; i < sizeof first; i++) {
        CHECK(counts_of(subscribers[i]).next_number == first[i]);
        for (unsigned char value = first[i]; value < 6; value++) {
            CHECK(next_byte(subscribers[i]) == value);
        }
        framebuffer_subscriber_close(subscribers[i]);
    }
    framebuffer_publisher_close(publisher);
    stop(it);
}

static void received_and_lost_and_skipped_are_all_that_was_sent(void) {
    ring it = start();
    framebuffer_publisher *publisher = publisher_of(it.client, "camera");
    framebuffer_subscriber *subscriber = subscriber_of(it.client, "camera");
    send_byte(publisher, 0);
    CHECK(next_byte(subscriber) == 0);
    for (unsigned char value = 1; value < 4; value++) {
        send_byte(publisher, value);
    }
    framebuffer_sample *sample = NULL;
    EXPECT(OK, framebuffer_subscriber_latest(subscriber, &sample));
    CHECK(framebuffer_sample_number(sample) == 3);
    framebuffer_sample_release(sample);
    EXPECT(NO_FRAME, framebuffer_subscriber_latest(subscriber, &sample));
    framebuffer_counts counts = counts_of(subscriber);
    CHECK(counts.received == 2 && counts.lost == 0 && counts.skipped == 2 && counts.next_number == 4);

    send_byte(publisher, 4);
    send_byte(publisher, 5);
    lap(it.client); /* the publisher keeps its last frame */
    CHECK(next_byte(subscriber) == 5);
    counts = counts_of(subscriber);
    CHECK(counts.received == 3 && counts.lost == 1 && counts.skipped == 2 && counts.next_number == 6);

    /* A program of an older header, and of a newer one. */
    uint64_t words[6] = {7, 7, 7, 7, 7, 7};
    framebuffer_counts *older = (framebuffer_counts *)words;
    EXPECT(OK, framebuffer_subscriber_counts(subscriber, older, 8));
    CHECK(words[0] == 3 && words[1] == 7);
    EXPECT(OK, framebuffer_subscriber_counts(subscriber, older, sizeof words));
    CHECK(words[3] == 6 && words[4] == 0 && words[5] == 0);
    framebuffer_subscriber_close(subscriber);
    framebuffer_publisher_close(publisher);
    stop(it);
}

static framebuffer_loan *lend(framebuffer_publisher *publisher, unsigned char value) {
    framebuffer_loan *loan = NULL;
    EXPECT(OK, framebuffer_publisher_loan(publisher, SIZE, &loan));
    CHECK(framebuffer_loan_size(loan) == SIZE && (uintptr_t)framebuffer_loan_data(loan) % 64 == 0);
    EXPECT(OK, framebuffer_loan_truncate(loan, 1));
    *framebuffer_loan_data(loan) = value;
    return loan;
}

static void loans_are_sent_in_any_order_or_not_at_all(void) {
    ring it = start();
    framebuffer_publisher *publisher = publisher_keeping(it.client, "camera", 2);
    framebuffer_subscriber *subscriber = subscriber_of(it.client, "camera");
    framebuffer_loan *first = lend(publisher, 1), *second = lend(publisher, 2), *third = lend(publisher, 3);
    framebuffer_sent sent;
    EXPECT(OK, framebuffer_publisher_send_loan(publisher, third, NULL, 0, &sent));
    CHECK(sent.number == 0 && sent.frame.size == 1);
    CHECK(send_byte(publisher, 4) == 1);
    const framebuffer_descriptor byte = {.element = FRAMEBUFFER_ELEMENT_U8, .dims = {1}, .rank = 1};
    EXPECT(OK, framebuffer_publisher_send_loan_unhashed(publisher, first, &byte, 0, &sent));
    CHECK(sent.number == 2);
    framebuffer_loan_abandon(second);
    CHECK(next_byte(subscriber) == 3 && next_byte(subscriber) == 4);
    framebuffer_sample *sample = NULL;
    EXPECT(OK, framebuffer_subscriber_try_next(subscriber, &sample));
    CHECK(*framebuffer_sample_data(sample) == 1 && !framebuffer_sample_is_hashed(sample));
    EXPECT(OK, framebuffer_sample_verify(sample));
    framebuffer_descriptor said;
    EXPECT(OK, framebuffer_sample_descriptor(sample, &said));
    CHECK(memcmp(&said, &byte, sizeof said) == 0);
    framebuffer_sample_release(sample);
    EXPECT(NO_FRAME, framebuffer_subscriber_try_next(subscriber, &sample));
    framebuffer_subscriber_close(subscriber);
    framebuffer_publisher_close(publisher);
    framebuffer_stats stats;
    EXPECT(OK, framebuffer_server_stats(it.server, &stats, sizeof stats));
    CHECK(stats.pins == 0);
    stop(it);
}

static void a_lossless_subscriber_loses_nothing_and_holds_its_publisher_up(void) {
    ring it = start();
    framebuffer_publisher *publisher = publisher_keeping(it.client, "log", 2);
    framebuffer_subscriber *subscriber = lossless_of(it.client, "log");
    EXPECT(OK, framebuffer_publisher_ready(publisher, 0));
    send_byte(publisher, 0);
    send_byte(publisher, 1);
    lap(it.client);
    EXPECT_MESSAGE(BACKLOG, framebuffer_publisher_send(publisher, "x", 1, NULL, 0, NULL), "receive frame 0", "last 2");
    EXPECT(BACKLOG, framebuffer_publisher_send(publisher, "x", 1, NULL, 30, NULL));
    EXPECT(BACKLOG, framebuffer_publisher_ready(publisher, 0));
    EXPECT(BACKLOG, framebuffer_publisher_flush(publisher, 30));
    framebuffer_loan *loan = lend(publisher, 9);
    EXPECT(BACKLOG, framebuffer_publisher_send_loan(publisher, loan, NULL, 0, NULL));
    CHECK(next_byte(subscriber) == 0);
    EXPECT(OK, framebuffer_publisher_ready(publisher, 0));
    loan = lend(publisher, 2);
    EXPECT(OK, framebuffer_publisher_send_loan(publisher, loan, NULL, FRAMEBUFFER_FOREVER, NULL));
    CHECK(next_byte(subscriber) == 1 && next_byte(subscriber) == 2);
    EXPECT(OK, framebuffer_publisher_flush(publisher, 0));
    CHECK(counts_of(subscriber).lost == 0 && counts_of(subscriber).received == 3);
    framebuffer_subscriber_close(subscriber);
    for (unsigned char value = 0; value < 5; value++) {
        send_byte(publisher, value);
    }
    framebuffer_publisher_close(publisher);
    stop(it);
}

static void publishers_subscribers_and_samples_outlive_their_client(void) {
    ring it = start();
    framebuffer_publisher *publisher = publisher_of(it.client, "camera");
    framebuffer_subscriber *subscriber = subscriber_of(it.client, "camera");
    framebuffer_loan *loan = lend(publisher, 1), *other = lend(publisher, 2);
    framebuffer_client_close(it.client);
    EXPECT(OK, framebuffer_publisher_send_loan(publisher, loan, NULL, 0, NULL));
    send_byte(publisher, 7);
    framebuffer_publisher_close(publisher);
    CHECK(next_byte(subscriber) == 1);
    framebuffer_sample *sample = NULL;
    EXPECT(OK, framebuffer_subscriber_next(subscriber, LONG_MS, &sample));
    framebuffer_subscriber_close(subscriber);

    framebuffer_client *client = NULL;
    EXPECT(OK, framebuffer_client_open(framebuffer_server_key(it.server), NULL, &client));
    lap(client);
    *framebuffer_loan_data(other) = 3;
    CHECK(*framebuffer_sample_data(sample) == 7 && framebuffer_sample_number(sample) == 1);
    EXPECT(OK, framebuffer_sample_verify(sample));
    framebuffer_sample_release(sample);
    framebuffer_frame frame;
    EXPECT(INVALID_ARGUMENT, framebuffer_loan_commit(other, &frame)); /* the last that was left of the first client */
    framebuffer_client_close(client);
    EXPECT(OK, framebuffer_server_stop(it.server));
}

static void channels_are_listed_with_their_figures(void) {
    ring it = start();
    framebuffer_channel channels[FRAMEBUFFER_MAX_CHANNELS];
    size_t count = 7;
    EXPECT(OK, framebuffer_client_channels(it.client, channels, sizeof *channels, FRAMEBUFFER_MAX_CHANNELS, &count));
    CHECK(count == 0);
    framebuffer_publisher_options options = FRAMEBUFFER_PUBLISHER_OPTIONS_DEFAULT;
    options.keep = 3;
    options.content_type = "video/x-raw,format=NV12";
    framebuffer_publisher *publisher = NULL;
    EXPECT(OK, framebuffer_publisher_open(it.client, "b/camera", &options, &publisher));
    framebuffer_subscriber *subscriber = lossless_of(it.client, "b/camera");
    framebuffer_subscriber *other = subscriber_of(it.client, "a.depth");
    send_byte(publisher, 0);
    send_byte(publisher, 1);
    CHECK(next_byte(subscriber) == 0);

    EXPECT(OK, framebuffer_client_channels(it.client, channels, sizeof *channels, FRAMEBUFFER_MAX_CHANNELS, &count));
    CHECK(count == 2 && strcmp(channels[0].name, "a.depth") == 0 && strcmp(channels[1].name, "b/camera") == 0);
    const framebuffer_channel *camera = &channels[1];
    CHECK(strcmp(camera->content_type, options.content_type) == 0 && channels[0].content_type[0] == '\0');
    CHECK(camera->frames == 2 && camera->bytes == 2 && camera->lost == 0 && camera->skipped == 0);
    CHECK(camera->publishers == 1 && camera->subscribers == 1 && camera->lossless == 1);
    CHECK(camera->lossless_subscribers[0].next_number == 1 && camera->last_sent_ns > UINT64_C(1700000000000000000));
    CHECK(channels[0].subscribers == 1 && channels[0].publishers == 0 && channels[0].last_sent_ns == 0);

    /* Too few elements, none at all, and structs of older and newer headers. */
    memset(channels, 'x', sizeof channels);
    EXPECT(OK, framebuffer_client_channels(it.client, channels, sizeof *channels, 1, &count));
    CHECK(count == 2 && strcmp(channels[0].name, "a.depth") == 0 && channels[1].name[0] == 'x');
    EXPECT(OK, framebuffer_client_channels(it.client, NULL, sizeof *channels, 0, &count));
    CHECK(count == 2);
    char names[2][64];
    EXPECT(OK, framebuffer_client_channels(it.client, (framebuffer_channel *)names, sizeof *names, 2, &count));
    CHECK(strcmp(names[0], "a.depth") == 0 && strcmp(names[1], "b/camera") == 0);
    EXPECT(OK, framebuffer_client_channels(it.client, channels, 2 * sizeof *channels, 2, &count));
    CHECK(strcmp(channels[2].name, "b/camera") == 0 && channels[3].name[0] == '\0');
    framebuffer_subscriber_close(other);
    framebuffer_subscriber_close(subscriber);
    framebuffer_publisher_close(publisher);
    stop(it);
}

#define AT(type, member, offset) CHECK(offsetof(type, member) == (offset))

/* Programs that were built with this header run with later libraries. A member that is added comes at the end of its
   struct: of those that are passed with their size only. */
static void the_structs_have_the_layout_that_programs_were_built_with(void) {
    const size_t word = sizeof(size_t);
    CHECK(sizeof(framebuffer_descriptor) == 56 && sizeof(framebuffer_sent) == 40);
    AT(framebuffer_descriptor, element, 8);
    AT(framebuffer_descriptor, fourcc, 12);
    AT(framebuffer_descriptor, dims, 16);
    AT(framebuffer_descriptor, rank, 32);
    AT(framebuffer_descriptor, row_stride, 40);
    AT(framebuffer_descriptor, user, 48);
    AT(framebuffer_sent, frame, 8);
    AT(framebuffer_publisher_options, keep, word);
    AT(framebuffer_publisher_options, content_type, 2 * word);
    AT(framebuffer_subscriber_options, start, 8);
    AT(framebuffer_subscriber_options, lossless, 12);
    AT(framebuffer_subscriber_options, after, 16);
    AT(framebuffer_subscriber_options, spin_us, 24);
    AT(framebuffer_counts, lost, 8);
    AT(framebuffer_counts, skipped, 16);
    AT(framebuffer_counts, next_number, 24);
    AT(framebuffer_channel, content_type, 64);
    AT(framebuffer_channel, frames, 320);
    AT(framebuffer_channel, last_sent_ns, 352);
    AT(framebuffer_channel, lossless, 376);
    AT(framebuffer_channel, lossless_subscribers, 384);
    CHECK(FRAMEBUFFER_STATUS_NO_FRAME == 24 && FRAMEBUFFER_STATUS_BACKLOG == 25 && FRAMEBUFFER_STATUS_INTERRUPTED == 26);
    CHECK(FRAMEBUFFER_STATUS_CHANNEL == 27 && FRAMEBUFFER_STATUS_BUSY == 28);
    CHECK(FRAMEBUFFER_START_LATEST == 0 && FRAMEBUFFER_START_NEW == 1);
    CHECK(FRAMEBUFFER_START_OLDEST == 2 && FRAMEBUFFER_START_AFTER == 3);
    CHECK(FRAMEBUFFER_ELEMENT_BF16 == 0x00011004 && FRAMEBUFFER_FOURCC('N', 'V', '1', '2') == 0x3231564e);
}

int main(int argc, char **argv) {
#define CHECK_NAMED(name) {#name, name}
    static const check checks[] = {
        CHECK_NAMED(what_is_sent_is_received_with_what_was_said_of_it),
        CHECK_NAMED(no_frame_is_a_status_of_its_own_and_comes_in_time),
        CHECK_NAMED(a_subscriber_begins_where_it_is_asked_to),
        CHECK_NAMED(received_and_lost_and_skipped_are_all_that_was_sent),
        CHECK_NAMED(loans_are_sent_in_any_order_or_not_at_all),
        CHECK_NAMED(a_lossless_subscriber_loses_nothing_and_holds_its_publisher_up),
        CHECK_NAMED(publishers_subscribers_and_samples_outlive_their_client),
        CHECK_NAMED(channels_are_listed_with_their_figures),
        CHECK_NAMED(the_structs_have_the_layout_that_programs_were_built_with),
    };
    return RUN_CHECKS(checks, argc, argv);
}
