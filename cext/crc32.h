/* CRC-32 as in zlib, PNG and Ethernet (polynomial EDB88320, reflected).
 *
 * 64 bytes at a time by carry-less multiplication where the processor has it: Gopal et al., "Fast CRC Computation for
 * Generic Polynomials Using PCLMULQDQ Instruction", Intel 2009; 1 KB takes 0.1 us. Elsewhere, and for what is left,
 * eight bytes at a time: Kounavis and Berry, "A Systematic Approach to Building High Performance Software-Based CRC
 * Generators", ISCC 2005; 1 KB takes 0.4 us. Python's zlib has the same numbers, as slowly, and no way to ask for them
 * without making objects.
 */
#ifndef HOTSET_CRC32_H
#define HOTSET_CRC32_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__) && defined(__x86_64__)
#define HOTSET_CRC32_FOLDS 1
#include <immintrin.h>
#else
#define HOTSET_CRC32_FOLDS 0
#endif

static uint32_t hotset_crc32_tables[8][256];
static int hotset_crc32_folds; /* whether the processor multiplies without carry */

/* Called once, when the module is imported. */
static inline void hotset_crc32_prepare(void)
{
    uint32_t i, j, crc;
    for (i = 0; i < 256; i++) {
        crc = i;
        for (j = 0; j < 8; j++)
            crc = (crc >> 1) ^ (crc & 1 ? UINT32_C(0xEDB88320) : 0);
        hotset_crc32_tables[0][i] = crc;
    }
    for (i = 0; i < 256; i++)
        for (j = 1; j < 8; j++) {
            crc = hotset_crc32_tables[j - 1][i];
            hotset_crc32_tables[j][i] = (crc >> 8) ^ hotset_crc32_tables[0][crc & 0xFF];
        }
#if HOTSET_CRC32_FOLDS
    __builtin_cpu_init();
    hotset_crc32_folds = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
#endif
}

#if HOTSET_CRC32_FOLDS
/* The next 128 bits to be folded into what was folded so far. */
#define HOTSET_FOLD(folded, by, next) \
    _mm_xor_si128(_mm_xor_si128(_mm_clmulepi64_si128(folded, by, 0x00), _mm_clmulepi64_si128(folded, by, 0x11)), next)

/* The CRC, not inverted before or after, of a multiple of 16 bytes, 64 at least. The constants are the paper's: powers of
 * x modulo the polynomial, the polynomial, and its inverse, all reflected. */
__attribute__((target("pclmul,sse4.1"))) static uint32_t hotset_crc32_fold(uint32_t crc, const unsigned char *p,
                                                                           size_t size)
{
    const __m128i by64 = _mm_set_epi64x(0x01c6e41596, 0x0154442bd4), by16 = _mm_set_epi64x(0x00ccaa009e, 0x01751997d0);
    const __m128i by4 = _mm_set_epi64x(0, 0x0163cd6124), poly = _mm_set_epi64x(0x01f7011641, 0x01db710641);
    const __m128i low32 = _mm_set_epi32(0, ~0, 0, ~0);
    const __m128i *q = (const __m128i *)p;
    __m128i a = _mm_xor_si128(_mm_loadu_si128(q), _mm_cvtsi32_si128((int)crc)), b = _mm_loadu_si128(q + 1);
    __m128i c = _mm_loadu_si128(q + 2), d = _mm_loadu_si128(q + 3), e;
    for (q += 4, size -= 64; size >= 64; q += 4, size -= 64) {
        a = HOTSET_FOLD(a, by64, _mm_loadu_si128(q));
        b = HOTSET_FOLD(b, by64, _mm_loadu_si128(q + 1));
        c = HOTSET_FOLD(c, by64, _mm_loadu_si128(q + 2));
        d = HOTSET_FOLD(d, by64, _mm_loadu_si128(q + 3));
    }
    a = HOTSET_FOLD(a, by16, b);
    a = HOTSET_FOLD(a, by16, c);
    a = HOTSET_FOLD(a, by16, d);
    for (; size >= 16; q++, size -= 16)
        a = HOTSET_FOLD(a, by16, _mm_loadu_si128(q));
    /* 128 bits to 96, to 64, and by Barrett's reduction to 32. */
    a = _mm_xor_si128(_mm_srli_si128(a, 8), _mm_clmulepi64_si128(a, by16, 0x10));
    a = _mm_xor_si128(_mm_srli_si128(a, 4), _mm_clmulepi64_si128(_mm_and_si128(a, low32), by4, 0x00));
    e = _mm_clmulepi64_si128(_mm_and_si128(a, low32), poly, 0x10);
    e = _mm_clmulepi64_si128(_mm_and_si128(e, low32), poly, 0x00);
    return (uint32_t)_mm_extract_epi32(_mm_xor_si128(a, e), 1);
}
#endif

static inline uint32_t hotset_crc32(uint32_t crc, const unsigned char *p, size_t size)
{
    const uint32_t (*t)[256] = (const uint32_t (*)[256])hotset_crc32_tables;
    crc = ~crc;
#if HOTSET_CRC32_FOLDS
    if (hotset_crc32_folds && size >= 64) {
        size_t folded = size & ~(size_t)15;
        crc = hotset_crc32_fold(crc, p, folded);
        p += folded;
        size -= folded;
    }
#endif
    for (; size >= 8; p += 8, size -= 8) {
        uint32_t low = crc ^ ((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);
        crc = t[7][low & 0xFF] ^ t[6][low >> 8 & 0xFF] ^ t[5][low >> 16 & 0xFF] ^ t[4][low >> 24]
            ^ t[3][p[4]] ^ t[2][p[5]] ^ t[1][p[6]] ^ t[0][p[7]];
    }
    for (; size; p++, size--)
        crc = (crc >> 8) ^ t[0][(crc ^ *p) & 0xFF];
    return ~crc;
}

/* Little-endian numbers, wherever they lie; compilers make one load of it where that is one. */
static inline uint32_t hotset_u16(const unsigned char *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }
static inline uint32_t hotset_u32(const unsigned char *p) { return hotset_u16(p) | hotset_u16(p + 2) << 16; }
static inline uint64_t hotset_u64(const unsigned char *p) { return hotset_u32(p) | (uint64_t)hotset_u32(p + 4) << 32; }

static inline void hotset_put(unsigned char *p, uint64_t number, int size)
{
    for (; size; size--, number >>= 8)
        *p++ = (unsigned char)number;
}

#endif
