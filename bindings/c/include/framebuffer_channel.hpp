/*
 * framebuffer_channel.hpp: channels in C++17. A part of framebuffer.hpp, which includes it.
 *
 *     framebuffer::Publisher camera = ring.publisher("camera");
 *     camera.send(pixels, {480, 640, 3});                          // std::vector, std::span, ...: type and shape
 *
 *     for (framebuffer::Sample& frame : ring.subscriber("camera")) {
 *         process(frame.data(), frame.size());                     // in place, until the next turn
 *     }
 *
 * Publisher and Subscriber are for one thread at a time. They may outlive their client, and samples their subscriber.
 */

#ifndef FRAMEBUFFER_HPP
#include "framebuffer.hpp" /* which includes this file */
#elif !defined(FRAMEBUFFER_CHANNEL_HPP)
#define FRAMEBUFFER_CHANNEL_HPP

#include <optional>

namespace framebuffer {

/** A frame that was sent: its `number` in the channel, and its description, `frame`. */
using Sent = framebuffer_sent;
/** What has become of the frames of a channel: `received`, `lost`, `skipped`, `next_number`. */
using Counts = framebuffer_counts;
/** A channel as it looks from outside. */
using Channel = framebuffer_channel;
/** Where a subscriber begins: FRAMEBUFFER_START_LATEST, for example. */
using Start = framebuffer_start;

/** For a timeout: there is none. */
inline constexpr std::chrono::milliseconds forever{FRAMEBUFFER_FOREVER};

/** A frame that was received, in place. Writers skip it while the sample exists. */
class Sample {
public:
    Sample() noexcept = default;

    /** The first byte, aligned to 64 bytes. */
    const std::uint8_t* data() const noexcept { return framebuffer_sample_data(sample_.get()); }
    /** Length in bytes. */
    std::size_t size() const noexcept { return framebuffer_sample_size(sample_.get()); }
    bool empty() const noexcept { return size() == 0; }
    const std::uint8_t* begin() const noexcept { return data(); }
    const std::uint8_t* end() const noexcept { return data() + size(); }
    /** The bytes as text. */
    std::string_view text() const noexcept { return {reinterpret_cast<const char*>(data()), size()}; }
    /**
     * The bytes as elements of type T. Throws error if the writer says that they are of another type, or if they are
     * not a whole number of them.
     */
    template <typename T>
    Elements<T> elements() const {
        static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= 64, "frames are made of plain bytes");
        const std::uint32_t said = descriptor().element();
        if ((said != 0 && element_of<T> != 0 && said != element_of<T>) || size() % sizeof(T) != 0) {
            throw error(FRAMEBUFFER_STATUS_INVALID_ARGUMENT, differs(said, element_of<T>, sizeof(T)).c_str());
        }
        return {reinterpret_cast<const T*>(data()), size() / sizeof(T)};
    }

    /** Its number in the channel, from 0 on. */
    std::uint64_t number() const noexcept { return framebuffer_sample_number(sample_.get()); }
    /** When the content is from, as the writer says; when the frame was sent, if it says nothing. */
    std::chrono::nanoseconds time() const noexcept { return nanoseconds(framebuffer_sample_time_ns(sample_.get())); }
    /** When the frame was sent, since 1970. */
    std::chrono::nanoseconds committed() const noexcept {
        return nanoseconds(framebuffer_sample_committed_ns(sample_.get()));
    }
    /** What the writer says of it: whatever that is, so check that the shape fits the size if you do not trust it. */
    Descriptor descriptor() const {
        framebuffer_descriptor said;
        detail::check(framebuffer_sample_descriptor(sample_.get(), &said));
        return Descriptor(said);
    }
    /** Its description, with which any client of the ring can read it. */
    Frame frame() const {
        Frame frame;
        detail::check(framebuffer_sample_frame(sample_.get(), &frame));
        return frame;
    }
    /** Whether the writer has hashed the frame: false after Publisher::send_unhashed(). */
    bool is_hashed() const noexcept { return framebuffer_sample_is_hashed(sample_.get()); }
    /** Hashes the bytes. Throws timeout if the checksum is not the writer's. */
    void verify() const { detail::check(framebuffer_sample_verify(sample_.get())); }
    /** Gives the frame back to the ring before the end of the scope. */
    void release() noexcept { sample_.reset(); }

private:
    friend class Subscriber;
    explicit Sample(framebuffer_sample* sample) noexcept : sample_(sample) {}

    static std::chrono::nanoseconds nanoseconds(std::uint64_t count) noexcept {
        return std::chrono::nanoseconds(static_cast<std::chrono::nanoseconds::rep>(count));
    }
    std::string differs(std::uint32_t said, std::uint32_t asked, std::size_t asked_size) const {
        const auto type = [](std::uint32_t element) {
            return "code " + std::to_string(element & 0xff) + ", " + std::to_string(element >> 8 & 0xff) + " bits, " +
                   std::to_string(element >> 16) + " lanes";
        };
        return "a frame of " + std::to_string(size()) + " bytes, of elements of type (" + type(said) +
               "), as elements of " + std::to_string(asked_size) + " bytes and type (" + type(asked) + ")";
    }

    detail::Handle<framebuffer_sample> sample_;
};

/** Options for Client::publisher(). */
struct PublisherOptions {
    /** How many of its last frames the publisher keeps from being overwritten: 0 to 32. */
    std::size_t keep = 1;
    /** The type of the channel's frames, on which all publishers must agree. Empty: none. */
    std::string content_type = {};
};

/**
 * Sends frames over a channel. Waits for lossless subscribers only, for as long as `timeout` says. All that wait throw
 * interrupted if a signal handler of the program has run meanwhile: nothing was sent then.
 */
class Publisher {
public:
    Publisher() noexcept = default;

    /** Copies `size` bytes into the ring and sends them. Throws backlog if a lossless subscriber is in the way. */
    Sent send(const void* data, std::size_t size, const Descriptor& descriptor = Descriptor(),
              std::chrono::milliseconds timeout = {}) {
        Sent sent;
        detail::check(
            framebuffer_publisher_send(publisher_.get(), data, size, &descriptor.get(), timeout.count(), &sent));
        return sent;
    }
    /** Sends a container's elements: std::vector, std::array, std::span, ... If they are numbers, it says so. */
    template <typename Container, typename Element = detail::ElementOf<Container>>
    Sent send(const Container& container, std::chrono::milliseconds timeout = {}) {
        const bool is_array = element_of<Element> != 0 && std::size(container) <= UINT32_MAX;
        const auto descriptor = is_array ? Descriptor().element(element_of<Element>).shape(Shape(std::size(container)))
                                         : Descriptor();
        return send(container, descriptor, timeout);
    }
    /** Sends a container's elements as an array of this shape. */
    template <typename Container, typename Element = detail::ElementOf<Container>>
    Sent send(const Container& container, const Shape& shape, std::chrono::milliseconds timeout = {}) {
        return send(container, Descriptor::of<Element>(shape), timeout);
    }
    /** Sends a container's elements, and what `descriptor` says of them. */
    template <typename Container, typename = detail::ElementOf<Container>>
    Sent send(const Container& container, const Descriptor& descriptor, std::chrono::milliseconds timeout = {}) {
        return send(std::data(container), detail::size_in_bytes(container), descriptor, timeout);
    }

    /** Lends a frame of `size` bytes, to fill in place and send() without a copy. */
    Loan loan(std::uint64_t size) {
        framebuffer_loan* loan = nullptr;
        detail::check(framebuffer_publisher_loan(publisher_.get(), size, &loan));
        return Loan(loan);
    }
    /**
     * Hashes the bytes of a loan of this publisher in place, sends it and empties it, even if that fails; not if it
     * throws interrupted: then the loan can be sent again.
     */
    Sent send(Loan&& loan, const Descriptor& descriptor = Descriptor(), std::chrono::milliseconds timeout = {}) {
        return send_with(framebuffer_publisher_send_loan, loan, descriptor, timeout);
    }
    /** Sends a loan without hashing, in a time that does not depend on the size. */
    Sent send_unhashed(Loan&& loan, const Descriptor& descriptor = Descriptor(),
                       std::chrono::milliseconds timeout = {}) {
        return send_with(framebuffer_publisher_send_loan_unhashed, loan, descriptor, timeout);
    }

    /** Waits until no lossless subscriber is in the way of the next frame. Throws backlog after `timeout`. */
    void ready(std::chrono::milliseconds timeout = forever) {
        detail::check(framebuffer_publisher_ready(publisher_.get(), timeout.count()));
    }
    /** Waits until lossless subscribers have received everything: before close(). Throws backlog after `timeout`. */
    void flush(std::chrono::milliseconds timeout = forever) {
        detail::check(framebuffer_publisher_flush(publisher_.get(), timeout.count()));
    }
    /** Closes the publisher before the end of the scope. */
    void close() noexcept { publisher_.reset(); }

private:
    friend class Client;
    template <typename Function>
    Sent send_with(Function function, Loan& loan, const Descriptor& descriptor, std::chrono::milliseconds timeout) {
        Sent sent;
        framebuffer_loan* lent = loan.loan_.release();
        const Status status = function(publisher_.get(), lent, &descriptor.get(), timeout.count(), &sent);
        if (status == FRAMEBUFFER_STATUS_INTERRUPTED) {
            loan.loan_.reset(lent);
        }
        detail::check(status);
        return sent;
    }

    detail::Handle<framebuffer_publisher> publisher_;
};

/** Options for Client::subscriber(). */
struct SubscriberOptions {
    /** Where to begin. */
    Start start = FRAMEBUFFER_START_LATEST;
    /** For FRAMEBUFFER_START_AFTER: the number of the last frame that is not wanted. */
    std::uint64_t after = 0;
    /** Whether publishers have to wait for this subscriber. */
    bool lossless = false;
    /** For how long to look for a frame all the time before sleeping. Below 0: as long as is good in general. */
    std::chrono::microseconds spin{-1};
};

/**
 * Receives the frames of a channel. A range without an end: a for loop waits for one frame after the other. All that
 * wait throw interrupted if a signal handler of the program has run meanwhile.
 */
class Subscriber {
public:
    /** At a frame. Releases it before it waits for the next, unless the frame was moved away. */
    class Iterator {
    public:
        Sample& operator*() noexcept { return sample_; }
        Sample* operator->() noexcept { return &sample_; }
        Iterator& operator++() {
            sample_.release();
            sample_ = subscriber_->next();
            return *this;
        }

    private:
        friend class Subscriber;
        explicit Iterator(Subscriber* subscriber) : subscriber_(subscriber), sample_(subscriber->next()) {}
        Subscriber* subscriber_;
        Sample sample_;
    };
    /** Where an Iterator never comes. */
    struct End {
        friend bool operator==(const Iterator&, End) noexcept { return false; }
        friend bool operator!=(const Iterator&, End) noexcept { return true; }
    };

    Subscriber() noexcept = default;

    /** Waits for the next frame. */
    Sample next() { return std::move(*next(forever)); }
    /** The next frame. Waits for it, for at most `timeout`. */
    std::optional<Sample> next(std::chrono::milliseconds timeout) {
        framebuffer_sample* sample = nullptr;
        const Status status = framebuffer_subscriber_next(subscriber_.get(), timeout.count(), &sample);
        return received(status, sample);
    }
    /** The next frame, if it is there already. */
    std::optional<Sample> try_next() {
        framebuffer_sample* sample = nullptr;
        const Status status = framebuffer_subscriber_try_next(subscriber_.get(), &sample);
        return received(status, sample);
    }
    /** The last frame, if it was not received yet. Those before it are skipped. */
    std::optional<Sample> latest() {
        framebuffer_sample* sample = nullptr;
        const Status status = framebuffer_subscriber_latest(subscriber_.get(), &sample);
        return received(status, sample);
    }
    Iterator begin() { return Iterator(this); }
    End end() const noexcept { return {}; }

    /** What was received, lost and skipped. Any thread may ask, also while another one waits for a frame. */
    Counts counts() const {
        Counts counts;
        detail::check(framebuffer_subscriber_counts(subscriber_.get(), &counts, sizeof counts));
        return counts;
    }
    /**
     * A descriptor for epoll, poll and select: readable when there may be a frame. Then call try_next() until it
     * returns nothing. It belongs to the subscriber.
     */
    int fd() {
        int fd;
        detail::check(framebuffer_subscriber_fd(subscriber_.get(), &fd));
        return fd;
    }
    /** Closes the subscriber before the end of the scope. */
    void close() noexcept { subscriber_.reset(); }

private:
    friend class Client;
    static std::optional<Sample> received(Status status, framebuffer_sample* sample) {
        if (status == FRAMEBUFFER_STATUS_NO_FRAME) {
            return std::nullopt;
        }
        detail::check(status);
        return Sample(sample);
    }

    detail::Handle<framebuffer_subscriber> subscriber_;
};

inline Publisher Client::publisher(const std::string& name) const { return publisher(name, PublisherOptions()); }

inline Publisher Client::publisher(const std::string& name, const PublisherOptions& options) const {
    framebuffer_publisher_options asked = FRAMEBUFFER_PUBLISHER_OPTIONS_DEFAULT;
    asked.keep = options.keep;
    asked.content_type = options.content_type.c_str();
    framebuffer_publisher* opened = nullptr;
    detail::check(framebuffer_publisher_open(client_.get(), name.c_str(), &asked, &opened));
    Publisher publisher;
    publisher.publisher_.reset(opened);
    return publisher;
}

inline Subscriber Client::subscriber(const std::string& name) const { return subscriber(name, SubscriberOptions()); }

inline Subscriber Client::subscriber(const std::string& name, const SubscriberOptions& options) const {
    framebuffer_subscriber_options asked = FRAMEBUFFER_SUBSCRIBER_OPTIONS_DEFAULT;
    asked.start = options.start;
    asked.after = options.after;
    asked.lossless = options.lossless ? 1 : 0;
    asked.spin_us = options.spin.count();
    framebuffer_subscriber* opened = nullptr;
    detail::check(framebuffer_subscriber_open(client_.get(), name.c_str(), &asked, &opened));
    Subscriber subscriber;
    subscriber.subscriber_.reset(opened);
    return subscriber;
}

inline std::vector<Channel> Client::channels() const {
    std::vector<Channel> channels(FRAMEBUFFER_MAX_CHANNELS);
    std::size_t count = 0;
    detail::check(
        framebuffer_client_channels(client_.get(), channels.data(), sizeof(Channel), channels.size(), &count));
    channels.resize(std::min(count, channels.size()));
    return channels;
}

}  // namespace framebuffer

#endif  /* FRAMEBUFFER_CHANNEL_HPP */
