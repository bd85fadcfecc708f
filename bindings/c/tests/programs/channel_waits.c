/*
 * Checks of channels between threads and processes, in event loops, and with signals. Run as checks.c is.
 */

#define _POSIX_C_SOURCE 200809L

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "channel.h"

enum { FRAMES = 1000 };

/* A child, which does not end by itself: it has memory of its parent's threads, but not the threads, and valgrind would
   say at its end that it is lost. */
typedef struct staying_child {
    pid_t pid;
    int pipe[2];
} staying_child;

static staying_child fork_staying(void) {
    staying_child child;
    CHECK(pipe(child.pipe) == 0);
    child.pid = fork();
    CHECK(child.pid >= 0 && close(child.pipe[child.pid == 0 ? 0 : 1]) == 0);
    return child;
}

static void stay(staying_child child) {
    CHECK(write(child.pipe[1], "", 1) == 1);
    for (;;) {
        pause();
    }
}

static void comes_to_stay(staying_child child) {
    char byte;
    CHECK(read(child.pipe[0], &byte, 1) == 1);
    CHECK(close(child.pipe[0]) == 0 && kill(child.pid, SIGKILL) == 0 && waitpid(child.pid, NULL, 0) == child.pid);
}

static void two_processes_pass_frames_and_lose_none(void) {
    ring it = start();
    framebuffer_subscriber *subscriber = lossless_of(it.client, "log");
    const char *key = framebuffer_server_key(it.server);
    const staying_child child = fork_staying();
    if (child.pid == 0) {
        framebuffer_client *client = NULL;
        EXPECT(OK, framebuffer_client_open(key, NULL, &client));
        framebuffer_publisher *publisher = publisher_keeping(client, "log", 4);
        for (uint32_t number = 0; number < FRAMES; number++) {
            EXPECT(OK, framebuffer_publisher_send(publisher, &number, sizeof number, NULL, FRAMEBUFFER_FOREVER, NULL));
        }
        EXPECT(OK, framebuffer_publisher_flush(publisher, LONG_MS));
        framebuffer_publisher_close(publisher);
        framebuffer_client_close(client);
        framebuffer_subscriber_close(subscriber); /* changes nothing for the parent */
        stop(it);
        stay(child);
    }
    for (uint32_t number = 0; number < FRAMES; number++) {
        framebuffer_sample *sample = NULL;
        EXPECT(OK, framebuffer_subscriber_next(subscriber, LONG_MS, &sample));
        CHECK(framebuffer_sample_number(sample) == number);
        CHECK(memcmp(framebuffer_sample_data(sample), &number, sizeof number) == 0);
        framebuffer_sample_release(sample);
    }
    comes_to_stay(child);
    CHECK(counts_of(subscriber).received == FRAMES && counts_of(subscriber).lost == 0);
    framebuffer_subscriber_close(subscriber);
    stop(it);
}

static void a_forked_child_goes_on_with_a_channel_by_itself(void) {
    ring it = start();
    framebuffer_publisher *publisher = publisher_of(it.client, "camera");
    framebuffer_subscriber *subscriber = subscriber_of(it.client, "camera");
    send_byte(publisher, 1);
    framebuffer_sample *sample = NULL;
    EXPECT(OK, framebuffer_subscriber_next(subscriber, LONG_MS, &sample));
    framebuffer_loan *loan = NULL, *abandoned = NULL;
    EXPECT(OK, framebuffer_publisher_loan(publisher, 1, &loan));
    EXPECT(OK, framebuffer_publisher_loan(publisher, 1, &abandoned));
    send_byte(publisher, 2);
    const staying_child child = fork_staying();
    if (child.pid == 0) {
        CHECK(*framebuffer_sample_data(sample) == 1);
        framebuffer_sample_release(sample);
        CHECK(next_byte(subscriber) == 2);
        EXPECT(FORKED, framebuffer_publisher_send_loan(publisher, loan, NULL, 0, NULL));
        framebuffer_loan_abandon(abandoned);
        CHECK(send_byte(publisher, 3) == 2);
        CHECK(next_byte(subscriber) == 3);
        framebuffer_subscriber_close(subscriber);
        framebuffer_publisher_close(publisher);
        stop(it);
        stay(child);
    }
    comes_to_stay(child);
    CHECK(*framebuffer_sample_data(sample) == 1);
    EXPECT(OK, framebuffer_sample_verify(sample));
    framebuffer_sample_release(sample);
    CHECK(next_byte(subscriber) == 2 && next_byte(subscriber) == 3);
    *framebuffer_loan_data(loan) = 4;
    EXPECT(OK, framebuffer_publisher_send_loan(publisher, loan, NULL, 0, NULL));
    framebuffer_loan_abandon(abandoned);
    CHECK(next_byte(subscriber) == 4);
    framebuffer_subscriber_close(subscriber);
    framebuffer_publisher_close(publisher);
    stop(it);
}

static void an_event_loop_waits_for_the_descriptor(void) {
    ring it = start();
    framebuffer_subscriber *subscriber = subscriber_of(it.client, "camera");
    framebuffer_publisher *publisher = publisher_of(it.client, "camera");
    int fd = -1, same = -1;
    EXPECT(OK, framebuffer_subscriber_fd(subscriber, &fd));
    EXPECT(OK, framebuffer_subscriber_fd(subscriber, &same));
    CHECK(fd >= 0 && fd == same);
    const int loop = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = subscriber}};
    CHECK(loop >= 0 && epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event) == 0);
    CHECK(epoll_wait(loop, &event, 1, 0) == 0);
    unsigned char received = 0;
    for (unsigned char sent = 0; received < 30;) {
        for (const unsigned char more = sent + 3; sent < more; sent++) {
            send_byte(publisher, sent);
        }
        CHECK(epoll_wait(loop, &event, 1, LONG_MS) == 1 && event.data.ptr == subscriber);
        framebuffer_sample *sample = NULL;
        /* A frame at a time by turns of the loop, or only the last one of them. */
        if (received % 2 == 0) {
            while (framebuffer_subscriber_try_next(subscriber, &sample) == FRAMEBUFFER_STATUS_OK) {
                framebuffer_sample_release(sample);
            }
        } else {
            EXPECT(OK, framebuffer_subscriber_latest(subscriber, &sample));
            framebuffer_sample_release(sample);
            EXPECT(NO_FRAME, framebuffer_subscriber_latest(subscriber, &sample));
        }
        received = (unsigned char)counts_of(subscriber).next_number;
        CHECK(received == sent && epoll_wait(loop, &event, 1, 0) == 0);
    }
    CHECK(close(loop) == 0);
    framebuffer_publisher_close(publisher);
    framebuffer_subscriber_close(subscriber);
    stop(it);
}

static bool is_readable(int fd, int timeout) {
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    return poll(&poll_fd, 1, timeout) == 1 && poll_fd.revents == POLLIN;
}

static void a_forked_child_asks_for_a_descriptor_of_its_own(void) {
    ring it = start();
    framebuffer_subscriber *subscriber = subscriber_of(it.client, "camera");
    framebuffer_publisher *publisher = publisher_of(it.client, "camera");
    int fd = -1;
    EXPECT(OK, framebuffer_subscriber_fd(subscriber, &fd));
    const staying_child child = fork_staying();
    if (child.pid == 0) {
        EXPECT(OK, framebuffer_subscriber_fd(subscriber, &fd));
        framebuffer_sample *sample = NULL;
        EXPECT(NO_FRAME, framebuffer_subscriber_try_next(subscriber, &sample));
        CHECK(!is_readable(fd, 0));
        send_byte(publisher, 7);
        CHECK(is_readable(fd, LONG_MS) && next_byte(subscriber) == 7);
        stay(child);
    }
    comes_to_stay(child);
    CHECK(is_readable(fd, LONG_MS) && next_byte(subscriber) == 7);
    framebuffer_publisher_close(publisher);
    framebuffer_subscriber_close(subscriber);
    stop(it);
}

static volatile sig_atomic_t signals;
static bool is_done;
static pthread_t signalled, signaller;

static void count_signal(int number) {
    (void)number;
    signals++;
}

static void *signal_until_done(void *unused) {
    const struct timespec pause = {0, 1000 * 1000};
    while (!__atomic_load_n(&is_done, __ATOMIC_SEQ_CST)) {
        CHECK(pthread_kill(signalled, SIGUSR1) == 0);
        nanosleep(&pause, NULL);
    }
    return unused;
}

/* Signals to this thread until end_signals(): the first ones may come before it sleeps. */
static void begin_signals(void) {
    struct sigaction action = {.sa_handler = count_signal, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    signals = 0;
    signalled = pthread_self();
    __atomic_store_n(&is_done, false, __ATOMIC_SEQ_CST);
    CHECK(pthread_create(&signaller, NULL, signal_until_done, NULL) == 0);
}

static void end_signals(void) {
    __atomic_store_n(&is_done, true, __ATOMIC_SEQ_CST);
    CHECK(pthread_join(signaller, NULL) == 0 && signals > 0);
}

static void a_signal_handler_ends_a_wait_without_an_end(void) {
    ring it = start();
    framebuffer_subscriber *subscriber = subscriber_of(it.client, "camera");
    begin_signals();
    framebuffer_sample *sample = NULL;
    EXPECT_MESSAGE(INTERRUPTED, framebuffer_subscriber_next(subscriber, FRAMEBUFFER_FOREVER, &sample), "signal", "channel");
    CHECK(sample == NULL);
    end_signals();
    framebuffer_publisher *publisher = publisher_of(it.client, "camera");
    send_byte(publisher, 7);
    CHECK(next_byte(subscriber) == 7);
    framebuffer_publisher_close(publisher);
    framebuffer_subscriber_close(subscriber);
    stop(it);
}

static void a_signal_handler_ends_a_wait_for_lossless_subscribers_and_nothing_is_lost(void) {
    ring it = start();
    framebuffer_subscriber *subscriber = lossless_of(it.client, "camera");
    framebuffer_publisher *publisher = publisher_of(it.client, "camera");
    framebuffer_loan *loan = NULL;
    EXPECT(OK, framebuffer_publisher_loan(publisher, 1, &loan));
    unsigned char *lent = framebuffer_loan_data(loan);
    *lent = 8;
    send_byte(publisher, 7);
    begin_signals();
    EXPECT(INTERRUPTED, framebuffer_publisher_ready(publisher, FRAMEBUFFER_FOREVER));
    EXPECT(INTERRUPTED, framebuffer_publisher_flush(publisher, FRAMEBUFFER_FOREVER));
    EXPECT(INTERRUPTED, framebuffer_publisher_send(publisher, "x", 1, NULL, FRAMEBUFFER_FOREVER, NULL));
    EXPECT(INTERRUPTED, framebuffer_publisher_send_loan(publisher, loan, NULL, FRAMEBUFFER_FOREVER, NULL));
    EXPECT(INTERRUPTED, framebuffer_publisher_send_loan_unhashed(publisher, loan, NULL, LONG_MS, NULL));
    end_signals();
    CHECK(framebuffer_loan_data(loan) == lent && *lent == 8);
    CHECK(next_byte(subscriber) == 7);
    framebuffer_sent sent;
    EXPECT(OK, framebuffer_publisher_send_loan(publisher, loan, NULL, FRAMEBUFFER_FOREVER, &sent));
    CHECK(sent.number == 1 && next_byte(subscriber) == 8);
    CHECK(counts_of(subscriber).received == 2 && counts_of(subscriber).lost == 0);
    framebuffer_publisher_close(publisher);
    framebuffer_subscriber_close(subscriber);
    stop(it);
}

/* Both wait until they are the one who waits. */
static void *wait_for_a_frame(void *subscriber) {
    framebuffer_sample *sample = NULL;
    framebuffer_status status;
    do {
        status = framebuffer_subscriber_next(subscriber, LONG_MS, &sample);
    } while (status == FRAMEBUFFER_STATUS_BUSY);
    CHECK(status == FRAMEBUFFER_STATUS_OK && *framebuffer_sample_data(sample) == 7);
    framebuffer_sample_release(sample);
    return NULL;
}

static void *wait_for_room(void *publisher) {
    framebuffer_status status;
    do {
        status = framebuffer_publisher_ready(publisher, LONG_MS);
    } while (status == FRAMEBUFFER_STATUS_BUSY);
    CHECK(status == FRAMEBUFFER_STATUS_OK);
    return NULL;
}

static void a_second_thread_gets_an_error_and_may_ask_for_the_counts(void) {
    ring it = start();
    framebuffer_subscriber *subscriber = lossless_of(it.client, "camera");
    framebuffer_publisher *publisher = publisher_of(it.client, "camera");
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, wait_for_a_frame, subscriber) == 0);
    framebuffer_sample *sample = NULL;
    framebuffer_status status;
    do {
        status = framebuffer_subscriber_try_next(subscriber, &sample);
        CHECK(status == FRAMEBUFFER_STATUS_NO_FRAME || status == FRAMEBUFFER_STATUS_BUSY);
    } while (status != FRAMEBUFFER_STATUS_BUSY);
    CHECK(strstr(framebuffer_error_message(), "this subscriber") != NULL && sample == NULL);
    int fd = -1;
    EXPECT(BUSY, framebuffer_subscriber_fd(subscriber, &fd));
    EXPECT(BUSY, framebuffer_subscriber_latest(subscriber, &sample));
    CHECK(counts_of(subscriber).received == 0);
    send_byte(publisher, 7);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(counts_of(subscriber).received == 1);

    send_byte(publisher, 8);
    CHECK(pthread_create(&thread, NULL, wait_for_room, publisher) == 0);
    do {
        status = framebuffer_publisher_ready(publisher, 0);
        CHECK(status == FRAMEBUFFER_STATUS_BACKLOG || status == FRAMEBUFFER_STATUS_BUSY);
    } while (status != FRAMEBUFFER_STATUS_BUSY);
    EXPECT_MESSAGE(BUSY, framebuffer_publisher_send(publisher, "x", 1, NULL, 0, NULL), "this publisher", "one for each");
    framebuffer_loan *loan = NULL;
    EXPECT(BUSY, framebuffer_publisher_loan(publisher, 1, &loan));
    EXPECT(BUSY, framebuffer_publisher_flush(publisher, 0));
    /* A child is not left waiting for a thread that it does not have. */
    const staying_child child = fork_staying();
    if (child.pid == 0) {
        EXPECT(BUSY, framebuffer_publisher_send(publisher, "x", 1, NULL, 0, NULL));
        framebuffer_publisher_close(publisher);
        framebuffer_subscriber_close(subscriber);
        stop(it);
        stay(child);
    }
    comes_to_stay(child);
    CHECK(next_byte(subscriber) == 8);
    CHECK(pthread_join(thread, NULL) == 0);
    framebuffer_publisher_close(publisher);
    framebuffer_subscriber_close(subscriber);
    stop(it);
}

static void *release(void *sample) {
    CHECK(*framebuffer_sample_data(sample) == 7);
    framebuffer_sample_release(sample);
    return NULL;
}

static void a_sample_may_be_released_by_another_thread(void) {
    ring it = start();
    framebuffer_publisher *publisher = publisher_of(it.client, "camera");
    framebuffer_subscriber *subscriber = subscriber_of(it.client, "camera");
    send_byte(publisher, 7);
    framebuffer_sample *sample = NULL;
    EXPECT(OK, framebuffer_subscriber_next(subscriber, LONG_MS, &sample));
    framebuffer_publisher_close(publisher);
    framebuffer_subscriber_close(subscriber);
    framebuffer_client_close(it.client);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, release, sample) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    framebuffer_stats stats;
    EXPECT(OK, framebuffer_server_stats(it.server, &stats, sizeof stats));
    CHECK(stats.pins == 0);
    EXPECT(OK, framebuffer_server_stop(it.server));
}

int main(int argc, char **argv) {
#define CHECK_NAMED(name) {#name, name}
    static const check checks[] = {
        CHECK_NAMED(two_processes_pass_frames_and_lose_none),
        CHECK_NAMED(a_forked_child_goes_on_with_a_channel_by_itself),
        CHECK_NAMED(an_event_loop_waits_for_the_descriptor),
        CHECK_NAMED(a_forked_child_asks_for_a_descriptor_of_its_own),
        CHECK_NAMED(a_signal_handler_ends_a_wait_without_an_end),
        CHECK_NAMED(a_signal_handler_ends_a_wait_for_lossless_subscribers_and_nothing_is_lost),
        CHECK_NAMED(a_second_thread_gets_an_error_and_may_ask_for_the_counts),
        CHECK_NAMED(a_sample_may_be_released_by_another_thread),
    };
    return RUN_CHECKS(checks, argc, argv);
}
