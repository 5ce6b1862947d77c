/* Which scalar points do these bytes hold, and where does the last whole record end?

   The fast twin of _scan_py.py: the same results for every byte string, sound or broken. Whatever
   a rule means is said there and in wire.py; here is only how it is done without Python objects.

   A file is taken record by record from a block that is filled by pread. In a tag's records all
   bytes between step and value are the same (its form), and tags come in turns; so most records
   are recognised by comparing them with the form of the tag that came next the last time. Others
   are decoded field by field. The GIL is not held until the results are handed over. */

#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030B0000
#endif
#include <Python.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEADER = 12, FRAME = 16, WHOLE = 32 << 10, MAX_RECORD = 64 << 20 };
enum { FIRST_BLOCK = 64 << 10, BLOCK = 256 << 10, AFTER_LARGE = 16 << 10, WINDOW = 512 };
enum { MAX_TENSOR = 4 << 10, LONGEST_TAG = 32 << 10, LONGEST_FORM = 1 << 10 };
enum { HUGE_PAGE = 2 << 20 };
enum { GLIMPSE = 4 << 20 }; /* bytes of all files of one glimpse */
#ifdef __APPLE__
#define st_mtim st_mtimespec
#endif
enum { MOST_HEAD = 20 }; /* bytes of a field before its content: two numbers */

/* Keys of fields (number << 3 | wire type). */
enum { WALL = 9, STEP = 16, SUMMARY = 42, SESSION = 58, VALUE = 10 };
enum { TAG = 10, SIMPLE = 21, NODE_NAME = 58, TENSOR = 66, METADATA = 74 };

enum { STOP_END, STOP_TAIL, STOP_ZEROS, STOP_BAD_HEADER, STOP_BAD_BODY, STOP_TOO_LONG };

/* What functions return: 0, or why there is nothing. */
enum { MALFORMED = 1, FAILED = -1 };
enum { NO_MEMORY = -1, RAISED = -2 }; /* Scanner.error, else an errno */

/* ------------------------------------------------------------------------ numbers in bytes */

static inline uint32_t load32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t load64(const uint8_t *p)
{
    return load32(p) | (uint64_t)load32(p + 4) << 32;
}

static inline double load_double(const uint8_t *p)
{
    uint64_t bits = load64(p);
    double number;
    memcpy(&number, &bits, 8);
    return number;
}

static inline double load_float(const uint8_t *p)
{
    uint32_t bits = load32(p);
    float number;
    memcpy(&number, &bits, 4);
    return number;
}

/* ------------------------------------------------------------------------ CRC-32C */

enum { LANE = 1024 }; /* long data are taken in three lanes of so many bytes at a time */

static uint32_t table[8][256];      /* [i][b]: byte b with i zero bytes behind it */
static uint32_t over_lane[4][256];  /* what a lane of zeros makes of each byte of a state */
static uint32_t sound_header[1024]; /* the masked checksum of each short length */

static uint32_t crc_by_table(uint32_t crc, const uint8_t *p, size_t size)
{
    for (; size >= 8; p += 8, size -= 8) {
        uint32_t low = load32(p) ^ crc, high = load32(p + 4);
        crc = table[7][low & 255] ^ table[6][low >> 8 & 255] ^ table[5][low >> 16 & 255] ^
              table[4][low >> 24] ^ table[3][high & 255] ^ table[2][high >> 8 & 255] ^
              table[1][high >> 16 & 255] ^ table[0][high >> 24];
    }
    while (size--)
        crc = crc >> 8 ^ table[0][(crc ^ *p++) & 255];
    return crc;
}

/* The instructions are written out, for compilers differ in how they let one ask for them. */
#define CRC(form, crc, value)                                                                     \
    ({                                                                                            \
        uint64_t crc_ = (crc);                                                                    \
        __asm__(form : "+r"(crc_) : "r"(value));                                                  \
        (uint32_t) crc_;                                                                          \
    })
#if defined(__x86_64__)
#define HARDWARE "sse4.2"
#define CRC8(crc, p) CRC("crc32q %1, %q0", crc, load64(p))
#define CRC4(crc, p) CRC("crc32l %1, %k0", crc, load32(p))
#define CRC1(crc, p) CRC("crc32b %1, %k0", crc, *(p))
static bool has_hardware(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("sse4.2");
}
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#define HARDWARE "armv8"
#define CRC8(crc, p) CRC(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1", crc, load64(p))
#define CRC4(crc, p) CRC(".arch_extension crc\n\tcrc32cw %w0, %w0, %w1", crc, load32(p))
#define CRC1(crc, p) CRC(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1", crc, (uint32_t)*(p))
static bool has_hardware(void)
{
    return getauxval(AT_HWCAP) & (1 << 7); /* HWCAP_CRC32 */
}
#endif

#ifdef HARDWARE
static inline uint32_t past_lane(uint32_t crc)
{
    return over_lane[0][crc & 255] ^ over_lane[1][crc >> 8 & 255] ^
           over_lane[2][crc >> 16 & 255] ^ over_lane[3][crc >> 24];
}

static uint32_t crc_by_hardware(uint32_t crc, const uint8_t *p, size_t size)
{
    /* The instruction takes three cycles and can start every cycle: three lanes at once. */
    for (; size >= 3 * LANE; p += 3 * LANE, size -= 3 * LANE) {
        uint32_t second = 0, third = 0;
        for (size_t i = 0; i < LANE; i += 8) {
            crc = CRC8(crc, p + i);
            second = CRC8(second, p + LANE + i);
            third = CRC8(third, p + 2 * LANE + i);
        }
        crc = past_lane(past_lane(crc) ^ second) ^ third;
    }
    for (; size >= 8; p += 8, size -= 8)
        crc = CRC8(crc, p);
    if (size & 4) {
        crc = CRC4(crc, p);
        p += 4;
    }
    for (size &= 3; size; p++, size--)
        crc = CRC1(crc, p);
    return crc;
}
#else
#define HARDWARE ""
#define crc_by_hardware crc_by_table
static bool has_hardware(void)
{
    return false;
}
#endif

static uint32_t (*crc_of)(uint32_t, const uint8_t *, size_t) = crc_by_table;

/* Return the checksum as it stands in a file. */
static inline uint32_t masked(const uint8_t *data, size_t size)
{
    uint32_t crc = ~crc_of(~(uint32_t)0, data, size);
    return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

static void prepare_checksums(void)
{
    static const uint8_t zeros[LANE];
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
        table[0][byte] = crc;
    }
    for (int i = 1; i < 8; i++)
        for (int byte = 0; byte < 256; byte++)
            table[i][byte] = table[i - 1][byte] >> 8 ^ table[0][table[i - 1][byte] & 255];
    for (int bit = 0; bit < 32; bit++) {
        uint32_t moved = crc_by_table((uint32_t)1 << bit, zeros, LANE);
        uint32_t *lane = over_lane[bit / 8], top = (uint32_t)1 << bit % 8;
        for (uint32_t rest = 0; rest < top; rest++)
            lane[top + rest] = lane[rest] ^ moved;
    }
    if (has_hardware())
        crc_of = crc_by_hardware;
    for (uint32_t size = 0; size < 1024; size++) {
        uint8_t length[8] = {(uint8_t)size, (uint8_t)(size >> 8)};
        sound_header[size] = masked(length, 8);
    }
}

static inline bool is_sound(const uint8_t *header, uint64_t length)
{
    uint32_t stored = load32(header + 8);
    return length < 1024 ? stored == sound_header[length] : stored == masked(header, 8);
}

/* ------------------------------------------------------------------------ growing memory */

typedef struct {
    const uint8_t *at;
    size_t size;
} Bytes;

typedef struct {
    uint8_t *at;
    size_t size, room;
} Buffer;

/* Make room for so many bytes more. */
static bool reserve(Buffer *b, size_t more)
{
    if (more <= b->room - b->size)
        return true;
    if (more > SIZE_MAX / 4 - b->size)
        return false;
    size_t room = b->size + more + b->room / 2 + 64;
    uint8_t *at = realloc(b->at, room);
    if (!at)
        return false;
    b->at = at;
    b->room = room;
    return true;
}

static bool append(Buffer *b, const void *data, size_t size)
{
    if (!reserve(b, size))
        return false;
    if (size)
        memcpy(b->at + b->size, data, size);
    b->size += size;
    return true;
}

static inline bool same(const uint8_t *a, const uint8_t *b, size_t size)
{
    return size == 0 || memcmp(a, b, size) == 0; /* nothing may stand nowhere */
}

static inline bool equal(Bytes bytes, const char *text)
{
    return bytes.size == strlen(text) && same(bytes.at, (const uint8_t *)text, bytes.size);
}

/* ------------------------------------------------------------------------ the scanner */

typedef struct {
    size_t at, size; /* in Scanner.text */
} Span;

/* What is known of a tag's name. */
typedef struct {
    Span text, plugin;
    uint64_t hash;
    int32_t tag;  /* its number among the tags with points, -1 if it has none */
    int32_t next; /* the name that came after it the last time, -1 if none did */
    bool has_plugin;
    bool has_form;
    size_t form, form_room; /* bytes before the value and after it, in Scanner.text */
    size_t before, after;
} Name;

typedef struct {
    size_t row;
    Span raw; /* in Scanner.blob */
} Odd;

typedef struct {
    size_t points_before;
    uint64_t status;
    int64_t step;
} Session;

typedef struct {
    int fd;
    uint64_t begin, offset, size; /* in the file: first byte, next record, end */
    int stop;
    int64_t unchecked;
    int error;
    PyThreadState *thread;

    uint8_t *data; /* the block: bytes data[at:have], from offset on */
    size_t room, at, have, want;

    Name *names;
    int32_t name_count, name_room, tag_count;
    int32_t last, guess; /* names: of the last point, probably of the next */
    int32_t *slots;      /* hash table: name + 1, or 0 */
    size_t slot_count;   /* a power of two */
    Buffer text;
    Buffer learned; /* int32_t: names whose plugin was learned here, in order */
    Buffer spelled, tensor, metadata; /* of one value, if it is not in one piece as it is */

    void *tag, *step, *wall, *value; /* the columns: int32_t, int64_t, double, double */
    size_t count, point_room;

    Buffer odd, sessions, ends; /* Odd, Session, Odd: its row is the points before the event */
    size_t before; /* points before the event at hand */
    Buffer blob;
    uint64_t ignored;
} Scanner;

static int no_memory(Scanner *s)
{
    s->error = NO_MEMORY;
    return FAILED;
}

/* Read up to size bytes; return how many there are, -1 if it failed. */
static ssize_t read_at(Scanner *s, uint8_t *to, size_t size, uint64_t offset)
{
    size_t have = 0;
    while (have < size) {
        ssize_t got = pread(s->fd, to + have, size - have, (off_t)(offset + have));
        if (got == 0)
            break;
        if (got > 0) {
            have += (size_t)got;
            continue;
        }
        if (errno != EINTR) {
            s->error = errno;
            return -1;
        }
        PyEval_RestoreThread(s->thread);
        int raised = PyErr_CheckSignals();
        s->thread = PyEval_SaveThread();
        if (raised) {
            s->error = RAISED;
            return -1;
        }
    }
    return (ssize_t)have;
}

/* ------------------------------------------------------------------------ names */

static uint64_t seed; /* of this process, so that no file can be made to collide */

static uint64_t hash_of(Bytes b)
{
    uint64_t hash = seed ^ b.size * 0x9E3779B97F4A7C15u;
    size_t i = 0;
    for (; i + 8 <= b.size; i += 8) {
        hash = (hash ^ load64(b.at + i)) * 0xD6E8FEB86659FD93u;
        hash ^= hash >> 32;
    }
    for (; i < b.size; i++)
        hash = (hash ^ b.at[i]) * 0x100000001B3u;
    hash *= 0xD6E8FEB86659FD93u;
    return hash ^ hash >> 32;
}

/* Return how many bytes of UTF-8 the character at p takes, 0 if there is none. */
static size_t character(const uint8_t *p, size_t left)
{
    uint8_t lead = p[0];
    if (lead < 0x80)
        return 1;
    size_t size = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || left < size)
        return 0;
    uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < size; i++)
        if (p[i] >> 6 != 2)
            return 0;
    return size;
}

/* Make text of bytes: those that are not UTF-8 are written \xff. */
static int spell(Scanner *s, Bytes *bytes)
{
    static const char digits[] = "0123456789abcdef";
    size_t i = 0;
    for (size_t size; i < bytes->size; i += size)
        if (!(size = character(bytes->at + i, bytes->size - i)))
            break;
    if (i == bytes->size)
        return 0;
    s->spelled.size = 0;
    if (!append(&s->spelled, bytes->at, i))
        return no_memory(s);
    while (i < bytes->size) {
        uint8_t byte = bytes->at[i];
        size_t size = character(bytes->at + i, bytes->size - i);
        char escaped[4] = {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
        if (!append(&s->spelled, size ? bytes->at + i : (uint8_t *)escaped, size ? size : 4))
            return no_memory(s);
        i += size ? size : 1;
    }
    *bytes = (Bytes){s->spelled.at, s->spelled.size};
    return 0;
}

static inline Bytes text_of(const Scanner *s, Span span)
{
    return (Bytes){s->text.at + span.at, span.size};
}

static int keep(Scanner *s, Buffer *where, Bytes bytes, Span *span)
{
    *span = (Span){where->size, bytes.size};
    return append(where, bytes.at, bytes.size) ? 0 : no_memory(s);
}

static int more_slots(Scanner *s)
{
    size_t count = s->slot_count ? s->slot_count * 2 : 64;
    int32_t *slots = calloc(count, sizeof *slots);
    if (!slots)
        return no_memory(s);
    for (int32_t id = 0; id < s->name_count; id++) {
        size_t slot = s->names[id].hash & (count - 1);
        while (slots[slot])
            slot = (slot + 1) & (count - 1);
        slots[slot] = id + 1;
    }
    free(s->slots);
    s->slots = slots;
    s->slot_count = count;
    return 0;
}

/* Return the slot of a text: that of its name, or a free one. */
static int32_t *slot_of(Scanner *s, Bytes text, uint64_t hash)
{
    for (size_t slot = hash;; slot++) {
        int32_t *found = &s->slots[slot & (s->slot_count - 1)];
        if (!*found)
            return found;
        const Name *name = &s->names[*found - 1];
        if (name->hash == hash && name->text.size == text.size &&
            same(s->text.at + name->text.at, text.at, text.size))
            return found;
    }
}

/* Return the name of a text, a new one if need be; FAILED without memory. */
static int32_t name_of(Scanner *s, Bytes text)
{
    if ((size_t)s->name_count * 2 >= s->slot_count && more_slots(s))
        return FAILED;
    uint64_t hash = hash_of(text);
    int32_t *slot = slot_of(s, text, hash);
    if (*slot)
        return *slot - 1;
    if (s->name_count == s->name_room) {
        if (s->name_room > INT32_MAX / 4)
            return no_memory(s);
        int32_t room = s->name_room ? s->name_room * 2 : 32;
        Name *names = realloc(s->names, (size_t)room * sizeof *names);
        if (!names)
            return no_memory(s);
        s->names = names;
        s->name_room = room;
    }
    Name *name = &s->names[s->name_count];
    *name = (Name){.hash = hash, .tag = -1, .next = -1};
    if (keep(s, &s->text, text, &name->text))
        return FAILED;
    *slot = s->name_count + 1;
    return s->name_count++;
}

/* ------------------------------------------------------------------------ wire format */

typedef struct {
    uint64_t key;
    uint64_t number; /* or how many bytes it has */
    const uint8_t *at;
} Field;

static inline const uint8_t *varint(const uint8_t *at, const uint8_t *end, uint64_t *number)
{
    uint64_t sum = 0;
    for (unsigned shift = 0; at < end && shift < 70; shift += 7) {
        uint64_t byte = *at++;
        sum |= (byte & 127) << shift;
        if (byte < 128) {
            *number = sum;
            return at;
        }
    }
    return NULL;
}

/* Read a field up to its bytes; return where these begin, NULL if it is malformed. */
static inline const uint8_t *field_head(const uint8_t *at, const uint8_t *end, Field *f)
{
    at = varint(at, end, &f->key);
    if (!at || f->key < 8 || f->key >> 32)
        return NULL;
    switch (f->key & 7) {
    case 0:
    case 2:
        return varint(at, end, &f->number);
    case 1:
        f->number = 8;
        return at;
    case 5:
        f->number = 4;
        return at;
    default:
        return NULL;
    }
}

/* Read a field; return where it ends, NULL if it is malformed. */
static inline const uint8_t *field(const uint8_t *at, const uint8_t *end, Field *f)
{
    at = field_head(at, end, f);
    f->at = at;
    if (!at || (f->key & 7) == 0)
        return at;
    return f->number > (uint64_t)(end - at) ? NULL : at + f->number;
}

static inline Bytes bytes_of(const Field *f)
{
    return (Bytes){f->at, (size_t)f->number};
}

/* Go over the fields of a message; leaves the calling function if one is malformed. */
#define EACH_FIELD(f, at, end)                                                                    \
    for (const uint8_t *next_ = (at), *end_ = (end); next_ < end_;)                               \
        if (!(next_ = field(next_, end_, &(f))))                                                  \
            return MALFORMED;                                                                     \
        else

/* ------------------------------------------------------------------------ values */

typedef enum { NOTHING, NUMBER, MESSAGE } Kind;

typedef struct {
    Bytes tag, node_name, tensor, plugin, content;
    Kind kind;
    const uint8_t *number; /* where the float stands */
    unsigned pieces;       /* of the tensor */
} Value;

/* Put a piece of a message behind those before it. */
static int join(Scanner *s, Buffer *joined, Bytes *whole, unsigned *pieces, Bytes piece)
{
    if (*pieces == 0) {
        *whole = piece;
        *pieces = 1;
        return 0;
    }
    if (*pieces == 1) {
        joined->size = 0;
        if (!append(joined, whole->at, whole->size))
            return no_memory(s);
    }
    *pieces = 2;
    if (!append(joined, piece.at, piece.size))
        return no_memory(s);
    *whole = (Bytes){joined->at, joined->size};
    return 0;
}

static int decode_metadata(Bytes metadata, Value *v)
{
    Field f, inner;
    EACH_FIELD(f, metadata.at, metadata.at + metadata.size)
    {
        if (f.key != 10)
            continue;
        EACH_FIELD(inner, f.at, f.at + f.number)
        {
            if (inner.key == 10)
                v->plugin = bytes_of(&inner);
            else if (inner.key == 18)
                v->content = bytes_of(&inner);
        }
    }
    return 0;
}

static int decode_value(Scanner *s, Bytes message, Value *v)
{
    Bytes metadata = {0};
    unsigned metadata_pieces = 0;
    Field f;
    *v = (Value){0};
    EACH_FIELD(f, message.at, message.at + message.size)
    {
        switch (f.key) {
        case TAG:
            v->tag = bytes_of(&f);
            break;
        case SIMPLE:
            v->kind = NUMBER;
            v->number = f.at;
            break;
        case TENSOR:
            if (v->kind != MESSAGE)
                v->pieces = 0;
            v->kind = MESSAGE;
            if (join(s, &s->tensor, &v->tensor, &v->pieces, bytes_of(&f)))
                return FAILED;
            break;
        case METADATA:
            if (join(s, &s->metadata, &metadata, &metadata_pieces, bytes_of(&f)))
                return FAILED;
            break;
        case NODE_NAME:
            v->node_name = bytes_of(&f);
            break;
        case 26: /* other kinds of value */
        case 34:
        case 42:
        case 50:
            v->kind = NOTHING;
            break;
        }
    }
    return metadata.size ? decode_metadata(metadata, v) : 0;
}

/* Say whether every dimension of a shape is 1. */
static int one_element(Bytes shape, bool *is_one)
{
    Field f, inner;
    *is_one = false;
    EACH_FIELD(f, shape.at, shape.at + shape.size)
    {
        if (f.key != 18)
            continue;
        uint64_t size = 0;
        EACH_FIELD(inner, f.at, f.at + f.number)
        {
            if (inner.key == 8)
                size = inner.number;
        }
        if (size != 1)
            return 0;
    }
    *is_one = true;
    return 0;
}

typedef struct {
    uint64_t dtype;
    bool found; /* one plain float */
    double number;
    const uint8_t *at; /* where it stands, if it is a float32 */
} Tensor;

static int decode_tensor(Bytes message, Tensor *t)
{
    bool plain = true;
    Field f;
    *t = (Tensor){0};
    EACH_FIELD(f, message.at, message.at + message.size)
    {
        switch (f.key) {
        case 8:
            t->dtype = f.number;
            break;
        case 18:
            if (plain && one_element(bytes_of(&f), &plain))
                return MALFORMED;
            break;
        case 34: /* tensor_content, float_val, double_val */
        case 42:
        case 45:
        case 49:
        case 50: {
            bool single = t->dtype == 1, is_float = f.key == 42 || f.key == 45;
            plain = plain && !t->found && (f.key == 34 || is_float == single) &&
                    f.number == (single ? 4 : 8);
            if (plain && (single || t->dtype == 2)) {
                t->found = true;
                t->number = single ? load_float(f.at) : load_double(f.at);
                t->at = single ? f.at : NULL;
            }
            break;
        }
        case 24: /* version_number */
            break;
        default:
            plain = false;
        }
    }
    if (!plain || (t->dtype != 1 && t->dtype != 2))
        t->found = false;
    return 0;
}

/* Whether a DataType is a number or a truth value. */
static bool is_numeric(uint64_t dtype)
{
    const uint32_t numeric = 1u << 1 | 1u << 2 | 1u << 3 | 1u << 4 | 1u << 5 | 1u << 6 | 1u << 9 |
                             1u << 10 | 1u << 14 | 1u << 17 | 1u << 19 | 1u << 22 | 1u << 23;
    return dtype < 32 && numeric >> dtype & 1;
}

/* ------------------------------------------------------------------------ points */

/* Grow a column. Long ones are put where the system can use huge pages: a page fault for each
   4 KiB costs as much as parsing what fills them. */
static bool grow(void **column, size_t used, size_t room)
{
    void *at = NULL;
    if (room < HUGE_PAGE) {
        at = realloc(*column, room);
    } else if (posix_memalign(&at, HUGE_PAGE, room) == 0) {
#ifdef MADV_HUGEPAGE
        madvise(at, room, MADV_HUGEPAGE); /* if not, not */
#endif
        if (used)
            memcpy(at, *column, used);
        free(*column);
    } else {
        at = NULL;
    }
    if (at)
        *column = at;
    return at != NULL;
}

/* Make room for more points: as many as the rest of the file holds if it goes on like this. */
static int more_points(Scanner *s)
{
    double done = (double)(s->offset - s->begin) + 1, left = (double)(s->size - s->offset);
    double most = 16.0 * (double)s->count, least = 1.5 * (double)s->count;
    double likely = (double)s->count * (1.02 + left / done);
    double wanted = likely > most ? most : likely < least ? least : likely;
    if (wanted > (double)(SIZE_MAX / 32))
        return no_memory(s);
    size_t room = (size_t)wanted + 256, n = s->count;
    if (!grow(&s->tag, n * 4, room * 4) || !grow(&s->step, n * 8, room * 8) ||
        !grow(&s->wall, n * 8, room * 8) || !grow(&s->value, n * 8, room * 8))
        return no_memory(s);
    s->point_room = room;
    return 0;
}

static inline int add_point(Scanner *s, int32_t id, uint64_t step, double wall, double value)
{
    if (s->count == s->point_room && more_points(s))
        return FAILED;
    Name *name = &s->names[id];
    if (name->tag < 0)
        name->tag = s->tag_count++;
    ((int32_t *)s->tag)[s->count] = name->tag;
    ((int64_t *)s->step)[s->count] = (int64_t)step;
    ((double *)s->wall)[s->count] = wall;
    ((double *)s->value)[s->count] = value;
    s->count++;
    if (s->last >= 0)
        s->names[s->last].next = id;
    s->last = id;
    s->guess = name->next;
    return 0;
}

typedef struct {
    Bytes body;
    double wall;
    uint64_t step;
} Event;

/* Take an event that is like the last one of the tag that is probably next. */
static inline int take_known(Scanner *s, Bytes body, bool *taken)
{
    *taken = false;
    if (s->guess < 0)
        return 0;
    const Name *name = &s->names[s->guess];
    size_t rest = name->before + 4 + name->after; /* from the summary on */
    if (!name->has_form || body.size < 9 + rest || body.at[0] != WALL)
        return 0;
    const uint8_t *summary = body.at + (body.size - rest);
    const uint8_t *form = s->text.at + name->form;
    uint64_t step = 0;
    if (body.size > 9 + rest &&
        (body.at[9] != STEP || varint(body.at + 10, summary, &step) != summary))
        return 0;
    if (memcmp(summary, form, name->before) != 0 ||
        memcmp(summary + name->before + 4, form + name->before, name->after) != 0)
        return 0;
    *taken = true;
    double value = load_float(summary + name->before);
    return add_point(s, s->guess, step, load_double(body.at + 1), value);
}

/* Remember the bytes around the value of an event that holds nothing else. */
static int learn(Scanner *s, Bytes body, const uint8_t *number, int32_t id)
{
    const uint8_t *end = body.at + body.size, *summary = body.at + 9;
    uint64_t ignored, inner;
    if (body.size < 11 || body.at[0] != WALL)
        return 0;
    if (*summary == STEP)
        summary = varint(summary + 1, end, &ignored);
    if (!summary || summary == end || *summary != SUMMARY)
        return 0;
    const uint8_t *content = varint(summary + 1, end, &inner);
    if (!content || inner != (uint64_t)(end - content))
        return 0;
    size_t before = (size_t)(number - summary), after = (size_t)(end - number) - 4;
    size_t room = 64;
    if (before + after > LONGEST_FORM)
        return 0;
    while (room < before + after)
        room *= 2;
    Name *name = &s->names[id];
    if (name->form_room < room) {
        if (!reserve(&s->text, room))
            return no_memory(s);
        name->form = s->text.size;
        name->form_room = room;
        s->text.size += room;
    }
    memcpy(s->text.at + name->form, summary, before);
    memcpy(s->text.at + name->form + before, number + 4, after);
    name->before = before;
    name->after = after;
    name->has_form = true;
    return 0;
}

/* ------------------------------------------------------------------------ events */

/* Set what plugin a name belongs to, unless that is known. */
static int learn_plugin(Scanner *s, int32_t id, Bytes plugin)
{
    if (s->names[id].has_plugin)
        return 0;
    if (spell(s, &plugin) || keep(s, &s->text, plugin, &s->names[id].plugin))
        return FAILED;
    s->names[id].has_plugin = true;
    return append(&s->learned, &id, sizeof id) ? 0 : no_memory(s);
}

static int add_odd(Scanner *s, Bytes raw)
{
    Odd odd = {.row = s->count};
    if (keep(s, &s->blob, raw, &odd.raw))
        return FAILED;
    return append(&s->odd, &odd, sizeof odd) ? 0 : no_memory(s);
}

static int add_end(Scanner *s, Bytes content)
{
    Odd end = {.row = s->before};
    if (keep(s, &s->blob, content, &end.raw))
        return FAILED;
    return append(&s->ends, &end, sizeof end) ? 0 : no_memory(s);
}

/* Take one value: a point, a sign of the end, or nothing. */
static int take_value(Scanner *s, const Event *e, const Value *v, bool sole)
{
    Bytes text = v->tag.size ? v->tag : v->node_name;
    bool learnable = sole && v->tag.size;
    if (spell(s, &text))
        return FAILED;
    int32_t id = name_of(s, text);
    if (id < 0)
        return FAILED;
    if (v->plugin.size) {
        if (learn_plugin(s, id, v->plugin))
            return FAILED;
        if (equal(text_of(s, s->names[id].plugin), "hparams") &&
            equal(text_of(s, s->names[id].text), "_hparams_/session_end_info")) {
            learnable = false;
            if (add_end(s, v->content))
                return FAILED;
        }
    }
    if (v->kind == NOTHING)
        return 0;
    double number;
    const uint8_t *at = v->number;
    if (v->kind == NUMBER) {
        number = load_float(at);
    } else {
        Bytes plugin = text_of(s, s->names[id].plugin);
        bool scalars = equal(plugin, "scalars");
        Tensor tensor;
        if (plugin.size && !scalars)
            return 0;
        if (decode_tensor(v->tensor, &tensor))
            return MALFORMED;
        if (!is_numeric(tensor.dtype) || v->tensor.size > MAX_TENSOR) {
            s->ignored += scalars;
            return 0;
        }
        if (!tensor.found && add_odd(s, v->tensor))
            return FAILED;
        number = tensor.found ? tensor.number : Py_NAN;
        at = tensor.found ? tensor.at : NULL;
        learnable = learnable && scalars && v->pieces == 1 && at;
    }
    if (add_point(s, id, e->step, e->wall, number))
        return FAILED;
    return learnable ? learn(s, e->body, at, id) : 0;
}

/* Take the values of an event's summaries, which are the fields SUMMARY from `from` on. */
static int take_summary(Scanner *s, const Event *e, const uint8_t *from)
{
    const uint8_t *end = e->body.at + e->body.size;
    Field f, inner;
    Value value;
    size_t count = 0;
    EACH_FIELD(f, from, end)
    {
        if (f.key != SUMMARY)
            continue;
        EACH_FIELD(inner, f.at, f.at + f.number)
        {
            int failed = inner.key == VALUE ? decode_value(s, bytes_of(&inner), &value) : 0;
            if (failed)
                return failed;
            count += inner.key == VALUE;
        }
    }
    if (count == 1) /* as a rule */
        return take_value(s, e, &value, true);
    if (count == 0)
        return 0;
    EACH_FIELD(f, from, end)
    {
        if (f.key != SUMMARY)
            continue;
        EACH_FIELD(inner, f.at, f.at + f.number)
        {
            if (inner.key != VALUE)
                continue;
            int failed = decode_value(s, bytes_of(&inner), &value);
            failed = failed ? failed : take_value(s, e, &value, false);
            if (failed)
                return failed;
        }
    }
    return 0;
}

static int take_session(Scanner *s, const Event *e, const uint8_t *from)
{
    Session session = {.points_before = s->count, .step = (int64_t)e->step};
    Field f, inner;
    EACH_FIELD(f, from, e->body.at + e->body.size)
    {
        if (f.key != SESSION)
            continue;
        EACH_FIELD(inner, f.at, f.at + f.number)
        {
            if (inner.key == 8)
                session.status = inner.number;
        }
    }
    return append(&s->sessions, &session, sizeof session) ? 0 : no_memory(s);
}

static int take_fields(Scanner *s, Bytes body)
{
    Event e = {.body = body};
    const uint8_t *end = body.at + body.size, *from = body.at, *next;
    uint64_t what = 0; /* it holds; of several the last counts, which begins at `from` */
    Field f;
    for (const uint8_t *at = body.at; at < end; at = next) {
        next = field(at, end, &f);
        if (!next)
            return MALFORMED;
        switch (f.key) {
        case WALL:
            e.wall = load_double(f.at);
            break;
        case STEP:
            e.step = f.number;
            break;
        case 26:
        case 34:
        case SUMMARY:
        case 50:
        case SESSION:
        case 66:
        case 74:
            if (f.key != what) {
                what = f.key;
                from = at;
            }
        }
    }
    if (what == SUMMARY)
        return take_summary(s, &e, from);
    return what == SESSION ? take_session(s, &e, from) : 0;
}

/* Take one event whole, or nothing of it if it is not a valid message. */
static int take_event(Scanner *s, Bytes body)
{
    bool taken;
    if (take_known(s, body, &taken))
        return FAILED;
    if (taken)
        return 0;
    size_t count = s->count, odd = s->odd.size, ends = s->ends.size, blob = s->blob.size;
    s->before = count;
    int failed = take_fields(s, body);
    if (failed == MALFORMED) {
        s->ignored++;
        s->count = count;
        s->odd.size = odd;
        s->ends.size = ends;
        s->blob.size = blob;
    }
    return failed == FAILED ? FAILED : 0;
}

/* ------------------------------------------------------------------------ large records */

/* The bytes of a record that are at hand. */
typedef struct {
    const uint8_t *data;
    uint64_t at;
    size_t size;
    uint8_t own[WINDOW];
} Window;

/* Copy bytes of the record at Scanner.offset, reading those that are not at hand. */
static int peek(Scanner *s, Window *w, uint64_t at, uint8_t *to, size_t size)
{
    while (size) {
        if (at < w->at || at - w->at >= w->size) {
            ssize_t got = read_at(s, w->own, WINDOW, s->offset + HEADER + at);
            if (got <= 0)
                return got ? FAILED : MALFORMED;
            w->data = w->own;
            w->at = at;
            w->size = (size_t)got;
        }
        size_t skip = (size_t)(at - w->at), part = w->size - skip < size ? w->size - skip : size;
        memcpy(to, w->data + skip, part);
        to += part;
        at += part;
        size -= part;
    }
    return 0;
}

/* Read the head of the field at `at`; set where its bytes begin and where it ends. */
static int peek_field(Scanner *s, Window *w, uint64_t at, uint64_t end, Field *f,
                      uint64_t *begin, uint64_t *next)
{
    uint8_t head[MOST_HEAD];
    size_t size = end - at < MOST_HEAD ? (size_t)(end - at) : MOST_HEAD;
    int failed = peek(s, w, at, head, size);
    if (failed)
        return failed;
    const uint8_t *content = field_head(head, head + size, f);
    if (!content)
        return MALFORMED;
    *begin = at + (uint64_t)(content - head);
    bool has_bytes = f->key & 7;
    if (has_bytes && f->number > end - *begin)
        return MALFORMED;
    *next = *begin + (has_bytes ? f->number : 0);
    return 0;
}

/* Say in *known whether the plugin of a tag is known. */
static int peek_tag(Scanner *s, Window *w, uint64_t at, size_t size, bool *known)
{
    size = size < LONGEST_TAG ? size : LONGEST_TAG;
    s->tensor.size = 0;
    if (!reserve(&s->tensor, size + 1))
        return no_memory(s);
    int failed = peek(s, w, at, s->tensor.at, size);
    Bytes text = {s->tensor.at, size};
    *known = false;
    if (failed || spell(s, &text))
        return failed ? failed : FAILED;
    if (size && s->slot_count) {
        int32_t found = *slot_of(s, text, hash_of(text));
        *known = found && s->names[found - 1].has_plugin;
    }
    return 0;
}

/* Say in *does whether a value may hold a scalar or new metadata. */
static int value_matters(Scanner *s, Window *w, uint64_t at, uint64_t end, bool *does)
{
    bool known = false, has_metadata = false;
    uint64_t begin;
    Field f;
    while (at < end) {
        int failed = peek_field(s, w, at, end, &f, &begin, &at);
        if (failed)
            return failed;
        if (f.key == SIMPLE || (f.key == TENSOR && f.number <= MAX_TENSOR)) {
            *does = true;
            return 0;
        }
        failed = f.key == TAG ? peek_tag(s, w, begin, (size_t)f.number, &known) : 0;
        if (failed)
            return failed;
        has_metadata = has_metadata || f.key == METADATA;
    }
    *does = has_metadata && !known;
    return 0;
}

static int event_matters(Scanner *s, Window *w, uint64_t size, bool *does)
{
    uint64_t at = 0, begin, inner_at, inner_begin;
    Field f, inner;
    *does = false;
    while (at < size && !*does) {
        int failed = peek_field(s, w, at, size, &f, &begin, &at);
        if (failed)
            return failed;
        *does = f.key == SESSION;
        for (inner_at = begin; f.key == SUMMARY && inner_at < at && !*does;) {
            failed = peek_field(s, w, inner_at, at, &inner, &inner_begin, &inner_at);
            if (!failed && inner.key == VALUE)
                failed = value_matters(s, w, inner_begin, inner_at, does);
            if (failed)
                return failed;
        }
    }
    return 0;
}

/* Say whether the large record at the offset may hold a scalar, new metadata or a SessionLog, or
   is malformed. */
static int matters(Scanner *s, uint64_t size, bool *does)
{
    Window w;
    w.data = s->data + s->at + HEADER;
    w.at = 0;
    w.size = s->have - s->at - HEADER;
    int failed = event_matters(s, &w, size, does);
    *does = *does || failed == MALFORMED;
    return failed == FAILED ? FAILED : 0;
}

/* ------------------------------------------------------------------------ records */

static int read_block(Scanner *s, size_t need)
{
    size_t have = s->have - s->at;
    size_t ask = need > s->want ? need : s->want;
    uint64_t left = s->size - s->offset;
    if (ask > left || (s->want >= FIRST_BLOCK && left - ask <= FIRST_BLOCK))
        ask = (size_t)left; /* a short rest comes along */
    if (s->room < ask) {
        uint8_t *data = malloc(ask);
        if (!data)
            return no_memory(s);
        if (have)
            memcpy(data, s->data + s->at, have);
        free(s->data);
        s->data = data;
        s->room = ask;
    } else if (have && s->at) {
        memmove(s->data, s->data + s->at, have);
    }
    s->at = 0;
    s->have = have;
    ssize_t got = read_at(s, s->data + have, ask - have, s->offset + have);
    if (got < 0)
        return FAILED;
    s->have += (size_t)got;
    s->want = s->want < BLOCK ? s->want * 2 : s->want;
    return 0;
}

/* Have so many bytes from the offset on in the block, or all there are. */
static inline int fill(Scanner *s, size_t need)
{
    return s->have - s->at >= need ? 0 : read_block(s, need);
}

/* Go on to the record behind this one, whether it is at hand or not. */
static inline void advance(Scanner *s, uint64_t length)
{
    s->offset += length;
    if (length <= s->have - s->at)
        s->at += (size_t)length;
    else
        s->at = s->have = 0;
}

static int ends_with(Scanner *s, int stop)
{
    s->stop = stop;
    return 0;
}

static int unsound_header(Scanner *s)
{
    uint64_t at = s->offset;
    s->stop = STOP_ZEROS;
    s->at = s->have = 0;
    while (at < s->size && s->stop == STOP_ZEROS) {
        size_t ask = s->size - at < s->room ? (size_t)(s->size - at) : s->room;
        ssize_t got = read_at(s, s->data, ask, at);
        if (got < 0)
            return FAILED;
        for (ssize_t i = 0; i < got; i++)
            if (s->data[i]) {
                s->stop = STOP_BAD_HEADER;
                break;
            }
        if (got == 0)
            break;
        at += (uint64_t)got;
    }
    return 0;
}

/* Take the records from the offset on, up to the one that cannot be taken. */
static int take_records(Scanner *s)
{
    while (s->offset < s->size) {
        uint64_t left = s->size - s->offset;
        if (left < HEADER)
            return ends_with(s, STOP_TAIL);
        if (fill(s, HEADER))
            return FAILED;
        if (s->have - s->at < HEADER)
            return ends_with(s, STOP_TAIL);
        uint64_t length = load64(s->data + s->at);
        if (!is_sound(s->data + s->at, length))
            return unsound_header(s);
        if (length > MAX_RECORD)
            return ends_with(s, STOP_TOO_LONG);
        if (length + FRAME > left)
            return ends_with(s, STOP_TAIL);
        bool large = length > WHOLE, taken = true;
        if (large) {
            if (matters(s, length, &taken))
                return FAILED;
            s->unchecked = taken ? -1 : (int64_t)s->offset;
            s->want = AFTER_LARGE;
        }
        if (taken) {
            if (fill(s, (size_t)length + FRAME))
                return FAILED;
            if (s->have - s->at < length + FRAME)
                return ends_with(s, STOP_TAIL);
            Bytes body = {s->data + s->at + HEADER, (size_t)length};
            if (masked(body.at, body.size) != load32(body.at + body.size))
                return ends_with(s, STOP_BAD_BODY);
            if (take_event(s, body))
                return FAILED;
            s->unchecked = -1;
        }
        advance(s, length + FRAME);
    }
    return ends_with(s, STOP_END);
}

/* ------------------------------------------------------------------------ results */

/* One block is kept from scan to scan; who holds the GIL may take it. */
static uint8_t *spare;
static size_t spare_room;

static void take_spare(Scanner *s)
{
    s->data = spare;
    s->room = spare_room;
    spare = NULL;
    spare_room = 0;
}

static void leave_spare(Scanner *s)
{
    if (s->room <= spare_room || s->room > 2 * BLOCK)
        return;
    free(spare);
    spare = s->data;
    spare_room = s->room;
    s->data = NULL;
}

/* A column's memory, handed over as a buffer. */
typedef struct {
    PyObject_HEAD
    void *data;
    Py_ssize_t size;
} Column;

static int column_buffer(PyObject *self, Py_buffer *view, int flags)
{
    Column *column = (Column *)self;
    return PyBuffer_FillInfo(view, self, column->data, column->size, 0, flags);
}

static void column_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    free(((Column *)self)->data);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyType_Slot column_slots[] = {
    {Py_bf_getbuffer, column_buffer},
    {Py_tp_dealloc, column_dealloc},
    {0, NULL},
};

static PyType_Spec column_spec = {
    .name = "watcher.source._scan.Column",
    .basicsize = sizeof(Column),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = column_slots,
};

/* Hand over the memory at *data, cut to what is used, as a memoryview. */
static PyObject *column_of(PyObject *module, void **data, size_t size)
{
    PyTypeObject *type = *(PyTypeObject **)PyModule_GetState(module);
    Column *column = PyObject_New(Column, type);
    if (!column)
        return NULL;
    void *cut = realloc(*data, size ? size : 1);
    column->data = cut ? cut : *data;
    column->size = (Py_ssize_t)size;
    *data = NULL;
    PyObject *view = PyMemoryView_FromObject((PyObject *)column);
    Py_DECREF(column);
    return view;
}

static PyObject *string_of(const Scanner *s, Span span)
{
    const char *text = span.size ? (const char *)s->text.at + span.at : "";
    PyObject *string = PyUnicode_DecodeUTF8(text, (Py_ssize_t)span.size, NULL);
    if (string)
        PyUnicode_InternInPlace(&string);
    return string;
}

static PyObject *bytes_from(const Scanner *s, Span span)
{
    const char *data = span.size ? (const char *)s->blob.at + span.at : "";
    return PyBytes_FromStringAndSize(data, (Py_ssize_t)span.size);
}

static PyObject *tags_of(const Scanner *s)
{
    PyObject *tags = PyTuple_New(s->count ? s->tag_count : 0);
    for (int32_t id = 0; tags && s->count && id < s->name_count; id++) {
        if (s->names[id].tag < 0)
            continue;
        PyObject *tag = string_of(s, s->names[id].text);
        if (!tag || PyTuple_SetItem(tags, s->names[id].tag, tag)) {
            Py_DECREF(tags);
            return NULL;
        }
    }
    return tags;
}

typedef PyObject *(*Make)(const Scanner *, const void *);

static PyObject *make_odd(const Scanner *s, const void *item)
{
    const Odd *odd = item;
    return Py_BuildValue("(nN)", (Py_ssize_t)odd->row, bytes_from(s, odd->raw));
}

static PyObject *make_session(const Scanner *s, const void *item)
{
    const Session *session = item;
    (void)s;
    return Py_BuildValue("(nKL)", (Py_ssize_t)session->points_before,
                         (unsigned long long)session->status, (long long)session->step);
}

static PyObject *list_of(const Scanner *s, const Buffer *items, size_t width, Make make)
{
    size_t count = items->size / width;
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list && i < count; i++) {
        PyObject *item = make(s, items->at + i * width);
        if (!item || PyList_SetItem(list, (Py_ssize_t)i, item)) {
            Py_DECREF(list);
            return NULL;
        }
    }
    return list;
}

static int read_plugins(Scanner *s, PyObject *plugins)
{
    PyObject *tag, *plugin;
    for (Py_ssize_t at = 0; PyDict_Next(plugins, &at, &tag, &plugin);) {
        Py_ssize_t tag_size, size;
        const char *tag_text = PyUnicode_AsUTF8AndSize(tag, &tag_size);
        const char *text = tag_text ? PyUnicode_AsUTF8AndSize(plugin, &size) : NULL;
        if (!text)
            return RAISED;
        int32_t id = name_of(s, (Bytes){(const uint8_t *)tag_text, (size_t)tag_size});
        Bytes bytes = {(const uint8_t *)text, (size_t)size};
        if (id < 0 || keep(s, &s->text, bytes, &s->names[id].plugin))
            return NO_MEMORY;
        s->names[id].has_plugin = true;
    }
    return 0;
}

static int write_plugins(const Scanner *s, PyObject *plugins)
{
    for (size_t i = 0; i < s->learned.size; i += sizeof(int32_t)) {
        int32_t id;
        memcpy(&id, s->learned.at + i, sizeof id);
        PyObject *tag = string_of(s, s->names[id].text);
        PyObject *plugin = string_of(s, s->names[id].plugin);
        int failed = !tag || !plugin || PyDict_SetItem(plugins, tag, plugin);
        Py_XDECREF(tag);
        Py_XDECREF(plugin);
        if (failed)
            return -1;
    }
    return 0;
}

static PyObject *results(PyObject *module, Scanner *s)
{
    size_t n = s->count;
    return Py_BuildValue(
        "(NNNNNKiLNNNK)", tags_of(s), column_of(module, &s->tag, n * 4),
        column_of(module, &s->step, n * 8), column_of(module, &s->wall, n * 8),
        column_of(module, &s->value, n * 8), (unsigned long long)s->offset, s->stop,
        (long long)s->unchecked,
        list_of(s, &s->odd, sizeof(Odd), make_odd),
        list_of(s, &s->sessions, sizeof(Session), make_session),
        list_of(s, &s->ends, sizeof(Odd), make_odd), (unsigned long long)s->ignored);
}

static void release(Scanner *s)
{
    void *held[] = {s->data,       s->names,       s->slots,   s->text.at,     s->learned.at,
                    s->spelled.at, s->tensor.at,   s->metadata.at, s->tag,     s->step,
                    s->wall,       s->value,       s->odd.at,  s->sessions.at, s->ends.at,
                    s->blob.at};
    for (size_t i = 0; i < sizeof held / sizeof *held; i++)
        free(held[i]);
}

static PyObject *raise_error(int error)
{
    if (error == NO_MEMORY)
        return PyErr_NoMemory();
    if (error == RAISED)
        return NULL;
    errno = error;
    return PyErr_SetFromErrno(PyExc_OSError);
}

PyDoc_STRVAR(scan_doc,
             "scan(fd, offset, size, plugins)\n--\n\n"
             "Read records as _scan_py.scan does; return what its Scan holds as a tuple:\n"
             "tags, four memoryviews (tag int32, step int64, wall_time and value float64),\n"
             "offset, stop (in the order of Stop), unchecked, odd, sessions, ends, ignored.");

static PyObject *scan(PyObject *module, PyObject *args)
{
    Scanner s = {.unchecked = -1, .last = -1, .guess = -1, .want = FIRST_BLOCK};
    long long offset, size;
    PyObject *plugins;
    if (!PyArg_ParseTuple(args, "iLLO!:scan", &s.fd, &offset, &size, &PyDict_Type, &plugins))
        return NULL;
    if (offset < 0 || size < 0) {
        PyErr_SetString(PyExc_ValueError, "offset and size must not be negative");
        return NULL;
    }
    s.begin = s.offset = (uint64_t)offset;
    s.size = (uint64_t)size;
    s.error = read_plugins(&s, plugins);
    if (!s.error) {
        take_spare(&s);
        s.thread = PyEval_SaveThread();
        take_records(&s);
        PyEval_RestoreThread(s.thread);
    }
    PyObject *found = NULL;
    if (!s.error && !write_plugins(&s, plugins))
        found = results(module, &s);
    else if (s.error) {
        if (s.error != RAISED)
            write_plugins(&s, plugins);
        raise_error(s.error);
    }
    leave_spare(&s);
    release(&s);
    return found;
}

/* ------------------------------------------------------------------------ several files */

/* A file to glimpse: where it is and how far it was read, then what was seen. */
typedef struct {
    const char *path;
    PyObject *plugins;
    long long offset;
    uint32_t crc; /* as stored with the last record before the offset */
    bool plain;   /* whether there is nothing out of the ordinary about it */
    struct stat info;
    Scanner scanner;
} File;

/* Find the checksum stored before `end`: in the block, if that is where the scan stands. */
static bool read_checksum(Scanner *s, uint64_t end, uint32_t *crc)
{
    uint8_t stored[4];
    if (end == s->offset && s->at >= 4)
        memcpy(stored, s->data + s->at - 4, 4);
    else if (end < 4 || read_at(s, stored, 4, end - 4) != 4)
        return false;
    *crc = load32(stored);
    return true;
}

/* Open, ask, read (so many bytes at most) and close one file; without the GIL. */
static void glimpse(File *f, uint64_t most)
{
    Scanner *s = &f->scanner;
    uint32_t crc;
    s->fd = open(f->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (s->fd < 0)
        return;
    if (fstat(s->fd, &f->info) == 0 && S_ISREG(f->info.st_mode)) {
        s->size = (uint64_t)f->info.st_size;
        f->plain = s->size >= s->begin && s->size - s->begin <= most &&
                   (!s->begin || (read_checksum(s, s->begin, &crc) && crc == f->crc)) &&
                   !take_records(s) && (s->stop == STOP_END || s->stop == STOP_ZEROS) &&
                   (s->offset == s->begin || read_checksum(s, s->offset, &f->crc));
    }
    close(s->fd);
}

static PyObject *seen_of(PyObject *module, File *f)
{
    if (!f->plain)
        Py_RETURN_NONE;
    long long mtime = (long long)f->info.st_mtim.tv_sec * 1000000000 + f->info.st_mtim.tv_nsec;
    return Py_BuildValue("(LLKKIN)", (long long)f->info.st_size, mtime,
                         (unsigned long long)f->info.st_ino, (unsigned long long)f->info.st_dev,
                         (unsigned)f->crc, results(module, &f->scanner));
}

PyDoc_STRVAR(glimpses_doc,
             "glimpses(files)\n--\n\n"
             "Open, scan and close several files without holding the GIL. A file is a tuple of\n"
             "path (bytes), offset, the checksum stored before it, and plugins (a dict of its own).\n"
             "Return for each a tuple (size, mtime_ns, inode, device, the checksum stored before\n"
             "the new offset, what scan returns), or None if anything about it is out of the\n"
             "ordinary: it cannot be read, is no regular file or not the one it was, is damaged,\n"
             "or there was too much in those before it.");

static bool read_files(PyObject *tuple, File *files, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        File *f = &files[i];
        PyObject *item = PyTuple_GetItem(tuple, (Py_ssize_t)i);
        if (!item || !PyArg_ParseTuple(item, "yLIO!:glimpses", &f->path, &f->offset, &f->crc,
                                       &PyDict_Type, &f->plugins))
            return false;
        if (f->offset < 0) {
            PyErr_SetString(PyExc_ValueError, "an offset must not be negative");
            return false;
        }
        f->scanner = (Scanner){.unchecked = -1, .last = -1, .guess = -1, .want = FIRST_BLOCK};
        f->scanner.begin = f->scanner.offset = (uint64_t)f->offset;
        f->scanner.error = read_plugins(&f->scanner, f->plugins);
        if (f->scanner.error == RAISED)
            return false;
    }
    return true;
}

/* Glimpse one file after the other, each in the block of the one before. */
static void glimpse_all(File *files, size_t count)
{
    uint64_t most = GLIMPSE;
    take_spare(&files[0].scanner);
    PyThreadState *thread = PyEval_SaveThread();
    for (size_t i = 0; i < count; i++) {
        Scanner *s = &files[i].scanner;
        s->thread = thread;
        if (!s->error && most)
            glimpse(&files[i], most);
        most -= files[i].plain ? s->size - s->begin : 0;
        thread = s->thread;
        if (s->error == RAISED)
            break;
        if (i + 1 < count) {
            files[i + 1].scanner.data = s->data;
            files[i + 1].scanner.room = s->room;
            s->data = NULL;
            s->room = 0;
        }
    }
    PyEval_RestoreThread(thread);
    leave_spare(&files[count - 1].scanner);
}

static PyObject *glimpses(PyObject *module, PyObject *given)
{
    PyObject *tuple = PySequence_Tuple(given); /* so that nobody takes a path away meanwhile */
    if (!tuple)
        return NULL;
    size_t count = (size_t)PyTuple_Size(tuple);
    File *files = calloc(count ? count : 1, sizeof *files);
    PyObject *found = NULL;
    if (!files) {
        PyErr_NoMemory();
    } else if (read_files(tuple, files, count)) {
        if (count)
            glimpse_all(files, count);
        found = PyList_New((Py_ssize_t)count);
        for (size_t i = 0; found && i < count; i++) {
            bool raised = files[i].scanner.error == RAISED ||
                          (files[i].plain && write_plugins(&files[i].scanner, files[i].plugins));
            PyObject *seen = raised ? NULL : seen_of(module, &files[i]);
            if (!seen || PyList_SetItem(found, (Py_ssize_t)i, seen)) {
                Py_DECREF(found);
                found = NULL;
            }
        }
    }
    for (size_t i = 0; files && i < count; i++)
        release(&files[i].scanner);
    free(files);
    Py_DECREF(tuple);
    return found;
}

/* ------------------------------------------------------------------------ grouping */

/* Put points where their tags' ranks belong, in the order of recording within each tag; `next` holds
   where each rank's next point goes. */
static void scatter(const Py_buffer *from, void **to, size_t *next)
{
    const int32_t *tag = from[0].buf, *rank = from[4].buf;
    const uint64_t *step = from[1].buf, *wall = from[2].buf, *value = from[3].buf;
    size_t count = (size_t)from[0].len / 4;
    for (size_t i = 0; i < count; i++) {
        size_t place = next[rank[tag[i]]]++;
        ((uint64_t *)to[0])[place] = step[i];
        ((uint64_t *)to[1])[place] = wall[i];
        ((uint64_t *)to[2])[place] = value[i];
    }
}

/* Count the points of each rank into next[rank + 1]; say whether all tags and ranks exist. */
static bool count_ranks(const Py_buffer *from, size_t *next)
{
    const int32_t *tag = from[0].buf, *rank = from[4].buf;
    size_t count = (size_t)from[0].len / 4, tags = (size_t)from[4].len / 4;
    for (size_t i = 0; i < tags; i++)
        if (rank[i] < 0 || (size_t)rank[i] >= tags)
            return false;
    for (size_t i = 0; i < count; i++) {
        if (tag[i] < 0 || (size_t)tag[i] >= tags)
            return false;
        next[rank[tag[i]] + 1]++;
    }
    return true;
}

static PyObject *grouped_columns(PyObject *module, const Py_buffer *from)
{
    size_t count = (size_t)from[0].len / 4, tags = (size_t)from[4].len / 4;
    size_t *next = calloc(tags + 1, sizeof *next);
    void *to[3] = {NULL};
    PyObject *found = NULL, *ends = NULL;
    bool fits = from[0].len % 4 == 0 && from[4].len % 4 == 0;
    for (int i = 1; i < 4; i++)
        fits = fits && (size_t)from[i].len == count * 8;
    if (!next || !grow(&to[0], 0, count * 8 + 1) || !grow(&to[1], 0, count * 8 + 1) ||
        !grow(&to[2], 0, count * 8 + 1)) {
        PyErr_NoMemory();
    } else if (!fits || !count_ranks(from, next)) {
        PyErr_SetString(PyExc_ValueError, "columns of different lengths, or a tag without rank");
    } else {
        for (size_t rank = 0; rank < tags; rank++)
            next[rank + 1] += next[rank];
        scatter(from, to, next); /* with the GIL: nobody may change what was checked */
        ends = PyList_New((Py_ssize_t)tags);
        for (size_t rank = 0; ends && rank < tags; rank++)
            PyList_SetItem(ends, (Py_ssize_t)rank, PyLong_FromSize_t(next[rank]));
        found = Py_BuildValue("(NNNN)", ends, column_of(module, &to[0], count * 8),
                              column_of(module, &to[1], count * 8),
                              column_of(module, &to[2], count * 8));
    }
    free(next);
    for (int i = 0; i < 3; i++)
        free(to[i]);
    return found;
}

PyDoc_STRVAR(grouped_doc,
             "grouped(tag, step, wall_time, value, rank)\n--\n\n"
             "Group points by the rank of their tag. Return where each rank's points end, and\n"
             "memoryviews of step, wall_time and value.");

static PyObject *grouped(PyObject *module, PyObject *args)
{
    Py_buffer from[5];
    if (!PyArg_ParseTuple(args, "y*y*y*y*y*:grouped", &from[0], &from[1], &from[2], &from[3],
                          &from[4]))
        return NULL;
    PyObject *found = grouped_columns(module, from);
    for (int i = 0; i < 5; i++)
        PyBuffer_Release(&from[i]);
    return found;
}

PyDoc_STRVAR(crc32c_doc, "crc32c(data, by_table=False)\n--\n\n"
                         "Return the CRC-32C of bytes, without the processor's help if told so.");

static PyObject *crc32c(PyObject *module, PyObject *args)
{
    const char *data;
    Py_ssize_t size;
    int by_table = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "y#|p:crc32c", &data, &size, &by_table))
        return NULL;
    uint32_t crc = (by_table ? crc_by_table : crc_of)(~(uint32_t)0, (const uint8_t *)data,
                                                      (size_t)size);
    return PyLong_FromUnsignedLong(~crc & 0xFFFFFFFFu);
}

static struct PyModuleDef module_def;

static PyMethodDef methods[] = {
    {"scan", scan, METH_VARARGS, scan_doc},
    {"glimpses", glimpses, METH_O, glimpses_doc},
    {"grouped", grouped, METH_VARARGS, grouped_doc},
    {"crc32c", crc32c, METH_VARARGS, crc32c_doc},
    {NULL, NULL, 0, NULL},
};

static int module_exec(PyObject *module)
{
    PyObject **type = PyModule_GetState(module);
    PyObject *any = PyUnicode_FromString(module_def.m_name);
    seed = any ? (uint64_t)PyObject_Hash(any) : 0;
    Py_XDECREF(any);
    *type = any ? PyType_FromSpec(&column_spec) : NULL;
    if (!*type)
        return -1;
    prepare_checksums();
    const char *checksum = crc_of == crc_by_table ? "table" : HARDWARE;
    return PyModule_AddStringConstant(module, "CHECKSUM", checksum);
}

static void module_free(void *module)
{
    PyObject **type = PyModule_GetState(module);
    if (type)
        Py_CLEAR(*type);
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};

static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_scan",
    .m_size = sizeof(PyObject *),
    .m_methods = methods,
    .m_slots = module_slots,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__scan(void)
{
    return PyModuleDef_Init(&module_def);
}
