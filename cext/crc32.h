/* CRC-32 as in zlib, PNG and Ethernet (polynomial EDB88320, reflected), eight bytes at a time.
 *
 * Slicing-by-8: Kounavis and Berry, "A Systematic Approach to Building High Performance Software-Based CRC Generators",
 * ISCC 2005. Python's zlib has the same numbers, but no way to ask for them without making objects.
 */
#ifndef HOTSET_CRC32_H
#define HOTSET_CRC32_H

#include <stddef.h>
#include <stdint.h>

static uint32_t hotset_crc32_tables[8][256];

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
}

static inline uint32_t hotset_crc32(uint32_t crc, const unsigned char *p, size_t size)
{
    const uint32_t (*t)[256] = (const uint32_t (*)[256])hotset_crc32_tables;
    crc = ~crc;
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
