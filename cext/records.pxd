"""What a tiered cache's memory keeps of an entry, made from its envelope: for a bulk read that fills memory."""
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t

from envelope cimport COST, CREATED, DROPS, EPOCH, EXPIRES, FENCE_END, VERSION, cost_in, hotset_u64, seconds_till
from instances cimport set_slot

cdef enum:                 # the slots of a record, in alphabetical order
    ABSENT, BORN, CONFIRMED, COST_SLOT, DEADLINE, EPOCH_SLOT, GONE, LOOSE, REFRESHING, TAGS, VERSION_SLOT, WRITER, \
        RECORD_SLOTS


cdef inline double fill_record(const Py_ssize_t* slots, object record, const unsigned char* p, tuple origin, double now,
                               double moment, object moment_object, double longest, object loose, double* keep) except? -1:
    """Fill an empty record from an envelope that was opened, but for value and until; when its life ends.

    It was opened at `now` of the server's clock, which is `moment` here. `keep` becomes how long it is kept, if that is
    longer.
    """
    cdef double deadline = moment + min(seconds_till(hotset_u64(p + EXPIRES), now), longest)
    cdef double kept = seconds_till(hotset_u64(p + DROPS), now)
    set_slot(record, slots[ABSENT], False)
    set_slot(record, slots[BORN], moment - max(0.0, now - <double>hotset_u64(p + CREATED) / 1000))
    set_slot(record, slots[CONFIRMED], moment_object)
    set_slot(record, slots[COST_SLOT], cost_in(p))
    set_slot(record, slots[DEADLINE], deadline)
    set_slot(record, slots[EPOCH_SLOT], hotset_u64(p + EPOCH))
    set_slot(record, slots[GONE], moment + kept)
    set_slot(record, slots[LOOSE], loose)
    set_slot(record, slots[REFRESHING], False)
    set_slot(record, slots[TAGS], origin[1])
    set_slot(record, slots[VERSION_SLOT], PyBytes_FromStringAndSize(<const char*>p + VERSION, FENCE_END - VERSION))
    set_slot(record, slots[WRITER], origin[0])
    keep[0] = max(keep[0], kept)
    return deadline
