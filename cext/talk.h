/* A request and what comes first of its answer, over a blocking socket whose waits the system bounds.
 *
 * Called without the interpreter's lock: given up once for both, it is not handed to and fro in between.
 */
#ifndef HOTSET_TALK_H
#define HOTSET_TALK_H

#include <errno.h>
#include <stddef.h>
#ifndef _WIN32
#include <sys/socket.h>
#include <sys/types.h>
#endif

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* where there is none, CPython has the signal ignored */
#endif

/* Sends what is left of `size` bytes after the first `*sent`, then receives. The bytes received, 0 for the end of the
 * connection, or an errno below zero; after EINTR it may be called again. */
static inline ptrdiff_t hotset_talk(int file, const char *out, size_t size, size_t *sent, char *in, size_t room) {
#ifdef _WIN32
    (void)file, (void)out, (void)size, (void)sent, (void)in, (void)room;
    return -ENOSYS; /* a socket is not a file there; nobody asks */
#else
    while (*sent < size) {
        ssize_t some = send(file, out + *sent, size - *sent, MSG_NOSIGNAL);
        if (some < 0) return -errno;
        *sent += (size_t)some;
    }
    ssize_t some = recv(file, in, room, 0);
    return some < 0 ? -errno : some;
#endif
}

#endif
