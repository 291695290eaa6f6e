"""Commands as they go over the wire of a Valkey or Redis server: arrays of bulk strings. All is O(bytes)."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_Check, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_AsEncodedString, PyUnicode_Check
from libc.string cimport memcpy

from python cimport PyErr_Clear, PyUnicode_AsUTF8AndSize

cdef enum:
    FRAME = 5              # of a word, beside its digits: $, CR LF, CR LF


cdef struct Text:          # borrowed
    const char* bytes
    Py_ssize_t size


cdef inline int text_of(object word, Text* text, list kept) except -1:
    """The bytes of a word, a str in UTF-8, for as long as that and what is kept are there."""
    if PyUnicode_Check(word):
        text.bytes = PyUnicode_AsUTF8AndSize(<PyObject*>word, &text.size)
        if text.bytes != NULL:
            return 0
        PyErr_Clear()                                   # a lone surrogate: legal in a str, and so in a name
        word = PyUnicode_AsEncodedString(word, "utf-8", "surrogatepass")
        kept.append(word)
    elif not PyBytes_Check(word):
        raise TypeError(f"a word of a command must be str or bytes, not {word!r}")
    text.bytes, text.size = PyBytes_AS_STRING(word), PyBytes_GET_SIZE(word)
    return 0


cdef inline int digits_of(Py_ssize_t number) noexcept nogil:
    """How many decimal digits a number has."""
    cdef int digits = 1
    while number >= 10:
        number //= 10
        digits += 1
    return digits


cdef inline char* put_number(char* to, char kind, Py_ssize_t number) noexcept nogil:
    """Write the length of an array (*) or of a word ($). Where the next goes."""
    cdef int digits = digits_of(number)
    cdef int i
    to[0] = kind
    for i in range(digits):
        to[digits - i] = <char>(48 + number % 10)
        number //= 10
    to[digits + 1] = 13
    to[digits + 2] = 10
    return to + digits + 3


cdef inline char* put_bytes(char* to, const char* bytes, Py_ssize_t size) noexcept nogil:
    """Write bytes. Where the next go."""
    memcpy(to, bytes, size)
    return to + size


cdef inline bytes packed_commands(list commands):
    """See packed."""
    cdef Text text
    cdef Py_ssize_t whole = 0
    cdef char* to
    cdef list kept = []
    cdef bytes request
    for command in commands:
        whole += 3 + digits_of(len(<tuple?>command))
        for word in <tuple>command:
            text_of(word, &text, kept)
            whole += FRAME + digits_of(text.size) + text.size
    request = PyBytes_FromStringAndSize(NULL, whole)
    to = PyBytes_AS_STRING(request)
    for command in commands:
        to = put_number(to, 42, len(<tuple>command))
        for word in <tuple>command:
            text_of(word, &text, kept)
            to = put_number(to, 36, text.size)
            to = put_bytes(to, text.bytes, text.size)
            to = put_bytes(to, b"\r\n", 2)
    return request
