CHECKSUM: str

def scan(
    fd: int, offset: int, size: int, plugins: dict[str, str]
) -> tuple[
    tuple[str, ...],
    memoryview,
    memoryview,
    memoryview,
    memoryview,
    int,
    int,
    int,
    list[tuple[int, bytes]],
    list[tuple[int, int, int]],
    list[bytes],
    int,
]: ...
def crc32c(data: bytes, by_table: bool = False) -> int: ...
