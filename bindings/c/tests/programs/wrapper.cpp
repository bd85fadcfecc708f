// Checks of the C++ header's promises. Run as checks.c is.

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <thread>
#include <utility>

#include <framebuffer.hpp>

#include "check.h"

using framebuffer::Client;
using framebuffer::Frame;
using framebuffer::Loan;
using framebuffer::Server;
using framebuffer::View;

namespace {

constexpr std::uint64_t ring_size = 1 << 20;

template <typename T>
constexpr bool is_move_only = std::is_nothrow_move_constructible_v<T> && std::is_nothrow_move_assignable_v<T> &&
                              !std::is_copy_constructible_v<T> && !std::is_copy_assignable_v<T>;

static_assert(is_move_only<Client> && is_move_only<Server> && is_move_only<View> && is_move_only<Loan>);
// Bytes of a view cannot be written to.
static_assert(std::is_same_v<decltype(std::declval<View&>().data()), const std::uint8_t*>);
static_assert(std::is_base_of_v<framebuffer::error, framebuffer::timeout>);
static_assert(std::is_base_of_v<std::runtime_error, framebuffer::error>);

// The status of the error that `call` throws.
template <typename Error, typename Call>
framebuffer::Status thrown(Call call) {
    try {
        call();
    } catch (const Error& error) {
        CHECK(error.what()[0] != '\0');
        return error.code();
    }
    return FRAMEBUFFER_STATUS_OK;
}

void containers_are_published_and_read() {
    const Server server(ring_size);
    const Client ring = Client::open(server.key());
    CHECK(ring.size() == ring_size && server.size() == ring_size);

    const std::vector<std::uint16_t> depths = {1, 2, 3};
    const Frame frame = ring.publish(depths);
    CHECK(frame.size == 6);
    const std::vector<std::uint8_t> bytes = ring.read(framebuffer::from_json(framebuffer::to_json(frame)));
    CHECK(bytes.size() == 6 && std::memcmp(bytes.data(), depths.data(), 6) == 0);
    CHECK(framebuffer::checksum(bytes.data(), bytes.size()) == frame.checksum);

    CHECK(ring.view(ring.publish(std::string("hello"))).text() == "hello");
    CHECK(ring.view(ring.publish(std::array<float, 4>{})).size() == 16);
    CHECK(ring.view(ring.publish(std::vector<char>{})).empty());
    const View view = ring.view(frame);
    CHECK(std::vector<std::uint8_t>(view.begin(), view.end()) == bytes);
    CHECK(view.is_hashed() && view.frame().offset == frame.offset);
    view.verify();
}

void what_one_allocates_another_writes() {
    const Server server(ring_size);
    const Client ring = Client::open(server.key());
    for (const std::uint64_t offset : {server.allocate(10), ring.allocate(10)}) {
        const std::uint64_t sum = ring.write(offset, "hello", 5);
        std::array<char, 5> bytes{};
        ring.read({offset, 5, sum, ring.ring_id()}, bytes.data(), bytes.size());
        CHECK(std::string(bytes.data(), bytes.size()) == "hello");
    }
    server.reap();
    CHECK(server.stats().frames_written == 2 && ring.stats().frames_read == 2);
}

void a_loan_is_filled_in_place() {
    const Server server(ring_size);
    const Client ring = Client::open(server.key());
    Loan loan = ring.loan(100);
    std::fill(loan.begin(), loan.end(), std::uint8_t{7});
    loan.truncate(10);
    const Frame frame = loan.commit();
    CHECK(loan.data() == nullptr && loan.size() == 0);
    CHECK(ring.read(frame) == std::vector<std::uint8_t>(10, 7));
    CHECK(thrown<framebuffer::error>([&] { loan.commit(); }) == FRAMEBUFFER_STATUS_INVALID_ARGUMENT);

    loan = ring.loan(10);
    CHECK(!ring.view(loan.commit_unhashed()).is_hashed());
    loan = ring.loan(10);
    loan.abandon();
    { Loan forgotten = ring.loan(10); }
    CHECK(ring.stats().pins == 0);
}

void a_lost_frame_is_a_timeout_and_nothing_else_is() {
    const Server server(ring_size);
    const Client ring = Client::open(server.key());
    const Frame frame = ring.publish(std::string("first"));
    const View held = ring.view(frame);
    const Frame lost = ring.publish(std::string("second"));
    const std::vector<char> large(100000);
    for (int i = 0; i < 12; i++) {
        ring.publish(large);
    }
    CHECK(thrown<framebuffer::timeout>([&] { ring.view(lost); }) == FRAMEBUFFER_STATUS_TIMEOUT);
    CHECK(thrown<framebuffer::timeout>([&] { ring.read(lost); }) == FRAMEBUFFER_STATUS_TIMEOUT);
    CHECK(held.text() == "first");
    Frame huge = frame;
    huge.size = UINT64_MAX;
    const auto status = thrown<framebuffer::error>([&] {
        try {
            ring.read(huge);
        } catch (const framebuffer::timeout&) {
        }
    });
    CHECK(status == FRAMEBUFFER_STATUS_LARGER_THAN_RING);
    Frame foreign = frame;
    foreign.ring ^= 1;
    CHECK(foreign.ring != server.ring_id() && frame.ring == server.ring_id());
    CHECK(thrown<framebuffer::error>([&] { ring.read(foreign); }) == FRAMEBUFFER_STATUS_OTHER_RING);
    CHECK(thrown<framebuffer::error>([&] { ring.view(foreign); }) == FRAMEBUFFER_STATUS_OTHER_RING);
}

void errors_have_a_code_and_a_message() {
    CHECK(thrown<framebuffer::error>([] { Client::open("no-such-ring"); }) == FRAMEBUFFER_STATUS_NOT_FOUND);
    CHECK(thrown<framebuffer::error>([] { Client::open("a/b"); }) == FRAMEBUFFER_STATUS_INVALID_ARGUMENT);
    const auto no_time = std::chrono::milliseconds(0);
    CHECK(thrown<framebuffer::error>([&] { Client::connect("unix:/nowhere.sock", no_time); }) == FRAMEBUFFER_STATUS_NO_SIDECAR);
    CHECK(thrown<framebuffer::error>([] { Server server(0); }) == FRAMEBUFFER_STATUS_INVALID_ARGUMENT);
    CHECK(thrown<framebuffer::error>([] { framebuffer::from_json("[]"); }) == FRAMEBUFFER_STATUS_INVALID_ARGUMENT);
    CHECK(framebuffer::version() == FRAMEBUFFER_VERSION);
}

void what_was_moved_from_or_released_is_empty() {
    Server server(ring_size);
    Client ring = Client::open(server.key());
    const Frame frame = ring.publish(std::string("hello"));
    View view = ring.view(frame);
    View other = std::move(view);
    CHECK(view.data() == nullptr && view.size() == 0 && view.begin() == view.end() && view.text().empty());
    CHECK(thrown<framebuffer::error>([&] { view.verify(); }) == FRAMEBUFFER_STATUS_INVALID_ARGUMENT);
    CHECK(thrown<framebuffer::error>([&] { view.frame(); }) == FRAMEBUFFER_STATUS_INVALID_ARGUMENT);
    ring.close();
    CHECK(other.text() == "hello");
    CHECK(thrown<framebuffer::error>([&] { ring.publish("x", 1); }) == FRAMEBUFFER_STATUS_INVALID_ARGUMENT);
    other.release();
    CHECK(other.data() == nullptr);
    server.stop();
    CHECK(server.key().empty() && server.size() == 0);
    CHECK(thrown<framebuffer::error>([&] { server.allocate(1); }) == FRAMEBUFFER_STATUS_INVALID_ARGUMENT);
}

void a_view_ends_on_the_thread_that_it_was_moved_to() {
    const Server server(ring_size);
    Client ring = Client::open(server.key());
    View view = ring.view(ring.publish(std::string("hello")));
    ring.close();
    std::thread([moved = std::move(view)] { CHECK(moved.text() == "hello"); }).join();
    CHECK(server.stats().pins == 0);
}

void a_ring_has_the_key_and_the_mode_that_were_asked_for() {
    Server::Options options;
    options.key = "chosen";
    options.mode = 0640;
    const Server server(ring_size, options);
    CHECK(server.key() == "chosen");
    struct stat segment;
    CHECK(stat((std::string(std::getenv("FRAMEBUFFER_DIR")) + "/framebuffer-chosen").c_str(), &segment) == 0);
    CHECK((segment.st_mode & 0777) == 0640);
    CHECK(thrown<framebuffer::error>([&] { Server again(ring_size, options); }) == FRAMEBUFFER_STATUS_ALREADY_OWNED);
}

}  // namespace

int main(int argc, char** argv) {
#define CHECK_NAMED(name) {#name, name}
    static const check checks[] = {
        CHECK_NAMED(containers_are_published_and_read),
        CHECK_NAMED(what_one_allocates_another_writes),
        CHECK_NAMED(a_loan_is_filled_in_place),
        CHECK_NAMED(a_lost_frame_is_a_timeout_and_nothing_else_is),
        CHECK_NAMED(errors_have_a_code_and_a_message),
        CHECK_NAMED(what_was_moved_from_or_released_is_empty),
        CHECK_NAMED(a_view_ends_on_the_thread_that_it_was_moved_to),
        CHECK_NAMED(a_ring_has_the_key_and_the_mode_that_were_asked_for),
    };
    return RUN_CHECKS(checks, argc, argv);
}
