// Checks of channels in C++. Run as checks.c is.

#include <poll.h>
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <thread>

#include <framebuffer.hpp>

#include "check.h"

using framebuffer::Client;
using framebuffer::Descriptor;
using framebuffer::element_of;
using framebuffer::Publisher;
using framebuffer::PublisherOptions;
using framebuffer::Sample;
using framebuffer::Server;
using framebuffer::Subscriber;
using framebuffer::SubscriberOptions;
using namespace std::chrono_literals;

struct Point {
    float x, y, z;
};
template <>
inline constexpr std::uint32_t framebuffer::element_of<Point> = FRAMEBUFFER_ELEMENT(2, 32, 3);

namespace {

constexpr std::uint64_t ring_size = 1 << 20;
// Longer than anything takes that does come, also under valgrind.
constexpr auto long_time = 60s;

template <typename T>
constexpr bool is_move_only = std::is_nothrow_move_constructible_v<T> && std::is_nothrow_move_assignable_v<T> &&
                              !std::is_copy_constructible_v<T> && !std::is_copy_assignable_v<T>;

static_assert(is_move_only<Publisher> && is_move_only<Subscriber> && is_move_only<Sample>);
static_assert(std::is_same_v<decltype(std::declval<Sample&>().data()), const std::uint8_t*>);
static_assert(std::is_base_of_v<framebuffer::error, framebuffer::backlog>);
static_assert(std::is_base_of_v<framebuffer::error, framebuffer::interrupted>);
static_assert(element_of<float> == FRAMEBUFFER_ELEMENT_F32 && element_of<double> == FRAMEBUFFER_ELEMENT_F64);
static_assert(element_of<std::uint8_t> == FRAMEBUFFER_ELEMENT_U8 && element_of<std::int8_t> == FRAMEBUFFER_ELEMENT_I8);
static_assert(element_of<short> == FRAMEBUFFER_ELEMENT_I16 && element_of<std::uint64_t> == FRAMEBUFFER_ELEMENT_U64);
static_assert(element_of<long long> == FRAMEBUFFER_ELEMENT_I64 && element_of<unsigned> == FRAMEBUFFER_ELEMENT_U32);
static_assert(element_of<bool> == FRAMEBUFFER_ELEMENT_BOOL);
static_assert(element_of<char> == 0 && element_of<long double> == 0 && element_of<std::byte> == 0);
static_assert(element_of<Point> == FRAMEBUFFER_ELEMENT(2, 32, 3));

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

bool has_shape(const Descriptor& descriptor, std::vector<std::uint32_t> shape) {
    const framebuffer::Shape found = descriptor.shape();
    return std::vector<std::uint32_t>(found.begin(), found.end()) == shape;
}

void containers_are_sent_with_their_type_and_shape() {
    const Server server(ring_size);
    const Client ring = Client::open(server.key());
    Publisher publisher = ring.publisher("camera");
    Subscriber subscriber = ring.subscriber("camera");

    std::vector<float> depths(6, 1.5f);
    CHECK(publisher.send(depths).number == 0);
    Sample sample = subscriber.next();
    CHECK(sample.descriptor().element() == FRAMEBUFFER_ELEMENT_F32 && has_shape(sample.descriptor(), {6}));
    CHECK(sample.elements<float>().size() == 6 && sample.elements<float>()[5] == 1.5f);
    CHECK(thrown<framebuffer::error>([&] { sample.elements<int>(); }) == FRAMEBUFFER_STATUS_INVALID_ARGUMENT);
    CHECK(sample.elements<char>().size() == 24);

    const int rows = 2; // as OpenCV counts them
    publisher.send(depths, {rows, 3});
    CHECK(has_shape(subscriber.next().descriptor(), {2, 3}));
    CHECK(thrown<framebuffer::error>([&] { publisher.send(depths, {2, 2}); }) == FRAMEBUFFER_STATUS_INVALID_ARGUMENT);
    CHECK(thrown<framebuffer::error>([&] { publisher.send(depths, {-1, 2}); }) == FRAMEBUFFER_STATUS_INVALID_ARGUMENT);
    CHECK(thrown<framebuffer::error>([&] { publisher.send(depths, {1, 1LL << 32}); }) == FRAMEBUFFER_STATUS_INVALID_ARGUMENT);

    publisher.send(std::array<Point, 2>{}, Descriptor::of<Point>(framebuffer::Shape(2)), 1s);
    CHECK(subscriber.next().elements<Point>().size() == 2);
    publisher.send(std::string("hello"));
    sample = subscriber.next();
    CHECK(sample.text() == "hello" && sample.descriptor().element() == 0 && has_shape(sample.descriptor(), {}));
    CHECK(thrown<framebuffer::error>([&] { sample.elements<short>(); }) == FRAMEBUFFER_STATUS_INVALID_ARGUMENT);
    publisher.send("raw", 3);
    CHECK(subscriber.next().text() == "raw");
    publisher.send(sample); // what was received, as bytes
    CHECK(subscriber.next().elements<std::uint8_t>().size() == 5);
    publisher.send(std::vector<double>{});
    CHECK(subscriber.next().empty());
}

void what_is_said_of_a_frame_arrives() {
    const Server server(ring_size);
    const Client ring = Client::open(server.key());
    Publisher publisher = ring.publisher("camera");
    Subscriber subscriber = ring.subscriber("camera");
    const std::vector<std::uint8_t> pixels(100);
    const auto nv12 = FRAMEBUFFER_FOURCC('N', 'V', '1', '2');
    const auto sent = publisher.send(
        pixels, Descriptor().element(element_of<std::uint8_t>).shape({2, 30}).row_stride(64).fourcc(nv12).user(9).time(5ns));
    const Sample sample = subscriber.next();
    const Descriptor said = sample.descriptor();
    CHECK(said.element() == FRAMEBUFFER_ELEMENT_U8 && has_shape(said, {2, 30}) && said.row_stride() == 64);
    CHECK(said.fourcc() == nv12 && said.user() == 9 && said.time() == 5ns && sample.time() == 5ns);
    CHECK(sample.committed() > 1'700'000'000s && sample.number() == sent.number);
    CHECK(sample.frame().offset == sent.frame.offset && sample.is_hashed() && ring.view(sample.frame()).size() == 100);
    sample.verify();
}

void a_for_loop_receives_until_it_is_left() {
    const Server server(ring_size);
    const Client ring = Client::open(server.key());
    PublisherOptions keeps;
    keeps.keep = 32;
    Publisher publisher = ring.publisher("log", keeps);
    SubscriberOptions lossless;
    lossless.lossless = true;
    lossless.spin = 0us;
    Subscriber subscriber = ring.subscriber("log", lossless);
    std::thread sender([&] {
        for (int number = 0; number < 100; number++) {
            publisher.send(&number, sizeof number, Descriptor(), framebuffer::forever);
        }
    });
    std::uint64_t received = 0;
    Sample kept;
    for (Sample& frame : subscriber) {
        CHECK(frame.number() == received && frame.elements<int>()[0] == static_cast<int>(received));
        received++;
        if (received == 1) {
            kept = std::move(frame);
        }
        if (received == 50) {
            break;
        }
    }
    CHECK(kept.number() == 0 && kept.elements<int>()[0] == 0);
    for (Sample& frame : subscriber) {
        CHECK(frame.number() == received++);
        if (received == 100) {
            break;
        }
    }
    sender.join();
    publisher.flush(0ms);
    CHECK(subscriber.counts().received == 100 && subscriber.counts().lost == 0);
    kept.release();
    for (Sample& frame : ring.subscriber("log")) {
        CHECK(frame.number() == 99);
        break;
    }
    publisher.close();
    CHECK(ring.stats().pins == 0); // a loop that is left keeps nothing
}

void a_for_loop_holds_no_frame_while_it_waits_for_the_next() {
    const Server server(ring_size);
    const Client ring = Client::open(server.key());
    PublisherOptions none;
    none.keep = 0;
    Publisher publisher = ring.publisher("camera", none);
    std::atomic<int> received = 0;
    std::thread receiver([&] {
        for (Sample& frame : ring.subscriber("camera")) {
            received++;
            if (frame.text() == "last") {
                break;
            }
        }
    });
    publisher.send(std::string("first"));
    const auto end = std::chrono::steady_clock::now() + long_time;
    while (received == 0 || server.stats().pins > 0) {
        CHECK(std::chrono::steady_clock::now() < end);
    }
    publisher.send(std::string("last"));
    receiver.join();
    CHECK(received == 2);
}

void next_waits_and_ends_without_a_frame() {
    const Server server(ring_size);
    const Client ring = Client::open(server.key());
    Subscriber subscriber = ring.subscriber("camera");
    CHECK(!subscriber.next(20ms) && !subscriber.try_next() && !subscriber.latest());
    Publisher publisher = ring.publisher("camera");
    for (char value : {'a', 'b', 'c'}) {
        publisher.send(&value, 1);
    }
    CHECK(subscriber.next(long_time)->text() == "a");
    CHECK(subscriber.latest()->text() == "c");
    CHECK(subscriber.counts().skipped == 1 && subscriber.counts().next_number == 3);
    SubscriberOptions after;
    after.start = FRAMEBUFFER_START_AFTER;
    after.after = 0;
    CHECK(ring.subscriber("camera", after).try_next()->number() == 1);
    after.start = FRAMEBUFFER_START_NEW;
    CHECK(!ring.subscriber("camera", after).try_next());
}

void loans_are_filled_in_place_and_sent() {
    const Server server(ring_size);
    const Client ring = Client::open(server.key());
    Publisher publisher = ring.publisher("camera");
    Subscriber subscriber = ring.subscriber("camera");
    framebuffer::Loan first = publisher.loan(100), second = publisher.loan(100);
    std::fill(second.begin(), second.end(), std::uint8_t{2});
    second.truncate(10);
    CHECK(publisher.send(std::move(second), Descriptor::of<std::uint8_t>({2, 5})).number == 0);
    CHECK(second.data() == nullptr);
    std::fill(first.begin(), first.end(), std::uint8_t{1});
    CHECK(publisher.send_unhashed(std::move(first)).frame.size == 100);
    Sample sample = subscriber.next();
    CHECK(sample.size() == 10 && sample.data()[9] == 2 && sample.is_hashed());
    sample = subscriber.next();
    CHECK(sample.size() == 100 && sample.data()[0] == 1 && !sample.is_hashed());
    CHECK(thrown<framebuffer::error>([&] { publisher.send(std::move(first)); }) == FRAMEBUFFER_STATUS_INVALID_ARGUMENT);
    CHECK(thrown<framebuffer::error>([&] { publisher.send(ring.loan(1)); }) == FRAMEBUFFER_STATUS_INVALID_ARGUMENT);
    CHECK(thrown<framebuffer::error>([&] { publisher.loan(1).commit(); }) == FRAMEBUFFER_STATUS_INVALID_ARGUMENT);
}

void errors_of_channels_are_exceptions_by_kind() {
    const Server server(ring_size);
    const Client ring = Client::open(server.key());
    SubscriberOptions options;
    options.lossless = true;
    Subscriber subscriber = ring.subscriber("log", options);
    Publisher publisher = ring.publisher("log");
    publisher.ready(0ms);
    publisher.send(std::string("one"));
    CHECK(thrown<framebuffer::backlog>([&] { publisher.send(std::string("two")); }) == FRAMEBUFFER_STATUS_BACKLOG);
    CHECK(thrown<framebuffer::backlog>([&] { publisher.send(std::string("two"), 10ms); }) == FRAMEBUFFER_STATUS_BACKLOG);
    CHECK(thrown<framebuffer::backlog>([&] { publisher.ready(0ms); }) == FRAMEBUFFER_STATUS_BACKLOG);
    CHECK(thrown<framebuffer::backlog>([&] { publisher.flush(0ms); }) == FRAMEBUFFER_STATUS_BACKLOG);
    CHECK(subscriber.next().text() == "one");
    publisher.flush();
    PublisherOptions none;
    none.keep = 0;
    CHECK(thrown<framebuffer::error>([&] { ring.publisher("log", none); }) == FRAMEBUFFER_STATUS_CHANNEL);
    CHECK(thrown<framebuffer::error>([&] { ring.publisher("a b"); }) == FRAMEBUFFER_STATUS_INVALID_ARGUMENT);
    none.content_type = "image/png";
    { const Publisher typed = ring.publisher("camera", none); }
    none.content_type = "image/jpeg";
    CHECK(thrown<framebuffer::error>([&] { ring.publisher("camera", none); }) == FRAMEBUFFER_STATUS_CHANNEL);
    const auto channels = ring.channels();
    CHECK(channels.size() == 2 && channels[0].name == std::string("camera"));
    CHECK(channels[0].content_type == std::string("image/png") && channels[1].lossless == 1);
}

std::atomic<bool> is_done;

/** Whether the call is interrupted by one of the signals that this thread gets meanwhile. */
template <typename Call>
bool is_interrupted(Call call) {
    struct sigaction action = {};
    action.sa_handler = [](int) {};
    CHECK(sigaction(SIGUSR1, &action, nullptr) == 0);
    const pthread_t self = pthread_self();
    is_done = false;
    std::thread sender([&] {
        while (!is_done) {
            pthread_kill(self, SIGUSR1);
            std::this_thread::sleep_for(1ms);
        }
    });
    const auto status = thrown<framebuffer::interrupted>(call);
    is_done = true;
    sender.join();
    return status == FRAMEBUFFER_STATUS_INTERRUPTED;
}

void a_signal_handler_ends_a_for_loop() {
    const Server server(ring_size);
    const Client ring = Client::open(server.key());
    CHECK(is_interrupted([&] {
        for (Sample& frame : ring.subscriber("camera")) {
            CHECK(frame.empty() && false);
        }
    }));
}

void a_loan_that_a_signal_handler_kept_from_being_sent_is_whole() {
    const Server server(ring_size);
    const Client ring = Client::open(server.key());
    SubscriberOptions options;
    options.lossless = true;
    Subscriber subscriber = ring.subscriber("log", options);
    Publisher publisher = ring.publisher("log");
    publisher.send(std::string("one"));
    framebuffer::Loan loan = publisher.loan(3);
    std::copy_n("two", 3, loan.data());
    CHECK(is_interrupted([&] { publisher.send(std::move(loan), {}, framebuffer::forever); }));
    CHECK(is_interrupted([&] { publisher.send_unhashed(std::move(loan), {}, framebuffer::forever); }));
    CHECK(is_interrupted([&] { publisher.flush(); }));
    CHECK(subscriber.next().text() == "one");
    publisher.send(std::move(loan), {}, framebuffer::forever);
    CHECK(loan.data() == nullptr && subscriber.next().text() == "two");
}

void an_event_loop_waits_for_the_descriptor() {
    const Server server(ring_size);
    const Client ring = Client::open(server.key());
    Subscriber subscriber = ring.subscriber("camera");
    Publisher publisher = ring.publisher("camera");
    struct pollfd event = {subscriber.fd(), POLLIN, 0};
    for (std::uint64_t number = 0; number < 5; number++) {
        CHECK(poll(&event, 1, 0) == 0);
        publisher.send(std::string("frame"));
        CHECK(poll(&event, 1, 60'000) == 1 && event.revents == POLLIN);
        while (const auto frame = subscriber.try_next()) {
            CHECK(frame->number() == number);
        }
    }
}

void what_was_moved_from_or_closed_is_empty_and_the_rest_lives_on() {
    const Server server(ring_size);
    Client ring = Client::open(server.key());
    Publisher publisher = ring.publisher("camera");
    Subscriber subscriber = ring.subscriber("camera");
    ring.close();
    publisher.send(std::string("hello"));
    Sample sample = subscriber.next(), moved = std::move(sample);
    CHECK(sample.data() == nullptr && sample.size() == 0 && sample.begin() == sample.end() && sample.text().empty());
    CHECK(sample.number() == 0 && sample.time() == 0ns && !sample.is_hashed());
    const auto fails = [](auto call) { return thrown<framebuffer::error>(call) == FRAMEBUFFER_STATUS_INVALID_ARGUMENT; };
    CHECK(fails([&] { sample.descriptor(); }) && fails([&] { sample.frame(); }) && fails([&] { sample.verify(); }));
    CHECK(fails([&] { sample.elements<char>(); }));
    publisher.close();
    subscriber.close();
    CHECK(fails([&] { publisher.send(std::string("x")); }) && fails([&] { publisher.loan(1); }));
    CHECK(fails([&] { publisher.ready(); }) && fails([&] { publisher.flush(); }));
    CHECK(fails([&] { subscriber.next(); }) && fails([&] { subscriber.next(0ms); }) && fails([&] { subscriber.latest(); }));
    CHECK(fails([&] { subscriber.try_next(); }) && fails([&] { subscriber.fd(); }) && fails([&] { subscriber.counts(); }));
    CHECK(fails([&] { subscriber.begin(); }) && fails([&] { ring.publisher("camera"); }));
    CHECK(fails([&] { ring.subscriber("camera"); }) && fails([&] { ring.channels(); }));
    std::thread([last = std::move(moved)] { CHECK(last.text() == "hello"); }).join();
    CHECK(server.stats().pins == 0);
}

}  // namespace

int main(int argc, char** argv) {
#define CHECK_NAMED(name) {#name, name}
    static const check checks[] = {
        CHECK_NAMED(containers_are_sent_with_their_type_and_shape),
        CHECK_NAMED(what_is_said_of_a_frame_arrives),
        CHECK_NAMED(a_for_loop_receives_until_it_is_left),
        CHECK_NAMED(a_for_loop_holds_no_frame_while_it_waits_for_the_next),
        CHECK_NAMED(next_waits_and_ends_without_a_frame),
        CHECK_NAMED(loans_are_filled_in_place_and_sent),
        CHECK_NAMED(errors_of_channels_are_exceptions_by_kind),
        CHECK_NAMED(a_signal_handler_ends_a_for_loop),
        CHECK_NAMED(a_loan_that_a_signal_handler_kept_from_being_sent_is_whole),
        CHECK_NAMED(an_event_loop_waits_for_the_descriptor),
        CHECK_NAMED(what_was_moved_from_or_closed_is_empty_and_the_rest_lives_on),
    };
    return RUN_CHECKS(checks, argc, argv);
}
