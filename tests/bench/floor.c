/* The floor under every reader: a bare loop that preads event files, checks both checksums of each
   record by the processor's instruction and parses one number an event; nothing is kept.

   read.py --floor builds it and runs it as `floor FILE...`. Prints the number of points and the
   seconds of the fastest of several rounds. It knows only sound files, on x86-64. Records longer
   than 32 KiB are stepped over. */

#include <fcntl.h>
#include <nmmintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 256 << 10, WHOLE = 32 << 10, ROUNDS = 7 };

static unsigned char block[BLOCK + 8];
static double sum;
static uint64_t hash;

static uint64_t load(const unsigned char *p, int size)
{
    uint64_t n = 0;
    memcpy(&n, p, size);
    return n;
}

static uint32_t masked(const unsigned char *p, size_t size)
{
    uint64_t crc = 0xFFFFFFFF;
    for (; size >= 8; p += 8, size -= 8)
        crc = _mm_crc32_u64(crc, load(p, 8));
    for (; size; p++, size--)
        crc = _mm_crc32_u8((uint32_t)crc, *p);
    uint32_t c = ~(uint32_t)crc;
    return (c >> 15 | c << 17) + 0xA282EAD8u;
}

static const unsigned char *varint(const unsigned char *p, uint64_t *n)
{
    *n = 0;
    for (int shift = 0;; shift += 7) {
        *n |= (uint64_t)(*p & 127) << shift;
        if (*p++ < 128)
            return p;
    }
}

/* Go down the fields event, summary, value, tensor; return how many numbers were met. */
static long parse(const unsigned char *p, const unsigned char *end, int level)
{
    long points = 0;
    while (p < end) {
        uint64_t key, size = 0, n;
        p = varint(p, &key);
        if ((key & 7) == 0) {
            p = varint(p, &n);
            hash += n;
            continue;
        }
        if ((key & 7) == 2)
            p = varint(p, &size);
        else
            size = (key & 7) == 1 ? 8 : 4;
        if (size > (uint64_t)(end - p))
            return 0;
        int inside = level == 0 ? key == 42 : level == 1 ? key == 10 : level == 2 && key == 66;
        if (inside)
            points += parse(p, p + size, level + 1);
        else if ((level == 2 && key == 21) ||
                 (level == 3 && (key == 34 || key == 42 || key == 45))) {
            float value;
            memcpy(&value, p, 4);
            sum += value;
            points++;
        } else if (level == 2 && key == 10 && size)
            for (uint64_t i = 0; i + 8 <= size; i += 8)
                hash = (hash ^ load(p + i, 8)) * 0x9E3779B97F4A7C15u;
        p += size;
    }
    return points;
}

static long scan(int fd)
{
    long points = 0;
    off_t offset = 0;
    ssize_t have;
    while ((have = pread(fd, block, BLOCK, offset)) > 0) {
        ssize_t at = 0;
        while (have - at >= 12) {
            const unsigned char *p = block + at;
            uint64_t size = load(p, 8);
            if (load(p + 8, 4) != masked(p, 8))
                return points;
            if (size > WHOLE) {
                at += (ssize_t)size + 16;
                continue;
            }
            if (at + (ssize_t)size + 16 > have)
                break;
            if (load(p + 12 + size, 4) != masked(p + 12, size))
                return points;
            points += parse(p + 12, p + 12 + size, 0);
            at += (ssize_t)size + 16;
        }
        if (at == 0)
            break;
        offset += at;
    }
    return points;
}

int main(int count, char **paths)
{
    double best = 1e9;
    long points = 0;
    for (int round = 0; round < ROUNDS; round++) {
        struct timespec begin, end;
        points = 0;
        clock_gettime(CLOCK_MONOTONIC, &begin);
        for (int i = 1; i < count; i++) {
            int fd = open(paths[i], O_RDONLY);
            points += scan(fd);
            close(fd);
        }
        clock_gettime(CLOCK_MONOTONIC, &end);
        double took = (double)(end.tv_sec - begin.tv_sec);
        took += 1e-9 * (double)(end.tv_nsec - begin.tv_nsec);
        best = took < best ? took : best;
    }
    fprintf(stderr, "%g %llx\n", sum, (unsigned long long)hash);
    printf("%ld %.6f\n", points, best);
    return 0;
}
