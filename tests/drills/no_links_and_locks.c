/* Preloaded: no hard links and no locks, as on exFAT. */

#include <errno.h>

static int failed(int number) {
    errno = number;
    return -1;
}

int link(const char *from, const char *to) {
    (void)from, (void)to;
    return failed(EPERM);
}

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags) {
    (void)from_folder, (void)from, (void)to_folder, (void)to, (void)flags;
    return failed(EPERM);
}

int flock(int file, int operation) {
    (void)file, (void)operation;
    return failed(EOPNOTSUPP);
}
