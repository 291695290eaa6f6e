"""Intrusive doubly-linked lists through the slab, by 32-bit index.

A list is a ring around a sentinel slot: ``sentinel.next`` is its front, ``sentinel.prev`` its back, and an empty
list points at itself. The ring needs no branch for an empty list or an end. Every operation is O(1) and touches
three entries at most. No counts are kept here: who needs one keeps it.
"""
from libc.stdint cimport uint32_t

from core.slab cimport Entry


cdef inline void list_init(Entry* entries, uint32_t head) noexcept nogil:
    entries[head].prev = head
    entries[head].next = head


cdef inline bint list_empty(Entry* entries, uint32_t head) noexcept nogil:
    return entries[head].next == head


cdef inline uint32_t list_front(Entry* entries, uint32_t head) noexcept nogil:
    """First entry, or `head` when the list is empty."""
    return entries[head].next


cdef inline uint32_t list_back(Entry* entries, uint32_t head) noexcept nogil:
    """Last entry, or `head` when the list is empty."""
    return entries[head].prev


cdef inline void list_remove(Entry* entries, uint32_t e) noexcept nogil:
    cdef uint32_t before = entries[e].prev
    cdef uint32_t after = entries[e].next
    entries[before].next = after
    entries[after].prev = before


cdef inline void list_insert_after(Entry* entries, uint32_t where, uint32_t e) noexcept nogil:
    cdef uint32_t after = entries[where].next
    entries[e].prev = where
    entries[e].next = after
    entries[after].prev = e
    entries[where].next = e


cdef inline void list_push_front(Entry* entries, uint32_t head, uint32_t e) noexcept nogil:
    list_insert_after(entries, head, e)


cdef inline void list_push_back(Entry* entries, uint32_t head, uint32_t e) noexcept nogil:
    list_insert_after(entries, entries[head].prev, e)


cdef inline void list_move_front(Entry* entries, uint32_t head, uint32_t e) noexcept nogil:
    if entries[head].next != e:
        list_remove(entries, e)
        list_insert_after(entries, head, e)
