/*
 * framebuffer_descriptor.hpp: what a writer says of a frame, in C++17. A part of framebuffer.hpp, which includes it.
 */

#ifndef FRAMEBUFFER_HPP
#include "framebuffer.hpp" /* which includes this file */
#elif !defined(FRAMEBUFFER_DESCRIPTOR_HPP)
#define FRAMEBUFFER_DESCRIPTOR_HPP

#include <limits>

namespace framebuffer {

namespace detail {

template <typename T>
constexpr std::uint32_t element_of() noexcept {
    constexpr std::size_t bits = 8 * sizeof(T);
    constexpr bool is_text = std::is_same_v<T, char> || std::is_same_v<T, wchar_t> || std::is_same_v<T, char16_t> ||
                             std::is_same_v<T, char32_t>;
    if constexpr (std::is_same_v<T, bool>) {
        return bits == 8 ? FRAMEBUFFER_ELEMENT_BOOL : 0;
    } else if constexpr (std::is_integral_v<T> && !is_text && bits <= 64) {
        return FRAMEBUFFER_ELEMENT(std::is_signed_v<T> ? 0 : 1, bits, 1);
    } else if constexpr (std::is_floating_point_v<T> && bits <= 64) {
        return FRAMEBUFFER_ELEMENT(bits == 16 && std::numeric_limits<T>::digits == 8 ? 4 : 2, bits, 1);
    } else {
        return 0;
    }
}

/** Whether something counts: an integer, or a constant of an enum. */
template <typename T>
constexpr bool is_count = std::is_convertible_v<T, long long> && (std::is_integral_v<T> || std::is_enum_v<T>);

/** The type of a container's elements. */
template <typename Container>
using ElementOf = std::remove_cv_t<std::remove_pointer_t<decltype(std::data(std::declval<const Container&>()))>>;

}  // namespace detail

/**
 * The type of T as a descriptor has it: 0 for what is no number, and for char. Specialise it for your own types:
 *
 *     template <> inline constexpr std::uint32_t framebuffer::element_of<Point> = FRAMEBUFFER_ELEMENT(2, 32, 3);
 */
template <typename T>
inline constexpr std::uint32_t element_of = detail::element_of<T>();

/** The number of elements in each dimension, outermost first: {rows, columns, channels} for an image; 4 at most. */
class Shape {
public:
    Shape() noexcept = default;
    template <typename Only, typename = std::enable_if_t<detail::is_count<Only>>>
    explicit Shape(Only only) : dimensions_{checked(only)}, rank_(1) {}
    template <typename First, typename Second, typename... More,
              typename = std::enable_if_t<detail::is_count<First> && detail::is_count<Second> &&
                                          (... && detail::is_count<More>)>>
    Shape(First first, Second second, More... more)
        : dimensions_{checked(first), checked(second), checked(more)...}, rank_(2 + sizeof...(more)) {
        static_assert(sizeof...(more) <= 2, "a shape has 4 dimensions at most");
    }

    std::size_t size() const noexcept { return rank_; }
    const std::uint32_t* begin() const noexcept { return dimensions_; }
    const std::uint32_t* end() const noexcept { return dimensions_ + rank_; }
    std::uint32_t operator[](std::size_t at) const noexcept { return dimensions_[at]; }

private:
    friend class Descriptor;
    template <typename Count>
    static std::uint32_t checked(Count count) {
        // What is too large for a signed number becomes a negative one.
        const auto dimension = static_cast<long long>(count);
        if (dimension < 0 || dimension > UINT32_MAX) {
            const std::string message = "a dimension of " + std::to_string(dimension) + ": 0 to 4294967295 is possible";
            throw error(FRAMEBUFFER_STATUS_INVALID_ARGUMENT, message.c_str());
        }
        return static_cast<std::uint32_t>(dimension);
    }

    std::uint32_t dimensions_[4] = {};
    std::uint32_t rank_ = 0;
};

/** What a writer says of a frame. Each member function with an argument returns the descriptor itself. */
class Descriptor {
public:
    Descriptor() noexcept = default;
    explicit Descriptor(const framebuffer_descriptor& said) noexcept : said_(said) {}
    /** Elements of type T in this shape. */
    template <typename T>
    static Descriptor of(const Shape& shape) {
        static_assert(element_of<T> != 0, "specialise framebuffer::element_of for this type");
        return Descriptor().element(element_of<T>).shape(shape);
    }

    /** When the content is from, by the clock that writer and reader agree on; usually since 1970. */
    Descriptor& time(std::chrono::nanoseconds time) noexcept { return set(said_.time_ns, time.count()); }
    /** The type of the elements: FRAMEBUFFER_ELEMENT_F32, or element_of<float>. */
    Descriptor& element(std::uint32_t element) noexcept { return set(said_.element, element); }
    Descriptor& shape(const Shape& shape) noexcept {
        std::copy(shape.dimensions_, shape.dimensions_ + 4, said_.dims);
        return set(said_.rank, shape.rank_);
    }
    /** Bytes from one row to the next. */
    Descriptor& row_stride(std::uint64_t bytes) noexcept { return set(said_.row_stride, bytes); }
    /** The pixel format: FRAMEBUFFER_FOURCC('N', 'V', '1', '2'), or that of V4L2 or DRM. */
    Descriptor& fourcc(std::uint32_t fourcc) noexcept { return set(said_.fourcc, fourcc); }
    /** Eight bytes for the user. */
    Descriptor& user(std::uint64_t word) noexcept { return set(said_.user, word); }

    std::chrono::nanoseconds time() const noexcept {
        return std::chrono::nanoseconds(static_cast<std::chrono::nanoseconds::rep>(said_.time_ns));
    }
    std::uint32_t element() const noexcept { return said_.element; }
    Shape shape() const noexcept {
        Shape shape;
        std::copy(said_.dims, said_.dims + 4, shape.dimensions_);
        shape.rank_ = std::min<std::uint32_t>(said_.rank, 4);
        return shape;
    }
    std::uint64_t row_stride() const noexcept { return said_.row_stride; }
    std::uint32_t fourcc() const noexcept { return said_.fourcc; }
    std::uint64_t user() const noexcept { return said_.user; }
    /** As in C. */
    const framebuffer_descriptor& get() const noexcept { return said_; }

private:
    template <typename To, typename From>
    Descriptor& set(To& to, From from) noexcept {
        to = static_cast<To>(from);
        return *this;
    }

    framebuffer_descriptor said_ = {};
};

/** Elements of a frame, in place: valid as long as its sample. */
template <typename T>
class Elements {
public:
    Elements(const T* data, std::size_t size) noexcept : data_(data), size_(size) {}
    const T* data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }
    const T* begin() const noexcept { return data_; }
    const T* end() const noexcept { return data_ + size_; }
    const T& operator[](std::size_t at) const noexcept { return data_[at]; }

private:
    const T* data_;
    std::size_t size_;
};

}  // namespace framebuffer

#endif  /* FRAMEBUFFER_DESCRIPTOR_HPP */
