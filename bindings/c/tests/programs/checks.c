/*
 * Checks of the C API's promises. A test of the same name in tests/installed/checks.rs runs each check; others run all
 * of them together, under AddressSanitizer and under valgrind.
 */

#define _POSIX_C_SOURCE 200809L

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ring.h"

static void what_is_published_is_read_by_copy_and_in_place(void) {
    ring it = start();
    const framebuffer_frame frame = publish(it.client, 7);
    CHECK(frame.size == SIZE);
    unsigned char copy[SIZE + 1] = {0};
    EXPECT(OK, framebuffer_client_read(it.client, frame.offset, SIZE, frame.checksum, copy));
    CHECK(consists_of(copy, SIZE, 7));
    memset(copy, 0, sizeof copy);
    EXPECT(OK, framebuffer_client_read_frame(it.client, &frame, copy, sizeof copy));
    CHECK(consists_of(copy, SIZE, 7) && copy[SIZE] == 0);
    uint64_t checksum = 0;
    EXPECT(OK, framebuffer_checksum(copy, SIZE, &checksum));
    CHECK(checksum == frame.checksum);

    framebuffer_view *view = NULL;
    EXPECT(OK, framebuffer_client_view(it.client, &frame, &view));
    CHECK(framebuffer_view_size(view) == SIZE && (uintptr_t)framebuffer_view_data(view) % 64 == 0);
    CHECK(consists_of(framebuffer_view_data(view), SIZE, 7));
    CHECK(framebuffer_view_is_hashed(view));
    EXPECT(OK, framebuffer_view_verify(view));
    framebuffer_frame same;
    EXPECT(OK, framebuffer_view_frame(view, &same));
    CHECK(memcmp(&same, &frame, sizeof frame) == 0);
    framebuffer_view_release(view);
    stop(it);
}

static void what_one_allocates_another_writes(void) {
    ring it = start();
    uint64_t offset = 0, checksum = 0;
    EXPECT(OK, framebuffer_server_allocate(it.server, 100, &offset));
    char copy[100];
    EXPECT(TIMEOUT, framebuffer_client_read(it.client, offset, 5, checksum, copy));
    CHECK(strstr(framebuffer_error_message(), "not written") != NULL);
    char more[101] = {0};
    EXPECT_MESSAGE(TOO_LARGE, framebuffer_client_write(it.client, offset, more, sizeof more, &checksum), "101 bytes",
                   "100 bytes");
    EXPECT(OK, framebuffer_client_write(it.client, offset, "hello", 5, &checksum));
    EXPECT(OK, framebuffer_client_read(it.client, offset, 5, checksum, copy));
    CHECK(memcmp(copy, "hello", 5) == 0);
    EXPECT(ALREADY_WRITTEN, framebuffer_client_write(it.client, offset, "again", 5, &checksum));
    EXPECT(OK, framebuffer_client_allocate(it.client, 0, &offset));
    EXPECT(OK, framebuffer_client_write(it.client, offset, NULL, 0, &checksum));
    EXPECT(OK, framebuffer_client_read(it.client, offset, 0, checksum, NULL));
    stop(it);
}

static void a_loan_is_committed_shortened_or_abandoned(void) {
    ring it = start();
    framebuffer_loan *loan = NULL;
    framebuffer_frame frame;
    framebuffer_view *view = NULL;

    EXPECT(OK, framebuffer_client_loan(it.client, SIZE, &loan));
    CHECK(framebuffer_loan_size(loan) == SIZE && (uintptr_t)framebuffer_loan_data(loan) % 64 == 0);
    memset(framebuffer_loan_data(loan), 9, SIZE);
    EXPECT(OK, framebuffer_loan_truncate(loan, 2 * SIZE));
    EXPECT(OK, framebuffer_loan_truncate(loan, 10));
    EXPECT(OK, framebuffer_loan_commit(loan, &frame));
    CHECK(frame.size == 10);
    EXPECT(OK, framebuffer_client_view(it.client, &frame, &view));
    CHECK(consists_of(framebuffer_view_data(view), 10, 9));
    EXPECT(OK, framebuffer_view_verify(view));
    framebuffer_view_release(view);

    EXPECT(OK, framebuffer_client_loan(it.client, SIZE, &loan));
    memset(framebuffer_loan_data(loan), 8, SIZE);
    EXPECT(OK, framebuffer_loan_commit_unhashed(loan, &frame));
    EXPECT(OK, framebuffer_client_view(it.client, &frame, &view));
    CHECK(!framebuffer_view_is_hashed(view) && consists_of(framebuffer_view_data(view), SIZE, 8));
    framebuffer_view_release(view);

    EXPECT(OK, framebuffer_client_loan(it.client, SIZE, &loan));
    framebuffer_stats stats;
    EXPECT(OK, framebuffer_client_stats(it.client, &stats, sizeof stats));
    const uint64_t written = stats.frames_written;
    CHECK(stats.pins == 1);
    framebuffer_loan_abandon(loan);
    EXPECT(OK, framebuffer_server_stats(it.server, &stats, sizeof stats));
    CHECK(stats.pins == 0 && stats.frames_written == written && written == 2);
    stop(it);
}

static void a_frame_as_json_is_the_same_frame(void) {
    const framebuffer_frame frame = {64, 6220800, 0x2d06800538d394c2, 0x91b5c3f0a6e24d18};
    const char *json =
        "{\"offset\":64,\"size\":6220800,\"checksum\":\"2d06800538d394c2\",\"ring\":\"91b5c3f0a6e24d18\"}";
    char text[FRAMEBUFFER_FRAME_JSON_SIZE];
    EXPECT(OK, framebuffer_frame_to_json(&frame, text, sizeof text));
    CHECK(strcmp(text, json) == 0);
    memset(text, 'x', sizeof text);
    EXPECT_MESSAGE(BUFFER_TOO_SMALL, framebuffer_frame_to_json(&frame, text, strlen(json)), "84 bytes", "85 are needed");
    CHECK(text[0] == 'x');
    EXPECT(OK, framebuffer_frame_to_json(&frame, text, strlen(json) + 1));

    framebuffer_frame read = {0, 0, 0, 0};
    EXPECT(OK, framebuffer_frame_from_json(json, strlen(json), &read));
    CHECK(memcmp(&read, &frame, sizeof frame) == 0);
    const char *larger = "{\"camera\": 3, \"size\": 6220800, \"checksum\": \"2D06800538D394C2\", \"offset\": 64}";
    EXPECT(OK, framebuffer_frame_from_json(larger, strlen(larger), &read));
    CHECK(memcmp(&read, &frame, offsetof(framebuffer_frame, ring)) == 0);
    CHECK(read.ring == 0); /* descriptions of before name no ring */
    EXPECT(OK, framebuffer_frame_to_json(&read, text, sizeof text));
    CHECK(strstr(text, "ring") == NULL);
    const char *bad[] = {"", "{", "null", "{\"offset\":-1,\"size\":1,\"checksum\":\"2d06800538d394c2\"}",
                         "{\"offset\":1,\"size\":1,\"checksum\":\"short\"}", "{\"offset\":1,\"size\":1}", "\xff\xfe",
                         "{\"offset\":1,\"size\":1,\"checksum\":\"2d06800538d394c2\",\"ring\":\"0000000000000000\"}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        EXPECT(INVALID_ARGUMENT, framebuffer_frame_from_json(bad[i], strlen(bad[i]), &read));
    }
}

static void a_frame_of_the_ring_before_is_refused_whatever_lies_at_its_offset(void) {
    ring it = start();
    char key[256], copy[SIZE];
    snprintf(key, sizeof key, "%s", framebuffer_server_key(it.server));
    const framebuffer_frame old = publish(it.client, 7);
    CHECK(old.ring != 0 && old.ring == framebuffer_client_ring_id(it.client));
    CHECK(framebuffer_server_ring_id(it.server) == old.ring && framebuffer_client_ring_id(NULL) == 0);
    stop(it);
    EXPECT(OK, framebuffer_server_start(key, RING, &it.server));
    EXPECT(OK, framebuffer_client_open(key, NULL, &it.client));
    const framebuffer_frame same = publish(it.client, 7);
    CHECK(same.offset == old.offset && same.checksum == old.checksum && same.ring != old.ring);
    EXPECT_MESSAGE(OTHER_RING, framebuffer_client_read_frame(it.client, &old, copy, sizeof copy), "of ring", "replaced");
    EXPECT(OTHER_RING, framebuffer_client_read_frame(it.client, &old, copy, 1));
    framebuffer_view *view = NULL;
    EXPECT(OTHER_RING, framebuffer_client_view(it.client, &old, &view));
    framebuffer_frame huge = old;
    huge.size = UINT64_MAX;
    EXPECT(OTHER_RING, framebuffer_client_read_frame(it.client, &huge, copy, sizeof copy));
    framebuffer_frame unknown = old;
    unknown.ring = 0;
    EXPECT(OK, framebuffer_client_read_frame(it.client, &unknown, copy, sizeof copy));
    EXPECT(OK, framebuffer_client_read_frame(it.client, &same, copy, sizeof copy));
    stop(it);
}

static void views_and_loans_outlive_their_client(void) {
    ring it = start();
    const framebuffer_frame frame = publish(it.client, 7);
    framebuffer_view *view = NULL;
    framebuffer_loan *loan = NULL;
    EXPECT(OK, framebuffer_client_view(it.client, &frame, &view));
    EXPECT(OK, framebuffer_client_loan(it.client, SIZE, &loan));
    framebuffer_client *other = NULL;
    EXPECT(OK, framebuffer_client_open(framebuffer_server_key(it.server), NULL, &other));
    framebuffer_client_close(it.client);

    lap(other);
    CHECK(consists_of(framebuffer_view_data(view), SIZE, 7));
    EXPECT(OK, framebuffer_view_verify(view));
    memset(framebuffer_loan_data(loan), 8, SIZE);
    framebuffer_frame written;
    EXPECT(OK, framebuffer_loan_commit(loan, &written));
    framebuffer_view_release(view);
    framebuffer_client_close(other);
    EXPECT(OK, framebuffer_server_stop(it.server));
}

static void a_ring_whose_server_has_stopped_is_retired_and_its_views_stay(void) {
    ring it = start();
    const framebuffer_frame frame = publish(it.client, 7);
    char copy[SIZE];
    uint64_t offset = 0;
    framebuffer_frame other;
    framebuffer_view *view = NULL, *none = NULL;
    EXPECT(OK, framebuffer_client_view(it.client, &frame, &view));
    EXPECT(OK, framebuffer_server_stop(it.server));
    EXPECT_MESSAGE(RETIRED, framebuffer_client_publish(it.client, copy, 0, &other), "given up", "open it anew");
    EXPECT(RETIRED, framebuffer_client_allocate(it.client, 1, &offset));
    EXPECT(RETIRED, framebuffer_client_read_frame(it.client, &frame, copy, sizeof copy));
    EXPECT(RETIRED, framebuffer_client_view(it.client, &frame, &none));
    CHECK(framebuffer_client_size(it.client) > 0 && framebuffer_client_ring_id(it.client) == frame.ring);
    framebuffer_client_close(it.client);
    CHECK(consists_of(framebuffer_view_data(view), SIZE, 7));
    EXPECT(OK, framebuffer_view_verify(view));
    framebuffer_view_release(view);
}

static void a_ring_that_is_kept_is_adopted_by_the_next_server(void) {
    framebuffer_server *server = NULL;
    framebuffer_client *client = NULL;
    EXPECT(OK, framebuffer_server_start_with("kept", RING, NULL, 0600, true, &server));
    EXPECT(OK, framebuffer_client_open("kept", NULL, &client));
    const framebuffer_frame frame = publish(client, 7);
    EXPECT(OK, framebuffer_server_stop(server));
    EXPECT_MESSAGE(SIZE_DIFFERS, framebuffer_server_start_with("kept", RING + 1, NULL, 0600, true, &server), "1048576",
                   "1048577");
    EXPECT(OK, framebuffer_server_start_with("kept", RING, NULL, 0600, true, &server));
    char copy[SIZE];
    EXPECT(OK, framebuffer_client_read_frame(client, &frame, copy, sizeof copy));
    CHECK(framebuffer_server_ring_id(server) == frame.ring);
    EXPECT(OK, framebuffer_server_reap(server));
    EXPECT(OK, framebuffer_server_stop(server));
    EXPECT(OK, framebuffer_server_start_with("kept", RING, NULL, 0600, false, &server));
    EXPECT(RETIRED, framebuffer_client_read_frame(client, &frame, copy, sizeof copy));
    framebuffer_client_close(client);
    EXPECT(OK, framebuffer_server_stop(server));
}

enum { THREADS = 8, ROUNDS = 500 };

typedef struct worker {
    pthread_t thread;
    const framebuffer_client *client;
    unsigned char number;
} worker;

static void *work(void *argument) {
    const worker *me = argument;
    char text[32];
    for (unsigned round = 0; round < ROUNDS; round++) {
        const framebuffer_frame frame = publish(me->client, me->number);
        framebuffer_view *view = NULL;
        const framebuffer_status status = framebuffer_client_view(me->client, &frame, &view);
        CHECK(status == FRAMEBUFFER_STATUS_OK || status == FRAMEBUFFER_STATUS_TIMEOUT);
        CHECK(status != FRAMEBUFFER_STATUS_OK || consists_of(framebuffer_view_data(view), SIZE, me->number));
        /* Another thread's error is not ours. */
        framebuffer_frame none = {64, RING + 1 + me->number, 0, 0};
        EXPECT(LARGER_THAN_RING, framebuffer_client_read_frame(me->client, &none, text, sizeof text));
        snprintf(text, sizeof text, " %u bytes", RING + 1 + me->number);
        CHECK(strstr(framebuffer_error_message(), text) != NULL);
        framebuffer_view_release(view);
    }
    return NULL;
}

static void many_threads_use_one_client_and_have_their_own_messages(void) {
    ring it = start();
    worker workers[THREADS];
    for (unsigned char i = 0; i < THREADS; i++) {
        workers[i].client = it.client;
        workers[i].number = i;
        CHECK(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        CHECK(pthread_join(workers[i].thread, NULL) == 0);
    }
    framebuffer_stats stats;
    EXPECT(OK, framebuffer_client_stats(it.client, &stats, sizeof stats));
    CHECK(stats.frames_written == THREADS * ROUNDS && stats.pins == 0);
    stop(it);
}

static void *release(void *view) {
    framebuffer_view_release(view);
    return NULL;
}

static void a_view_may_be_released_by_another_thread(void) {
    ring it = start();
    const framebuffer_frame frame = publish(it.client, 7);
    framebuffer_view *view = NULL;
    EXPECT(OK, framebuffer_client_view(it.client, &frame, &view));
    framebuffer_client_close(it.client);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, release, view) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    EXPECT(OK, framebuffer_server_stop(it.server));
}

/* Checks what a child can do with inherited handles. Ends the child. */
static void be_the_child(ring it, const framebuffer_frame *frame, framebuffer_view *view, framebuffer_loan *loan,
                         int to_parent) {
    char copy[SIZE];
    EXPECT(OK, framebuffer_client_read_frame(it.client, frame, copy, sizeof copy));
    CHECK(consists_of(framebuffer_view_data(view), SIZE, 7));
    framebuffer_view_release(view);
    framebuffer_frame written;
    EXPECT(FORKED, framebuffer_loan_commit(loan, &written));
    written = publish(it.client, 9);
    CHECK(write(to_parent, &written, sizeof written) == sizeof written);
    framebuffer_client_close(it.client);
    EXPECT(OK, framebuffer_server_stop(it.server));
    /* No exit: memory of threads that only the parent has is lost in a child, and would count as a leak. */
    execlp("true", "true", (char *)NULL);
    CHECK(!"exec fails");
}

static void a_forked_child_goes_on_and_cannot_harm_its_parent(void) {
    ring it = start();
    const framebuffer_frame frame = publish(it.client, 7);
    framebuffer_view *view = NULL;
    framebuffer_loan *loan = NULL;
    EXPECT(OK, framebuffer_client_view(it.client, &frame, &view));
    EXPECT(OK, framebuffer_client_loan(it.client, SIZE, &loan));
    int from_child[2];
    CHECK(pipe(from_child) == 0);
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        be_the_child(it, &frame, view, loan, from_child[1]);
    }
    framebuffer_frame written;
    CHECK(close(from_child[1]) == 0);
    CHECK(read(from_child[0], &written, sizeof written) == sizeof written);
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS);
    CHECK(close(from_child[0]) == 0);

    unsigned char copy[SIZE];
    EXPECT(OK, framebuffer_client_read_frame(it.client, &written, copy, sizeof copy));
    CHECK(consists_of(copy, SIZE, 9));
    lap(it.client);
    CHECK(consists_of(framebuffer_view_data(view), SIZE, 7));
    memset(framebuffer_loan_data(loan), 8, SIZE);
    EXPECT(OK, framebuffer_loan_commit(loan, &written));
    framebuffer_view_release(view);
    stop(it);
}

static void the_version_is_that_of_the_header(void) {
    CHECK(strcmp(framebuffer_version(), FRAMEBUFFER_VERSION) == 0);
    char numbers[32];
    snprintf(numbers, sizeof numbers, "%d.%d.%d", FRAMEBUFFER_VERSION_MAJOR, FRAMEBUFFER_VERSION_MINOR,
             FRAMEBUFFER_VERSION_PATCH);
    CHECK(strcmp(numbers, FRAMEBUFFER_VERSION) == 0);
    CHECK(strcmp(framebuffer_status_name(FRAMEBUFFER_STATUS_TIMEOUT), "timeout") == 0);
}

int main(int argc, char **argv) {
#define CHECK_NAMED(name) {#name, name}
    static const check checks[] = {
        CHECK_NAMED(what_is_published_is_read_by_copy_and_in_place),
        CHECK_NAMED(what_one_allocates_another_writes),
        CHECK_NAMED(a_loan_is_committed_shortened_or_abandoned),
        CHECK_NAMED(a_frame_as_json_is_the_same_frame),
        CHECK_NAMED(a_frame_of_the_ring_before_is_refused_whatever_lies_at_its_offset),
        CHECK_NAMED(views_and_loans_outlive_their_client),
        CHECK_NAMED(a_ring_whose_server_has_stopped_is_retired_and_its_views_stay),
        CHECK_NAMED(a_ring_that_is_kept_is_adopted_by_the_next_server),
        CHECK_NAMED(many_threads_use_one_client_and_have_their_own_messages),
        CHECK_NAMED(a_view_may_be_released_by_another_thread),
        CHECK_NAMED(a_forked_child_goes_on_and_cannot_harm_its_parent),
        CHECK_NAMED(the_version_is_that_of_the_header),
    };
    return RUN_CHECKS(checks, argc, argv);
}
