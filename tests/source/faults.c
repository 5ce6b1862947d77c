/* A file system that misbehaves, below the program: loaded before libc (LD_PRELOAD).
 *
 * FAULTS names a file of lines "id call what times text", read again at every call: the first
 * `times` calls (-1: all) of `call` on a path that contains `text` fail with errno `what`; "hang"
 * waits until the line is gone, "short" reads half of what was asked for. Each call on a path that
 * contains FAULTS_UNDER is logged to FAULTS_LOG as "call flags path".
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { IDS = 1024, SHORT = -2, HANG = -1 };
static int used[IDS];

static size_t rules(char *text, size_t room) {
    const char *name = getenv("FAULTS");
    long fd = name ? syscall(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC) : -1;
    long n = fd < 0 ? 0 : syscall(SYS_read, fd, text, room - 1);
    if (fd >= 0) syscall(SYS_close, fd);
    text[n > 0 ? n : 0] = 0;
    return n > 0 ? (size_t)n : 0;
}

/* Return what is to happen to a call: 0 nothing, an errno, HANG or SHORT; the line's id in *id. */
static int rule(const char *call, const char *path, int *id) {
    char text[8192], *rest = NULL;
    rules(text, sizeof text);
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char which[32], what[32], part[4096];
        int times;
        if (sscanf(line, "%d %31s %31s %d %4095[^\n]", id, which, what, &times, part) != 5) continue;
        if (strcmp(which, call) || !strstr(path, part)) continue;
        if (times >= 0 && used[*id % IDS] >= times) continue;
        used[*id % IDS]++;
        return !strcmp(what, "hang") ? HANG : !strcmp(what, "short") ? SHORT : atoi(what);
    }
    return 0;
}

static int still(int id) {
    char text[8192], mark[16];
    rules(text, sizeof text);
    snprintf(mark, sizeof mark, "%d ", id);
    for (char *at = text; at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL)
        if (!strncmp(at, mark, strlen(mark))) return 1;
    return 0;
}

/* Log a call and let it misbehave: -1 with errno set if it is to fail, 1 if it is to be short. */
static int meddle(const char *call, int flags, const char *path) {
    int kept = errno, id = 0;
    const char *under = getenv("FAULTS_UNDER"), *log = getenv("FAULTS_LOG");
    if (!under || !strstr(path, under)) return 0;
    if (log) {
        char line[4500];
        int n = snprintf(line, sizeof line, "%s %d %s\n", call, flags, path);
        long fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT, 0600);
        if (fd >= 0) syscall(SYS_write, fd, line, n), syscall(SYS_close, fd);
    }
    int what = rule(call, path, &id);
    while (what == HANG && still(id)) usleep(10000);
    errno = kept;
    if (what > 0) return errno = what, -1;
    return what == SHORT;
}

static int meddle_fd(const char *call, int flags, int fd) {
    char link[64], path[4096];
    if (fd < 0) return 0;
    int kept = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long n = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    errno = kept;
    if (n <= 0) return 0;
    path[n] = 0;
    return meddle(call, flags, path);
}

#define NEXT(name, type, ...)                                   \
    static type (*next)(__VA_ARGS__);                           \
    if (!next) next = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

#define OPEN(name)                                              \
    int name(const char *path, int flags, ...) {                \
        va_list more;                                           \
        va_start(more, flags);                                  \
        int mode = va_arg(more, int);                           \
        va_end(more);                                           \
        NEXT(#name, int, const char *, int, ...);               \
        return meddle("open", flags, path) < 0 ? -1 : next(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define PREAD(name)                                             \
    ssize_t name(int fd, void *to, size_t count, off_t at) {    \
        NEXT(#name, ssize_t, int, void *, size_t, off_t);       \
        int what = meddle_fd("pread", 0, fd);                   \
        return what < 0 ? -1 : next(fd, to, what && count > 1 ? count / 2 : count, at); \
    }
PREAD(pread)
PREAD(pread64)

#define STAT(name, type, call)                                  \
    int name(const char *path, struct type *info) {             \
        NEXT(#name, int, const char *, struct type *);          \
        return meddle(call, 0, path) < 0 ? -1 : next(path, info); \
    }
STAT(stat, stat, "stat")
STAT(stat64, stat64, "stat")
STAT(lstat, stat, "lstat")
STAT(lstat64, stat64, "lstat")

#define FSTAT(name, type)                                       \
    int name(int fd, struct type *info) {                       \
        NEXT(#name, int, int, struct type *);                   \
        return meddle_fd("fstat", 0, fd) < 0 ? -1 : next(fd, info); \
    }
FSTAT(fstat, stat)
FSTAT(fstat64, stat64)

#define FSTATAT(name, type)                                     \
    int name(int at, const char *path, struct type *info, int flags) { \
        NEXT(#name, int, int, const char *, struct type *, int); \
        return meddle("stat", flags, path) < 0 ? -1 : next(at, path, info, flags); \
    }
FSTATAT(fstatat, stat)
FSTATAT(fstatat64, stat64)

DIR *opendir(const char *path) {
    NEXT("opendir", DIR *, const char *);
    return meddle("opendir", 0, path) < 0 ? NULL : next(path);
}

#define READDIR(name, type)                                     \
    struct type *name(DIR *dir) {                               \
        NEXT(#name, struct type *, DIR *);                      \
        return meddle_fd("readdir", 0, dirfd(dir)) < 0 ? NULL : next(dir); \
    }
READDIR(readdir, dirent)
READDIR(readdir64, dirent64)

int close(int fd) {
    NEXT("close", int, int);
    meddle_fd("close", 0, fd);
    return next(fd);
}

#define MMAP(name)                                              \
    void *name(void *to, size_t n, int how, int flags, int fd, off_t at) { \
        NEXT(#name, void *, void *, size_t, int, int, int, off_t); \
        meddle_fd("mmap", flags, fd);                           \
        return next(to, n, how, flags, fd, at);                 \
    }
MMAP(mmap)
MMAP(mmap64)

int flock(int fd, int how) {
    NEXT("flock", int, int, int);
    meddle_fd("lock", how, fd);
    return next(fd, how);
}

#define LOCK(name)                                              \
    int name(int fd, int what, ...) {                           \
        va_list more;                                           \
        va_start(more, what);                                   \
        void *given = va_arg(more, void *);                     \
        va_end(more);                                           \
        NEXT(#name, int, int, int, ...);                        \
        if (what == F_SETLK || what == F_SETLKW || what == F_OFD_SETLK || what == F_OFD_SETLKW) \
            meddle_fd("lock", what, fd);                        \
        return next(fd, what, given);                           \
    }
LOCK(fcntl)
LOCK(fcntl64)
