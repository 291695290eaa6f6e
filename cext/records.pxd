"""What a tiered cache's memory keeps of an entry, made from that or, for a bulk read, from its envelope."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject, PyTypeObject

from envelope cimport AGE, CREATED, DROPS, ENTRY_SLOTS, EPOCH, EXPIRES, FENCE_END, KEEP, LIFE, VERSION, bytes_of, \
    cost_in, hotset_u64, seconds_till
from envelope cimport ABSENT as ENTRY_ABSENT, COST_SLOT as ENTRY_COST, EPOCH_SLOT as ENTRY_EPOCH, TAGS as ENTRY_TAGS, \
    VERSION_SLOT as ENTRY_VERSION, WRITER as ENTRY_WRITER
from instances cimport Py_TYPE, find_slots, get_slot, set_slot
from store cimport HOTSET_NEVER

cdef enum:                 # the slots of a record, in alphabetical order
    ABSENT, BORN, CONFIRMED, COST_SLOT, DEADLINE, EPOCH_SLOT, GONE, LOOSE, REFRESHING, TAGS, VERSION_SLOT, WRITER, \
        RECORD_SLOTS


cdef struct Recorded:
    Py_ssize_t slots[RECORD_SLOTS]
    Py_ssize_t until           # where that is in a Fresh
    Py_ssize_t entry_slots[ENTRY_SLOTS]
    PyTypeObject* entry


cdef inline const Recorded* recorded_in(bytes plan) except NULL:
    """The Recorded that these bytes are."""
    if plan is None or PyBytes_GET_SIZE(plan) != sizeof(Recorded):
        raise TypeError("what plan_recording returns is wanted")
    return <const Recorded*>PyBytes_AS_STRING(plan)


cdef inline bytes recorded_of(type record, Py_ssize_t until, type entry, object descriptor):
    """A Recorded as bytes. It holds no references."""
    cdef Recorded r
    find_slots(entry, entry.__match_args__, descriptor, r.entry_slots, ENTRY_SLOTS)
    r.entry = <PyTypeObject*>entry
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


cdef inline object record_of(bytes plan, type cls, object entry, double moment, object confirmed, double longest):
    """See make_record; who knows what a Fresh is puts the value in."""
    cdef const Recorded* r = recorded_in(plan)
    cdef const Py_ssize_t* e = r.entry_slots
    cdef tuple nothing = ()
    cdef double age, life, keep
    if Py_TYPE(entry) != r.entry:
        raise TypeError(f"an Entry is wanted, got {entry!r}")
    age, life, keep = get_slot(entry, e[AGE]), get_slot(entry, e[LIFE]), get_slot(entry, e[KEEP])
    record = (<PyTypeObject*>cls).tp_new(cls, <PyObject*>nothing, NULL)
    (<double*>(<char*><PyObject*>record + r.until))[0] = -HOTSET_NEVER
    set_slot(record, r.slots[ABSENT], get_slot(entry, e[ENTRY_ABSENT]))
    set_slot(record, r.slots[BORN], moment - age)
    set_slot(record, r.slots[CONFIRMED], confirmed)
    set_slot(record, r.slots[COST_SLOT], get_slot(entry, e[ENTRY_COST]))
    set_slot(record, r.slots[DEADLINE], moment + min(life, longest))
    set_slot(record, r.slots[EPOCH_SLOT], get_slot(entry, e[ENTRY_EPOCH]))
    set_slot(record, r.slots[GONE], moment + keep)
    set_slot(record, r.slots[LOOSE], False)
    set_slot(record, r.slots[REFRESHING], False)
    set_slot(record, r.slots[TAGS], get_slot(entry, e[ENTRY_TAGS]))
    set_slot(record, r.slots[VERSION_SLOT], get_slot(entry, e[ENTRY_VERSION]))
    set_slot(record, r.slots[WRITER], get_slot(entry, e[ENTRY_WRITER]))
    return record


cdef inline tuple records_of(bytes plan, type cls, list envelopes, list origins, double now, double moment,
                             double longest, double until, object loose):
    """See make_records; who knows what a Fresh is puts the values in."""
    cdef const Recorded* r = recorded_in(plan)
    cdef list records = []
    cdef object moment_object = moment
    cdef tuple nothing = ()
    cdef double keep = 0.0
    for envelope, origin in zip(envelopes, origins):
        record = (<PyTypeObject*>cls).tp_new(cls, <PyObject*>nothing, NULL)
        (<double*>(<char*><PyObject*>record + r.until))[0] = until
        keep = max(keep, fill_record(r, record, bytes_of(envelope), origin, now, moment, moment_object, longest, loose))
        records.append(record)
    return records, keep
