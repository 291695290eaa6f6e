/* Bits of a word: how many are set, and which is the highest. */
#ifndef HOTSET_BITS_H
#define HOTSET_BITS_H

#include <stdint.h>
#ifdef _MSC_VER
#include <intrin.h>
#endif

/* Without an instruction for it, which the oldest CPUs lack: compilers put several words side by side. */
static inline uint32_t hotset_bits_count(uint64_t x)
{
    x -= (x >> 1) & 0x5555555555555555u;
    x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    return (uint32_t)((x * 0x0101010101010101u) >> 56);
}

/* The highest set bit, 0 to 63; x is not 0. */
static inline uint32_t hotset_bits_highest(uint64_t x)
{
#ifdef _MSC_VER
    unsigned long found;
    _BitScanReverse64(&found, x);
    return (uint32_t)found;
#else
    return 63u - (uint32_t)__builtin_clzll(x);
#endif
}

/* A bijection that spreads every bit over all (the finalizer of SplitMix64; Steele, Lea and Flood, OOPSLA 2014). */
static inline uint64_t hotset_bits_spread(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

#endif
