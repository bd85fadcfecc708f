/*
 * framebuffer.hpp: framebuffer.h for C++17, with ownership in types. Header-only; needs only libframebuffer.
 *
 *     framebuffer::Client ring = framebuffer::Client::connect();   // the sidecar at FRAMEBUFFER_URL
 *
 *     framebuffer::Frame frame = ring.publish(pixels);             // std::vector, std::string, std::span, ...
 *     send(framebuffer::to_json(frame));
 *
 *     framebuffer::View view = ring.view(framebuffer::from_json(text));
 *     process(view.data(), view.size());                           // in place, until the view goes out of scope
 *
 * Or let the ring tell readers where frames are: framebuffer_channel.hpp, which this header includes, has named streams
 * of frames, and framebuffer_descriptor.hpp what can be said of each.
 *
 * Errors are exceptions: framebuffer::timeout if the ring has moved past a frame, which a slow reader expects and
 * survives, framebuffer::backlog and framebuffer::interrupted of channels, framebuffer::error otherwise. Destructors
 * never throw.
 *
 * Client, Server, View, Loan, Publisher, Subscriber and Sample own their handles: they can be moved, not copied. An
 * object that was moved from, released, committed or sent is empty: its data() is nullptr, its size() is 0, and any
 * other use throws framebuffer::error. All but servers may outlive their client.
 *
 * Any number of threads may call const member functions at once, as everywhere in C++. framebuffer.h documents fork().
 */

#ifndef FRAMEBUFFER_HPP
#define FRAMEBUFFER_HPP

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "framebuffer.h"

namespace framebuffer {

/** The description of a frame, for the reader: `offset`, `size`, `checksum`, `ring`. */
using Frame = framebuffer_frame;
/** A ring's statistics. */
using Stats = framebuffer_stats;
/** The result of a call. */
using Status = framebuffer_status;

/** Why a call failed: what() is the message, with the offending value and the limit. */
class error : public std::runtime_error {
public:
    error(Status status, const char* message) : std::runtime_error(message), code_(status) {}
    /** The status: FRAMEBUFFER_STATUS_NOT_FOUND, for example. */
    Status code() const noexcept { return code_; }

private:
    Status code_;
};

/** The frame has been overwritten, is not written yet, or has another size or checksum. */
class timeout : public error {
public:
    explicit timeout(const char* message) : error(FRAMEBUFFER_STATUS_TIMEOUT, message) {}
};

/** A lossless subscriber has yet to receive a frame that the publisher would let go of. Nothing was sent. */
class backlog : public error {
public:
    explicit backlog(const char* message) : error(FRAMEBUFFER_STATUS_BACKLOG, message) {}
};

/** A signal handler of the program ran during a wait on a channel. Nothing is lost: call again, or end. */
class interrupted : public error {
public:
    explicit interrupted(const char* message) : error(FRAMEBUFFER_STATUS_INTERRUPTED, message) {}
};

namespace detail {

inline void check(Status status) {
    switch (status) {
    case FRAMEBUFFER_STATUS_OK:
        return;
    case FRAMEBUFFER_STATUS_TIMEOUT:
        throw timeout(framebuffer_error_message());
    case FRAMEBUFFER_STATUS_BACKLOG:
        throw backlog(framebuffer_error_message());
    case FRAMEBUFFER_STATUS_INTERRUPTED:
        throw interrupted(framebuffer_error_message());
    default:
        throw error(status, framebuffer_error_message());
    }
}

struct Deleter {
    void operator()(framebuffer_client* client) const noexcept { framebuffer_client_close(client); }
    void operator()(framebuffer_view* view) const noexcept { framebuffer_view_release(view); }
    void operator()(framebuffer_loan* loan) const noexcept { framebuffer_loan_abandon(loan); }
    void operator()(framebuffer_server* server) const noexcept { framebuffer_server_stop(server); }
    void operator()(framebuffer_publisher* publisher) const noexcept { framebuffer_publisher_close(publisher); }
    void operator()(framebuffer_subscriber* subscriber) const noexcept { framebuffer_subscriber_close(subscriber); }
    void operator()(framebuffer_sample* sample) const noexcept { framebuffer_sample_release(sample); }
};

template <typename T>
using Handle = std::unique_ptr<T, Deleter>;

inline const char* c_str_or_null(const std::string& text) noexcept { return text.empty() ? nullptr : text.c_str(); }

/** The size in bytes of a contiguous container of plain elements: std::data and std::size must accept it. */
template <typename Container>
std::size_t size_in_bytes(const Container& container) noexcept {
    using Element = std::remove_cv_t<std::remove_pointer_t<decltype(std::data(container))>>;
    static_assert(std::is_trivially_copyable_v<Element>, "frames are made of plain bytes");
    return std::size(container) * sizeof(Element);
}

}  // namespace detail

/** A frame as JSON, which programs in all languages understand. */
inline std::string to_json(const Frame& frame) {
    char text[FRAMEBUFFER_FRAME_JSON_SIZE];
    detail::check(framebuffer_frame_to_json(&frame, text, sizeof text));
    return text;
}

/** The frame that a JSON text describes. Ignores members other than offset, size, checksum and ring. */
inline Frame from_json(std::string_view json) {
    Frame frame;
    detail::check(framebuffer_frame_from_json(json.data(), json.size(), &frame));
    return frame;
}

/** The checksum of a frame with these bytes. */
inline std::uint64_t checksum(const void* data, std::size_t size) {
    std::uint64_t sum;
    detail::check(framebuffer_checksum(data, size, &sum));
    return sum;
}

/** The version of the library that the program runs with. */
inline std::string_view version() noexcept { return framebuffer_version(); }

/** A frame in the ring, read in place. Writers skip it while the view exists. */
class View {
public:
    View() noexcept = default;

    /** The first byte, aligned to 64 bytes. */
    const std::uint8_t* data() const noexcept { return framebuffer_view_data(view_.get()); }
    /** Length in bytes. */
    std::size_t size() const noexcept { return framebuffer_view_size(view_.get()); }
    bool empty() const noexcept { return size() == 0; }
    const std::uint8_t* begin() const noexcept { return data(); }
    const std::uint8_t* end() const noexcept { return data() + size(); }
    /** The bytes as text. */
    std::string_view text() const noexcept { return {reinterpret_cast<const char*>(data()), size()}; }

    /** The frame's description. */
    Frame frame() const {
        Frame frame;
        detail::check(framebuffer_view_frame(view_.get(), &frame));
        return frame;
    }
    /** Whether the writer has hashed the frame: false after Loan::commit_unhashed(). */
    bool is_hashed() const noexcept { return framebuffer_view_is_hashed(view_.get()); }
    /** Hashes the bytes. Throws timeout if the checksum is not the writer's. */
    void verify() const { detail::check(framebuffer_view_verify(view_.get())); }
    /** Gives the frame back to the ring before the end of the scope. */
    void release() noexcept { view_.reset(); }

private:
    friend class Client;
    explicit View(framebuffer_view* view) noexcept : view_(view) {}
    detail::Handle<framebuffer_view> view_;
};

/**
 * A frame of the ring, lent for writing. Without commit(), or Publisher::send() for one of a publisher, the destructor
 * gives it back; it counts as never written.
 */
class Loan {
public:
    Loan() noexcept = default;

    /** The first byte, aligned to 64 bytes. At first the bytes are those of older frames. */
    std::uint8_t* data() noexcept { return framebuffer_loan_data(loan_.get()); }
    /** Length in bytes. */
    std::size_t size() const noexcept { return framebuffer_loan_size(loan_.get()); }
    std::uint8_t* begin() noexcept { return data(); }
    std::uint8_t* end() noexcept { return data() + size(); }

    /** Shortens the frame to its first `size` bytes. */
    void truncate(std::size_t size) { detail::check(framebuffer_loan_truncate(loan_.get(), size)); }
    /** Hashes the bytes in place, makes the frame readable, and empties this. */
    Frame commit() {
        Frame frame;
        detail::check(framebuffer_loan_commit(loan_.release(), &frame));
        return frame;
    }
    /** Commits without hashing, in a time that does not depend on the size. */
    Frame commit_unhashed() {
        Frame frame;
        detail::check(framebuffer_loan_commit_unhashed(loan_.release(), &frame));
        return frame;
    }
    /** Gives the frame back before the end of the scope. */
    void abandon() noexcept { loan_.reset(); }

private:
    friend class Client;
    friend class Publisher;
    explicit Loan(framebuffer_loan* loan) noexcept : loan_(loan) {}
    detail::Handle<framebuffer_loan> loan_;
};

class Publisher;
class Subscriber;
struct PublisherOptions;
struct SubscriberOptions;

/** Writes frames to a ring and reads them from it. Any number of threads may use a client at once. */
class Client {
public:
    /** Opens the ring with this key, in the folder `dir` (FRAMEBUFFER_DIR or /dev/shm if empty). */
    static Client open(const std::string& key, const std::string& dir = {}) {
        framebuffer_client* client = nullptr;
        detail::check(framebuffer_client_open(key.c_str(), detail::c_str_or_null(dir), &client));
        return Client(client);
    }
    /**
     * Opens the ring of the sidecar at `url` (FRAMEBUFFER_URL or http://127.0.0.1:7570 if empty). Waits for a sidecar
     * that is still starting, for at most `deadline`, between a millisecond and 49 days.
     */
    static Client connect(const std::string& url = {}, std::chrono::milliseconds deadline = std::chrono::seconds(30),
                          const std::string& dir = {}) {
        framebuffer_client* client = nullptr;
        const auto limited = std::clamp<std::chrono::milliseconds::rep>(deadline.count(), 1, UINT32_MAX);
        detail::check(framebuffer_client_connect(detail::c_str_or_null(url), detail::c_str_or_null(dir),
                                                 static_cast<std::uint32_t>(limited), &client));
        return Client(client);
    }

    /** The ring's identity, which its frames carry. Ask before allocate() and write(). */
    std::uint64_t ring_id() const noexcept { return framebuffer_client_ring_id(client_.get()); }
    /** Size of the ring, and of its largest frame, in bytes. */
    std::uint64_t size() const noexcept { return framebuffer_client_size(client_.get()); }

    /** Allocates a frame, for write() here or in another process, and returns its offset. */
    std::uint64_t allocate(std::uint64_t size) const {
        std::uint64_t offset;
        detail::check(framebuffer_client_allocate(client_.get(), size, &offset));
        return offset;
    }
    /** Writes to the frame allocated at `offset`, and returns the checksum. */
    std::uint64_t write(std::uint64_t offset, const void* data, std::size_t size) const {
        std::uint64_t sum;
        detail::check(framebuffer_client_write(client_.get(), offset, data, size, &sum));
        return sum;
    }
    /** Copies `size` bytes to a new frame. */
    Frame publish(const void* data, std::size_t size) const {
        Frame frame;
        detail::check(framebuffer_client_publish(client_.get(), data, size, &frame));
        return frame;
    }
    /**
     * Copies a container's elements to a new frame: std::vector, std::array, std::string, std::span, or an array (a
     * literal with its zero byte).
     */
    template <typename Container>
    Frame publish(const Container& container) const {
        return publish(std::data(container), detail::size_in_bytes(container));
    }
    /** Lends a frame of `size` bytes, to fill in place. */
    Loan loan(std::uint64_t size) const {
        framebuffer_loan* loan = nullptr;
        detail::check(framebuffer_client_loan(client_.get(), size, &loan));
        return Loan(loan);
    }

    /** Copies a frame to a buffer of `size` bytes: writes the first `frame.size` of them. */
    void read(const Frame& frame, void* buffer, std::size_t size) const {
        detail::check(framebuffer_client_read_frame(client_.get(), &frame, buffer, size));
    }
    /** Copies a frame to a new buffer. read_into() with a buffer that you use again is faster. */
    std::vector<std::uint8_t> read(const Frame& frame) const {
        std::vector<std::uint8_t> bytes;
        read_into(frame, bytes);
        return bytes;
    }
    /** Copies a frame to `bytes`, and resizes it to the frame's size. */
    void read_into(const Frame& frame, std::vector<std::uint8_t>& bytes) const {
        // Check the ring's size first: a description may come from anywhere.
        bytes.resize(frame.size <= size() ? static_cast<std::size_t>(frame.size) : 0);
        read(frame, bytes.data(), bytes.size());
    }
    /** Returns a view of the frame in place, without a copy. */
    View view(const Frame& frame) const {
        framebuffer_view* view = nullptr;
        detail::check(framebuffer_client_view(client_.get(), &frame, &view));
        return View(view);
    }

    /** A publisher of the channel with this name, 1 to 63 of A-Z a-z 0-9 . _ / -, which is made if there is none. */
    Publisher publisher(const std::string& name) const;
    Publisher publisher(const std::string& name, const PublisherOptions& options) const;
    /** A subscriber of the channel with this name, which begins with the last frame. */
    Subscriber subscriber(const std::string& name) const;
    Subscriber subscriber(const std::string& name, const SubscriberOptions& options) const;
    /** The channels of the ring, sorted by name. */
    std::vector<framebuffer_channel> channels() const;

    /** Returns the ring's statistics. */
    Stats stats() const {
        Stats stats;
        detail::check(framebuffer_client_stats(client_.get(), &stats, sizeof stats));
        return stats;
    }
    /** Closes the ring before the end of the scope. */
    void close() noexcept { client_.reset(); }

private:
    explicit Client(framebuffer_client* client) noexcept : client_(client) {}
    detail::Handle<framebuffer_client> client_;
};

/** Owns a ring, and removes it at the end. */
class Server {
public:
    /** Options for the ring. */
    struct Options {
        /** Empty: 128 random bits. */
        std::string key = {};
        /** Empty: FRAMEBUFFER_DIR or /dev/shm. */
        std::string dir = {};
        /** Permission bits of the segment: who may open it. */
        std::uint32_t mode = 0600;
        /** Whether the ring outlives the server. */
        bool keep = false;
    };

    /** Creates a ring that keeps `size` bytes of payload. */
    explicit Server(std::uint64_t size) : Server(size, Options()) {}
    Server(std::uint64_t size, const Options& options) {
        framebuffer_server* server = nullptr;
        detail::check(framebuffer_server_start_with(detail::c_str_or_null(options.key), size,
                                                    detail::c_str_or_null(options.dir), options.mode, options.keep,
                                                    &server));
        server_.reset(server);
    }

    /** The ring's key: a client needs it to open the ring. A secret. Empty after stop(). */
    std::string key() const {
        const char* key = framebuffer_server_key(server_.get());
        return key == nullptr ? std::string() : key;
    }
    /** The ring's identity, which its frames carry. */
    std::uint64_t ring_id() const noexcept { return framebuffer_server_ring_id(server_.get()); }
    /** Size of the ring, and of its largest frame, in bytes. */
    std::uint64_t size() const noexcept { return framebuffer_server_size(server_.get()); }
    /** Allocates a frame, for Client::write(), and returns its offset. */
    std::uint64_t allocate(std::uint64_t size) const {
        std::uint64_t offset;
        detail::check(framebuffer_server_allocate(server_.get(), size, &offset));
        return offset;
    }
    /** Clears the slots of participants that have died. */
    void reap() const { detail::check(framebuffer_server_reap(server_.get())); }
    /** Returns the ring's statistics. */
    Stats stats() const {
        Stats stats;
        detail::check(framebuffer_server_stats(server_.get(), &stats, sizeof stats));
        return stats;
    }
    /** Removes the ring before the end of the scope. Throws if that fails, unlike the destructor. */
    void stop() { detail::check(framebuffer_server_stop(server_.release())); }

private:
    detail::Handle<framebuffer_server> server_;
};

}  // namespace framebuffer

#include "framebuffer_descriptor.hpp"

#include "framebuffer_channel.hpp"

#endif  /* FRAMEBUFFER_HPP */
