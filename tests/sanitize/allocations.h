/* Put before the scanner's source: counts the blocks it holds, and lets the n-th allocation fail. */

#include <stdlib.h>

long scan_blocks_held;
long scan_allocations_left = -1; /* until one fails; -1: none does */

static inline int
allocation_fails(void)
{
    if (scan_allocations_left > 0)
        scan_allocations_left--;
    return scan_allocations_left == 0;
}

static inline void *
counted_realloc(void *before, size_t size)
{
    if (allocation_fails())
        return NULL;
    void *at = realloc(before, size);
    scan_blocks_held += at && !before;
    return at;
}

static inline void *
counted_calloc(size_t count, size_t size)
{
    void *at = allocation_fails() ? NULL : calloc(count, size);
    scan_blocks_held += at != NULL;
    return at;
}

static inline int
counted_memalign(void **at, size_t border, size_t size)
{
    if (allocation_fails() || posix_memalign(at, border, size))
        return 1;
    scan_blocks_held++;
    return 0;
}

static inline void
counted_free(void *at)
{
    scan_blocks_held -= at != NULL;
    free(at);
}

#define malloc(size) counted_realloc(NULL, size)
#define realloc counted_realloc
#define calloc counted_calloc
#define posix_memalign counted_memalign
#define free counted_free
