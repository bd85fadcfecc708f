/*
 * For the check programs: a condition that ends the program if it is false, and checks that run by name.
 *
 * It ends at once, as _Exit does: at an orderly end AddressSanitizer searches for leaks, and waits for ever if that is
 * in a forked child whose parent had another thread within its allocator.
 */

#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <framebuffer.h>

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: does not hold: %s\nthe last error: %s\n", __FILE__, __LINE__, #condition, \
                    framebuffer_error_message());                                                            \
            _Exit(EXIT_FAILURE);                                                                             \
        }                                                                                                    \
    } while (0)

/* The call returns this status. */
#define EXPECT(status, call) CHECK((call) == FRAMEBUFFER_STATUS_##status)

/* The call returns this status, and the message contains both texts. */
#define EXPECT_MESSAGE(status, call, one, other)                \
    do {                                                        \
        EXPECT(status, call);                                   \
        CHECK(strstr(framebuffer_error_message(), one) != NULL);   \
        CHECK(strstr(framebuffer_error_message(), other) != NULL); \
    } while (0)

typedef struct check {
    const char *name;
    void (*run)(void);
} check;

/* Runs the named checks, without names all of them; `--list` lists them. */
static inline int run_checks(const check *checks, size_t count, int argc, char **argv) {
    size_t ran = 0;
    for (size_t i = 0; i < count; i++) {
        const bool list = argc == 2 && strcmp(argv[1], "--list") == 0;
        if (list) {
            puts(checks[i].name);
        } else if (argc < 2 || strcmp(argv[1], checks[i].name) == 0) {
            checks[i].run();
        } else {
            continue;
        }
        ran++;
    }
    return ran > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#define RUN_CHECKS(checks, argc, argv) run_checks(checks, sizeof checks / sizeof *checks, argc, argv)

#endif
