/* What Cython cannot say: bits, clocks, locks and the fast look at a key, for every CPython and compiler.
 *
 * Nothing here calls Python code, but for hotset_hash on what is neither a str nor a small int.
 */
#ifndef HOTSET_COMPAT_H
#define HOTSET_COMPAT_H

#include <Python.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifndef _WIN32
#include <time.h>
#endif

#if defined(__GNUC__) || defined(__clang__)
#define HOTSET_LIKELY(x) __builtin_expect(!!(x), 1)
#define hotset_prefetch(p) __builtin_prefetch((const void *)(p), 1, 3)
#else
#define HOTSET_LIKELY(x) (x)
#define hotset_prefetch(p) ((void)(p))
#endif

#define HOTSET_NEVER ((double)INFINITY)

/* The items of a tuple, as an array */
#define hotset_tuple_items(t) (((PyTupleObject *)(t))->ob_item)

/* The wheel's 40 bits of ticks, and where it begins to count anew; an enum has room for neither. */
#define HOTSET_LAST_TICK ((INT64_C(1) << 40) - 1)
#define HOTSET_REBASE_TICK (INT64_C(1) << 39)

/* ---- bits; the word is not 0 ---- */
#ifdef _MSC_VER
#include <intrin.h>
static inline int hotset_lowest_bit(uint64_t word) { unsigned long i; _BitScanForward64(&i, word); return (int)i; }
static inline int hotset_highest_bit(uint64_t word) { unsigned long i; _BitScanReverse64(&i, word); return (int)i; }
#else
static inline int hotset_lowest_bit(uint64_t word) { return __builtin_ctzll(word); }
static inline int hotset_highest_bit(uint64_t word) { return 63 - __builtin_clzll(word); }
#endif

/* ---- locks: with the GIL a stretch of C is atomic already ---- */
#ifdef Py_GIL_DISABLED
typedef PyMutex hotset_mutex;
#define hotset_lock(m) PyMutex_Lock(m)
#define hotset_unlock(m) PyMutex_Unlock(m)
#else
typedef char hotset_mutex;
#define hotset_lock(m) ((void)(m))
#define hotset_unlock(m) ((void)(m))
#endif

/* ---- clocks: seconds, from the same origin as time.monotonic ---- */
#if defined(_WIN32) && PY_VERSION_HEX >= 0x030D0000
static inline double hotset_clock_precise(void)
{
    PyTime_t now;
    return PyTime_MonotonicRaw(&now) == 0 ? PyTime_AsSecondsDouble(now) : 0.0;
}
#elif defined(_WIN32)
static inline double hotset_clock_precise(void) { return (double)_PyTime_GetMonotonicClock() * 1e-9; }
#elif defined(__APPLE__)
static inline double hotset_clock_precise(void) { return (double)clock_gettime_nsec_np(CLOCK_UPTIME_RAW) * 1e-9; }
#else
static inline double hotset_clock_of(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}
static inline double hotset_clock_precise(void) { return hotset_clock_of(CLOCK_MONOTONIC); }
#endif

/* As of the kernel's last tick (1 to 10 ms ago), at a quarter of the cost where the system has such a clock. */
#if defined(CLOCK_MONOTONIC_COARSE) && !defined(_WIN32) && !defined(__APPLE__)
static inline double hotset_clock_coarse(void) { return hotset_clock_of(CLOCK_MONOTONIC_COARSE); }
#elif defined(__APPLE__)
static inline double hotset_clock_coarse(void) { return (double)clock_gettime_nsec_np(CLOCK_UPTIME_RAW_APPROX) * 1e-9; }
#else
#define hotset_clock_coarse hotset_clock_precise
#endif

/* ---- keys ---- */

/* 1 and *value, when an exact int is small enough to read without a call */
static inline int hotset_small_int(PyObject *o, Py_ssize_t *value)
{
#if PY_VERSION_HEX >= 0x030C0000
    if (!PyUnstable_Long_IsCompact((PyLongObject *)o))
        return 0;
    *value = PyUnstable_Long_CompactValue((PyLongObject *)o);
    return 1;
#else
    Py_ssize_t size = Py_SIZE(o);
    if (size < -1 || size > 1)
        return 0;
    *value = size * (Py_ssize_t)((PyLongObject *)o)->ob_digit[0];
    if (size == 0)
        *value = 0;
    return 1;
#endif
}

/* The hash of a str that has been hashed or of a small int, without a call; else -1, without an error */
static inline Py_hash_t hotset_known_hash(PyObject *o)
{
    if (HOTSET_LIKELY(PyUnicode_CheckExact(o)))
        return ((PyASCIIObject *)o)->hash;
    if (PyLong_CheckExact(o)) {
        Py_ssize_t value;
        if (HOTSET_LIKELY(hotset_small_int(o, &value)))
            return value == -1 ? -2 : (Py_hash_t)value;
    }
    return -1;
}

/* PyObject_Hash; -1 with an error set */
static inline Py_hash_t hotset_hash(PyObject *o)
{
    Py_hash_t hash = hotset_known_hash(o);
    return HOTSET_LIKELY(hash != -1) ? hash : PyObject_Hash(o);
}

/* 32 bits of a Python hash, well spread: the engine's only hash. Fibonacci hashing (Knuth, TAOCP 6.4). */
static inline uint32_t hotset_mix(Py_hash_t hash)
{
    return (uint32_t)(((uint64_t)hash * UINT64_C(0x9E3779B97F4A7C15)) >> 32);
}

/* hash() of an int, without the int */
static inline Py_hash_t hotset_hash_int64(int64_t value)
{
    const uint64_t modulus = (UINT64_C(1) << 61) - 1;
    uint64_t magnitude = value < 0 ? (uint64_t)0 - (uint64_t)value : (uint64_t)value;
    int64_t hash;
    if (magnitude >= modulus)
        magnitude %= modulus;
    hash = value < 0 ? -(int64_t)magnitude : (int64_t)magnitude;
    return (Py_hash_t)(hash == -1 ? -2 : hash);
}

static inline Py_hash_t hotset_hash_uint64(uint64_t value)
{
    const uint64_t modulus = (UINT64_C(1) << 61) - 1;
    return (Py_hash_t)(value >= modulus ? value % modulus : value);
}

/* memcmp(a, b, size) == 0, without the call for the sizes that keys have */
static inline int hotset_same_bytes(const char *a, const char *b, size_t size)
{
    if (size >= 8 && size <= 64) {
        uint64_t x, y, differ = 0;
        size_t i;
        for (i = 0; i + 8 < size; i += 8) {
            memcpy(&x, a + i, 8);
            memcpy(&y, b + i, 8);
            differ |= x ^ y;
        }
        memcpy(&x, a + size - 8, 8);
        memcpy(&y, b + size - 8, 8);
        return (differ | (x ^ y)) == 0;
    }
    return memcmp(a, b, size) == 0;
}

/* Are two different objects equal keys?  1 yes, 0 no, -1 only Python can say (or -1 for an odd int, which is safe). */
static inline int hotset_keys_equal(PyObject *a, PyObject *b)
{
    if (PyUnicode_CheckExact(a) && PyUnicode_CheckExact(b)) {
        Py_ssize_t length = PyUnicode_GET_LENGTH(a);
        unsigned int kind = PyUnicode_KIND(a);
        if (length != PyUnicode_GET_LENGTH(b) || kind != (unsigned int)PyUnicode_KIND(b))
            return 0;
        return hotset_same_bytes((const char *)PyUnicode_DATA(a), (const char *)PyUnicode_DATA(b), (size_t)length * kind);
    }
    if (PyLong_CheckExact(a) && PyLong_CheckExact(b)) {
        Py_ssize_t x, y;
        int small_a = hotset_small_int(a, &x), small_b = hotset_small_int(b, &y);
        if (small_a && small_b)
            return x == y;
        return small_a == small_b ? -1 : 0;
    }
    if (PyBytes_CheckExact(a) && PyBytes_CheckExact(b)) {
        Py_ssize_t size = PyBytes_GET_SIZE(a);
        return size == PyBytes_GET_SIZE(b) && hotset_same_bytes(PyBytes_AS_STRING(a), PyBytes_AS_STRING(b), (size_t)size);
    }
    return -1;
}

#endif
