"""Makes event files of every kind of record, and breaks them: what two scanners must agree on.

A file comes from one number, so that a difference can be made again.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from tests.source.growing import masked, record

TAGS = [b"a", b"train/loss", b"lr", "é".encode(), b"\xff\xfea", b"a\\xff", b"a\xff", b"n\0l"]
TAGS += [
    b"x" * 140,
    b"",
    b"_hparams_/session_end_info",
    b"\xe2\x82",
    b"\xed\xa0\x80",
    b"\xf0\x9f\x98\x80",
]
PLUGINS = [b"", b"scalars", b"histograms", b"hparams", b"text", b"\xffp"]
SIZES = [0, 1, 2, 3, 4, 5, 8, 9, 127, 128, 2**14, 2**31, 2**32, 2**35, 2**63, 2**64 - 1]
FLOATS = [0.0, -0.0, 1.5, -2.25, float("nan"), float("inf"), 1e-40, 3e38]


def number(n: int, extra: int = 0) -> bytes:
    """Return a varint; ``extra`` bytes longer than it need be."""
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    for _ in range(min(extra, 10 - len(out))):
        out[-1] |= 128
        out.append(0)
    return bytes(out)


def chunk(key: int, data: bytes) -> bytes:
    """Return a field with bytes."""
    return number(key) + number(len(data)) + data


class Maker:
    """Draws files from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.tags = self.random.sample(TAGS, self.random.randint(1, 6))
        self.kinds: list[Callable[[], bytes]] = [
            self.scalar, self.scalar, self.scalar, self.tensor_event, self.several, self.session,
            self.other, self.fields_at_random, self.wrong, self.hparams_end, self.large,
        ]  # fmt: skip

    def file(self) -> bytes:
        """Return a file of up to thirty records, or of some hundreds, sound or broken."""
        pick = self.random
        count = pick.choice([0, 1, 3, 10, 30]) if pick.random() < 0.97 else 400
        kinds = pick.sample(self.kinds, pick.randint(1, 4))
        if count > 100 and self.large in kinds:
            count = 10
        bodies = [pick.choice(kinds)() for _ in range(count)]
        bodies *= pick.choice([1, 1, 2])
        if pick.random() < 0.5:
            bodies = [self.mutated(b) if pick.random() < 0.2 else b for b in bodies]
        data = b"".join(map(record, bodies))
        if pick.random() < 0.15:
            data += self.absurd()
        if pick.random() < 0.1:
            data += bytes(pick.choice([1, 11, 12, 16, 300, 70_000]))
        if pick.random() < 0.4:
            data = self.mutated(data)
        return data

    def plugins(self) -> dict[str, str]:
        """Return what may be known beforehand."""
        pick = self.random
        known = pick.sample(self.tags, pick.randint(0, len(self.tags)))
        return {
            tag.decode("utf-8", "backslashreplace"): pick.choice(
                ["scalars", "text", "hparams", ""]
            )
            for tag in known
        }

    def cuts(self, size: int) -> list[int]:
        """Return sizes at which a growing file is looked at."""
        pick = self.random
        return sorted(pick.randint(0, size) for _ in range(pick.choice([0, 0, 1, 4])))

    # ------------------------------------------------------------------------ breaking

    def mutated(self, data: bytes) -> bytes:
        """Return the bytes changed, cut, repeated or with others put in."""
        pick, out = self.random, bytearray(data)
        if not out:
            return pick.randbytes(pick.randint(0, 20))
        at = pick.randrange(len(out))
        to = min(len(out), at + pick.choice([1, 1, 2, 8, 40]))
        how = pick.randrange(6)
        if how == 0:
            out[at] ^= 1 << pick.randrange(8)
        elif how == 1:
            out[at] = pick.choice([0, 1, 9, 10, 16, 21, 42, 66, 74, 127, 128, 255])
        elif how == 2:
            del out[at:to]
        elif how == 3:
            out[at:at] = out[at:to]
        elif how == 4:
            del out[at:]
        else:
            out[at:at] = pick.randbytes(pick.randint(1, 12))
        return bytes(out)

    def absurd(self) -> bytes:
        """Return a record whose length is sound and past all reason, or nearly in reach."""
        pick = self.random
        sizes = [*SIZES, (64 << 20) - 1, 64 << 20, (64 << 20) + 1, 2**64 - 16, 2**64 - 17]
        length = struct.pack("<Q", pick.choice([*sizes, 32 << 10, (32 << 10) + 1]))
        return length + masked(length) + pick.randbytes(pick.choice([0, 3, 4, 30, 40_000]))

    # ------------------------------------------------------------------------ records

    def head(self) -> bytes:
        """Return wall time and step, mostly in the usual order."""
        pick = self.random
        wall = b"\x09" + struct.pack("<d", pick.choice([0.0, 1.7e9, float("nan"), pick.random()]))
        steps = [0, 1, pick.randrange(300), pick.randrange(2**20), 2**35, 2**63, 2**64 - 1]
        step = b"\x10" + number(pick.choice(steps), pick.choice([0, 0, 0, 1, 9]))
        forms = [wall + step, wall + step, wall + step, wall, step, b"", step + wall, wall * 2]
        return pick.choice(forms)

    def float(self) -> bytes:
        """Return a float32, now and then a signalling NaN."""
        if self.random.random() < 0.02:
            return b"\x01\x00\x80\x7f"
        return struct.pack("<f", self.random.choice(FLOATS))

    def tag(self) -> bytes:
        """Return a tag field, or a node name in its place."""
        key = 58 if self.random.random() < 0.05 else 10
        return chunk(key, self.random.choice(self.tags))

    def metadata(self) -> bytes:
        """Return a metadata field, in one or two pieces; often none."""
        pick = self.random
        if pick.random() < 0.6:
            return b""
        data = chunk(10, pick.choice(PLUGINS))
        if pick.random() < 0.3:
            data += chunk(18, pick.choice([b"", b"content", b"\x1a\x02\x08\x01"]))
        data = chunk(10, data)
        if pick.random() < 0.2:
            cut = pick.randint(0, len(data))
            return chunk(74, data[:cut]) + chunk(74, data[cut:])
        return chunk(74, data)

    def scalar(self) -> bytes:
        """Return an event of one simple_value."""
        value = self.tag() + b"\x15" + self.float()
        if self.random.random() < 0.1:
            value += self.metadata()
        return self.head() + chunk(42, chunk(10, value))

    def tensor(self) -> bytes:
        """Return a TensorProto: plain, or of any type and field, or of several elements."""
        pick = self.random
        dtype = pick.choice([1, 1, 1, 1, 2, 3, 7, 9, 14, 19, 0, 2**63, pick.randrange(30)])
        sizes = pick.choice([[], [1], [1], [1, 1], [0], [2], [1, 3]])
        shape = b"".join(chunk(18, b"\x08" + number(n) if n else b"") for n in sizes)
        content = [
            b"\x2a\x04" + self.float(),
            b"\x22\x04" + self.float(),
            b"\x2d" + self.float(),
            b"\x22\x08" + struct.pack("<d", 2.5),
            b"\x31" + struct.pack("<d", 2.5),
            b"\x32\x08" + struct.pack("<d", 2.5),
            b"\x38\x07",
            b"\x42\x01x",
            b"",
        ]
        parts = [b"\x08" + number(dtype), chunk(18, shape), pick.choice(content)]
        if pick.random() < 0.1:
            parts.append(pick.choice([b"\x18\x01", content[0], b"\x50\x01", chunk(18, shape)]))
        if pick.random() < 0.1:
            pick.shuffle(parts)
        if pick.random() < 0.01:
            parts.append(chunk(66, bytes(5000)))
        return b"".join(parts)

    def tensor_event(self) -> bytes:
        """Return an event of one tensor, now and then in two pieces."""
        pick, tensor = self.random, self.tensor()
        field = chunk(66, tensor)
        if pick.random() < 0.1:
            cut = pick.randint(0, len(tensor))
            field = chunk(66, tensor[:cut]) + chunk(66, tensor[cut:])
        parts = [self.tag(), field, self.metadata()]
        if pick.random() < 0.2:
            pick.shuffle(parts)
        return self.head() + chunk(42, chunk(10, b"".join(parts)))

    def several(self) -> bytes:
        """Return an event of several values, in one summary or two, perhaps not the last word."""
        pick = self.random
        values = [
            chunk(10, self.tag() + b"".join(self.value() for _ in range(pick.choice([1, 1, 2]))))
            for _ in range(pick.randint(0, 4))
        ]
        cut = pick.randint(0, len(values))
        out = self.head() + chunk(42, b"".join(values[:cut]))
        if pick.random() < 0.5:
            out += pick.choice([b"", b"", chunk(26, b"x"), chunk(58, b"\x08\x01")])
            out += chunk(42, b"".join(values[cut:]))
        return out + (self.head() if pick.random() < 0.1 else b"")

    def value(self) -> bytes:
        """Return the fields of some value."""
        pick = self.random
        kinds = [
            b"\x15" + self.float(),
            chunk(66, self.tensor()),
            chunk(34, b"image"),
            chunk(42, b"histogram"),
            self.metadata(),
            b"",
        ]
        return pick.choice(kinds) + pick.choice([b"", self.metadata()])

    def session(self) -> bytes:
        """Return a SessionLog."""
        pick = self.random
        log = b"\x08" + number(pick.choice([0, 1, 2, 3, 2**64 - 1]))
        return self.head() + chunk(58, pick.choice([log, log, b"", log * 2, b"\x12\x01x"]))

    def other(self) -> bytes:
        """Return an event without scalars."""
        key = self.random.choice([26, 34, 50, 66, 74, 82, 90])
        return self.head() + chunk(key, self.random.randbytes(self.random.randrange(30)))

    def fields_at_random(self, depth: int = 0) -> bytes:
        """Return fields that mean something somewhere, nested as they come."""
        pick, out = self.random, b""
        for _ in range(pick.randint(0, 4)):
            key = pick.choice([8, 9, 10, 16, 18, 21, 24, 26, 34, 42, 45, 49, 50, 58, 66, 74])
            kind = key & 7
            if kind == 0:
                out += number(key) + number(pick.choice(SIZES), pick.choice([0, 0, 3]))
            elif kind == 2:
                inner = self.fields_at_random(depth + 1) if depth < 5 else pick.choice(self.tags)
                out += chunk(key, inner)
            else:
                out += number(key, pick.choice([0, 0, 0, 2])) + pick.randbytes(
                    8 if kind == 1 else 4
                )
        return out

    def wrong(self) -> bytes:
        """Return what is not a message."""
        pick = self.random
        key = pick.choice([0, 7, 11, 12, 3, 2**32 + 2, 2**35 + 10, 42])
        tail = number(key) + number(pick.choice(SIZES)) + pick.randbytes(pick.randrange(6))
        return pick.choice([self.scalar, self.several, bytes])() + tail

    def hparams_end(self) -> bytes:
        """Return an HParams session end, in more than one way of writing."""
        pick = self.random
        content = pick.choice([b"", b"\x1a\x02\x08\x01", b"\x1a\x02\x08\x02"])
        meta = chunk(74, chunk(10, chunk(10, b"hparams") + chunk(18, content)))
        number = pick.choice([b"\x15" + self.float(), chunk(66, self.tensor()), b""])
        return self.head() + chunk(42, chunk(10, chunk(10, TAGS[10]) + number + meta))

    def large(self) -> bytes:
        """Return a record longer than is read whole as a rule, or nearly so."""
        pick = self.random
        size = pick.choice([32_600, 32_767, 32_768, 33_000, 70_000])
        payload = chunk(pick.choice([34, 42, 66]), bytes(size))
        parts = [self.tag(), payload, self.metadata(), b""]
        if pick.random() < 0.2:
            parts[3] = self.value()
        if pick.random() < 0.3:
            pick.shuffle(parts)
        values = chunk(10, b"".join(parts)) + (self.wrong() if pick.random() < 0.1 else b"")
        where = pick.choice([42, 42, 42, 26, 58])
        return self.head() + chunk(where, values)
