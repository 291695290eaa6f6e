"""What a tiered cache's memory keeps of an entry, made from its envelope: for a bulk read that fills memory."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject, PyTypeObject

from envelope cimport CREATED, DROPS, EPOCH, EXPIRES, FENCE_END, VERSION, bytes_of, cost_in, hotset_u64, seconds_till
from instances cimport find_slots, set_slot

cdef enum:                 # the slots of a record, in alphabetical order
    ABSENT, BORN, CONFIRMED, COST_SLOT, DEADLINE, EPOCH_SLOT, GONE, LOOSE, REFRESHING, TAGS, VERSION_SLOT, WRITER, \
        RECORD_SLOTS


cdef struct Recorded:
    Py_ssize_t slots[RECORD_SLOTS]
    Py_ssize_t until           # where that is in a Fresh


cdef inline bytes recorded_of(type record, Py_ssize_t until, object descriptor):
    """A Recorded as bytes."""
    cdef Recorded r
    find_slots(record, record.__slots__, descriptor, r.slots, RECORD_SLOTS)
    r.until = until
    return PyBytes_FromStringAndSize(<const char*>&r, sizeof(r))


cdef inline double fill_record(const Recorded* r, object record, const unsigned char* p, tuple origin, double now,
                               double moment, object moment_object, double longest, object loose) except? -1:
    """Fill an empty record, but for value and until, from an envelope that was opened; how long it is kept.

    It was opened at `now` of the server's clock, which is `moment` here.
    """
    cdef double keep = seconds_till(hotset_u64(p + DROPS), now)
    cdef double deadline = moment + min(seconds_till(hotset_u64(p + EXPIRES), now), longest)
    set_slot(record, r.slots[ABSENT], False)
    set_slot(record, r.slots[BORN], moment - max(0.0, now - <double>hotset_u64(p + CREATED) / 1000))
    set_slot(record, r.slots[CONFIRMED], moment_object)
    set_slot(record, r.slots[COST_SLOT], cost_in(p))
    set_slot(record, r.slots[DEADLINE], deadline)
    set_slot(record, r.slots[EPOCH_SLOT], hotset_u64(p + EPOCH))
    set_slot(record, r.slots[GONE], moment + keep)
    set_slot(record, r.slots[LOOSE], loose)
    set_slot(record, r.slots[REFRESHING], False)
    set_slot(record, r.slots[TAGS], origin[1])
    set_slot(record, r.slots[VERSION_SLOT], PyBytes_FromStringAndSize(<const char*>p + VERSION, FENCE_END - VERSION))
    set_slot(record, r.slots[WRITER], origin[0])
    (<double*>(<char*><PyObject*>record + r.until))[0] = min((<double*>(<char*><PyObject*>record + r.until))[0], deadline)
    return keep


cdef inline tuple records_of(bytes plan, type cls, list envelopes, list origins, double now, double moment,
                             double longest, double until, object loose):
    """See make_records; who knows what a Fresh is puts the values in."""
    cdef const Recorded* r
    cdef list records = []
    cdef object moment_object = moment
    cdef tuple nothing = ()
    cdef double keep = 0.0
    if plan is None or PyBytes_GET_SIZE(plan) != sizeof(Recorded):
        raise TypeError("what plan_recording returns is wanted")
    r = <const Recorded*>PyBytes_AS_STRING(plan)
    for envelope, origin in zip(envelopes, origins):
        record = (<PyTypeObject*>cls).tp_new(cls, <PyObject*>nothing, NULL)
        (<double*>(<char*><PyObject*>record + r.until))[0] = until
        keep = max(keep, fill_record(r, record, bytes_of(envelope), origin, now, moment, moment_object, longest, loose))
        records.append(record)
    return records, keep
