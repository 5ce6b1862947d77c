/* Put before the scanner's source: a system that counts the blocks that are held, lets the n-th
   allocation fail, interrupts reads and returns fewer bytes than were asked for. */

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

long scan_blocks_held;
long scan_allocations_left = -1; /* until one fails; -1: none does */
long scan_interruptions_left;    /* of reads */
long scan_longest_read = 1L << 30;

static inline ssize_t hostile_pread(int fd, void *to, size_t size, off_t offset)
{
    if (scan_interruptions_left > 0) {
        scan_interruptions_left--;
        errno = EINTR;
        return -1;
    }
    size_t most = (size_t)scan_longest_read;
    return pread(fd, to, size < most ? size : most, offset);
}

static inline int allocation_fails(void)
{
    if (scan_allocations_left > 0)
        scan_allocations_left--;
    return scan_allocations_left == 0;
}

static inline void *counted_realloc(void *before, size_t size)
{
    if (allocation_fails())
        return NULL;
    void *at = realloc(before, size);
    scan_blocks_held += at && !before;
    return at;
}

static inline void *counted_calloc(size_t count, size_t size)
{
    void *at = allocation_fails() ? NULL : calloc(count, size);
    scan_blocks_held += at != NULL;
    return at;
}

static inline int counted_memalign(void **at, size_t border, size_t size)
{
    if (allocation_fails() || posix_memalign(at, border, size))
        return 1;
    scan_blocks_held++;
    return 0;
}

static inline void counted_free(void *at)
{
    scan_blocks_held -= at != NULL;
    free(at);
}

#define pread hostile_pread
#define malloc(size) counted_realloc(NULL, size)
#define realloc counted_realloc
#define calloc counted_calloc
#define posix_memalign counted_memalign
#define free counted_free
