/*
 * framebuffer.hpp: framebuffer.h for C++17, with ownership in types. Header-only, needs nothing but libframebuffer.
 *
 *     framebuffer::Client ring = framebuffer::Client::connect();   // the sidecar at FRAMEBUFFER_URL
 *
 *     framebuffer::Frame frame = ring.publish(pixels);             // std::vector, std::array, std::string, std::span, ...
 *     send(framebuffer::to_json(frame));
 *
 *     framebuffer::View view = ring.view(framebuffer::from_json(text));
 *     process(view.data(), view.size());                           // in place, until the view goes out of scope
 *
 * Errors are exceptions: framebuffer::timeout when the ring has moved past a frame, which a slow reader expects and goes on
 * from, framebuffer::error otherwise. Destructors never throw.
 *
 * Client, Server, View and Loan own what they are named after: they can be moved, not copied. An object that was moved from,
 * released or committed is empty: its data() is nullptr, its size() 0, and using it otherwise is a framebuffer::error. Views
 * and loans may outlive their client.
 *
 * Const member functions may be called by many threads at once, as everywhere in C++. What fork() does is told in
 * framebuffer.h.
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

/** The description of a frame, for the reader: `offset`, `size`, `checksum`. */
using Frame = framebuffer_frame;
/** What a ring says about itself. */
using Stats = framebuffer_stats;
/** What came of a call. */
using Status = framebuffer_status;

/** Why a call failed: what() says it with the offending value and the limit. */
class error : public std::runtime_error {
public:
    error(Status status, const char* message) : std::runtime_error(message), code_(status) {}
    /** FRAMEBUFFER_STATUS_NOT_FOUND, say. */
    Status code() const noexcept { return code_; }

private:
    Status code_;
};

/** The frame is not, or no longer, what was promised. */
class timeout : public error {
public:
    explicit timeout(const char* message) : error(FRAMEBUFFER_STATUS_TIMEOUT, message) {}
};

namespace detail {

inline void check(Status status) {
    if (status == FRAMEBUFFER_STATUS_OK) {
        return;
    }
    if (status == FRAMEBUFFER_STATUS_TIMEOUT) {
        throw timeout(framebuffer_error_message());
    }
    throw error(status, framebuffer_error_message());
}

struct Deleter {
    void operator()(framebuffer_client* client) const noexcept { framebuffer_client_close(client); }
    void operator()(framebuffer_view* view) const noexcept { framebuffer_view_release(view); }
    void operator()(framebuffer_loan* loan) const noexcept { framebuffer_loan_abandon(loan); }
    void operator()(framebuffer_server* server) const noexcept { framebuffer_server_stop(server); }
};

template <typename T>
using Handle = std::unique_ptr<T, Deleter>;

inline const char* c_str_or_null(const std::string& text) noexcept { return text.empty() ? nullptr : text.c_str(); }

/** The bytes of a container whose elements lie in a row and are plain: of what std::data and std::size understand. */
template <typename Container>
std::size_t size_in_bytes(const Container& container) noexcept {
    using Element = std::remove_cv_t<std::remove_pointer_t<decltype(std::data(container))>>;
    static_assert(std::is_trivially_copyable_v<Element>, "frames are made of plain bytes");
    return std::size(container) * sizeof(Element);
}

}  // namespace detail

/** A frame as JSON, as programs in all languages read it. */
inline std::string to_json(const Frame& frame) {
    char text[FRAMEBUFFER_FRAME_JSON_SIZE];
    detail::check(framebuffer_frame_to_json(&frame, text, sizeof text));
    return text;
}

/** The frame that a JSON text describes. Members besides offset, size and checksum are ignored. */
inline Frame from_json(std::string_view json) {
    Frame frame;
    detail::check(framebuffer_frame_from_json(json.data(), json.size(), &frame));
    return frame;
}

/** The checksum that a frame with these bytes has. */
inline std::uint64_t checksum(const void* data, std::size_t size) {
    std::uint64_t sum;
    detail::check(framebuffer_checksum(data, size, &sum));
    return sum;
}

/** The version of the library that the program runs with. */
inline std::string_view version() noexcept { return framebuffer_version(); }

/** A frame in the ring, read in place. Writers go around it for as long as this lives. */
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
    /** Whether the writer has hashed the frame: not so after Loan::commit_unhashed(). */
    bool is_hashed() const noexcept { return framebuffer_view_is_hashed(view_.get()); }
    /** Hashes the bytes; throws timeout if they are not those that the writer hashed. */
    void verify() const { detail::check(framebuffer_view_verify(view_.get())); }
    /** Gives the frame back to the ring before the end of the scope. */
    void release() noexcept { view_.reset(); }

private:
    friend class Client;
    explicit View(framebuffer_view* view) noexcept : view_(view) {}
    detail::Handle<framebuffer_view> view_;
};

/** A frame of the ring lent for writing. Destroyed without commit() it is given back as never written. */
class Loan {
public:
    Loan() noexcept = default;

    /** The first byte, aligned to 64 bytes. What is there are bytes of older frames. */
    std::uint8_t* data() noexcept { return framebuffer_loan_data(loan_.get()); }
    /** Length in bytes. */
    std::size_t size() const noexcept { return framebuffer_loan_size(loan_.get()); }
    std::uint8_t* begin() noexcept { return data(); }
    std::uint8_t* end() noexcept { return data() + size(); }

    /** Shortens the frame to its first `size` bytes. */
    void truncate(std::size_t size) { detail::check(framebuffer_loan_truncate(loan_.get(), size)); }
    /** Makes the frame readable, and empties this. Hashes the bytes where they are. */
    Frame commit() {
        Frame frame;
        detail::check(framebuffer_loan_commit(loan_.release(), &frame));
        return frame;
    }
    /** As commit(), without hashing: in a time that does not depend on the size. */
    Frame commit_unhashed() {
        Frame frame;
        detail::check(framebuffer_loan_commit_unhashed(loan_.release(), &frame));
        return frame;
    }
    /** Gives the frame back before the end of the scope. */
    void abandon() noexcept { loan_.reset(); }

private:
    friend class Client;
    explicit Loan(framebuffer_loan* loan) noexcept : loan_(loan) {}
    detail::Handle<framebuffer_loan> loan_;
};

/** Writes frames into a ring and reads them out of it. May be used by many threads at once. */
class Client {
public:
    /** The ring with this key, in the folder `dir` (FRAMEBUFFER_DIR or /dev/shm if empty). */
    static Client open(const std::string& key, const std::string& dir = {}) {
        framebuffer_client* client = nullptr;
        detail::check(framebuffer_client_open(key.c_str(), detail::c_str_or_null(dir), &client));
        return Client(client);
    }
    /**
     * The ring of the sidecar at `url` (FRAMEBUFFER_URL or http://127.0.0.1:7570 if empty). Waits while it starts, for as long
     * as `deadline`, between a millisecond and 49 days.
     */
    static Client connect(const std::string& url = {}, std::chrono::milliseconds deadline = std::chrono::seconds(30),
                          const std::string& dir = {}) {
        framebuffer_client* client = nullptr;
        const auto limited = std::clamp<std::chrono::milliseconds::rep>(deadline.count(), 1, UINT32_MAX);
        detail::check(framebuffer_client_connect(detail::c_str_or_null(url), detail::c_str_or_null(dir),
                                                 static_cast<std::uint32_t>(limited), &client));
        return Client(client);
    }

    /** Size of the ring, and of its largest frame, in bytes. */
    std::uint64_t size() const noexcept { return framebuffer_client_size(client_.get()); }

    /** Allocates a frame, for write() here or in another process, and returns its offset. */
    std::uint64_t allocate(std::uint64_t size) const {
        std::uint64_t offset;
        detail::check(framebuffer_client_allocate(client_.get(), size, &offset));
        return offset;
    }
    /** Writes into the frame that was allocated at `offset`, and returns the checksum. */
    std::uint64_t write(std::uint64_t offset, const void* data, std::size_t size) const {
        std::uint64_t sum;
        detail::check(framebuffer_client_write(client_.get(), offset, data, size, &sum));
        return sum;
    }
    /** Copies `size` bytes into a new frame. */
    Frame publish(const void* data, std::size_t size) const {
        Frame frame;
        detail::check(framebuffer_client_publish(client_.get(), data, size, &frame));
        return frame;
    }
    /**
     * Copies a container's elements into a new frame: std::vector, std::array, std::string, std::span, an array (a literal with
     * its zero byte).
     */
    template <typename Container>
    Frame publish(const Container& container) const {
        return publish(std::data(container), detail::size_in_bytes(container));
    }
    /** Lends a frame of `size` bytes, to be filled in place. */
    Loan loan(std::uint64_t size) const {
        framebuffer_loan* loan = nullptr;
        detail::check(framebuffer_client_loan(client_.get(), size, &loan));
        return Loan(loan);
    }

    /** Copies a frame into a buffer of `size` bytes, of which the first `frame.size` are written. */
    void read(const Frame& frame, void* buffer, std::size_t size) const {
        detail::check(framebuffer_client_read_frame(client_.get(), &frame, buffer, size));
    }
    /** Copies a frame. A buffer that is used again, with read_into(), is faster than a new one each time. */
    std::vector<std::uint8_t> read(const Frame& frame) const {
        std::vector<std::uint8_t> bytes;
        read_into(frame, bytes);
        return bytes;
    }
    /** Copies a frame into `bytes`, which gets its length. */
    void read_into(const Frame& frame, std::vector<std::uint8_t>& bytes) const {
        // Not before it is known that the ring can hold so much: a description may come from anywhere.
        bytes.resize(frame.size <= size() ? static_cast<std::size_t>(frame.size) : 0);
        read(frame, bytes.data(), bytes.size());
    }
    /** The frame in place, without a copy. */
    View view(const Frame& frame) const {
        framebuffer_view* view = nullptr;
        detail::check(framebuffer_client_view(client_.get(), &frame, &view));
        return View(view);
    }

    /** What the ring says about itself. */
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
    /** How the ring is to be. */
    struct Options {
        /** Empty: 128 random bits. */
        std::string key = {};
        /** Empty: FRAMEBUFFER_DIR or /dev/shm. */
        std::string dir = {};
        /** Who may open it. */
        std::uint32_t mode = 0600;
        /** Whether it outlives the server. */
        bool keep = false;
    };

    /** A ring that keeps `size` bytes of payload. */
    explicit Server(std::uint64_t size) : Server(size, Options()) {}
    Server(std::uint64_t size, const Options& options) {
        framebuffer_server* server = nullptr;
        detail::check(framebuffer_server_start_with(detail::c_str_or_null(options.key), size,
                                                    detail::c_str_or_null(options.dir), options.mode, options.keep,
                                                    &server));
        server_.reset(server);
    }

    /** What a client needs to open the ring: a secret. Empty after stop(). */
    std::string key() const {
        const char* key = framebuffer_server_key(server_.get());
        return key == nullptr ? std::string() : key;
    }
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
    /** What the ring says about itself. */
    Stats stats() const {
        Stats stats;
        detail::check(framebuffer_server_stats(server_.get(), &stats, sizeof stats));
        return stats;
    }
    /** Removes the ring before the end of the scope; throws if that fails, which the destructor can't. */
    void stop() { detail::check(framebuffer_server_stop(server_.release())); }

private:
    detail::Handle<framebuffer_server> server_;
};

}  // namespace framebuffer

#endif  /* FRAMEBUFFER_HPP */
