"""What do the rare records say? Odd tensor encodings and HParams, by tensorboard's own messages.

The scanner hands back what is not plain float32 or float64. This is the one door to tensorboard;
it is imported when the first such record is met, for it takes longer than most reads.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

# DataType -> how the bytes of tensor_content are read, and the typed field.
_ENCODINGS: dict[int, tuple[str, str]] = {
    1: ("<f4", "float_val"),
    2: ("<f8", "double_val"),
    3: ("<i4", "int_val"),
    4: ("u1", "int_val"),
    5: ("<i2", "int_val"),
    6: ("i1", "int_val"),
    9: ("<i8", "int64_val"),
    10: ("?", "bool_val"),
    14: ("<u2", "half_val"),  # bfloat16: the upper half of a float32
    17: ("<u2", "int_val"),
    19: ("<f2", "half_val"),
    22: ("<u4", "uint32_val"),
    23: ("<u8", "uint64_val"),
}
_BFLOAT16, _HALF = 14, 19
_SUCCESS = 1  # hparams' Status


def tensor_number(data: bytes) -> float | None:
    """Return the number that a serialized TensorProto holds, None unless it is exactly one.

    One element counts whatever the shape: (), (1,), (1, 1), unknown rank.
    """
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.tensor_pb2 import TensorProto

    try:
        tensor = TensorProto.FromString(data)
    except DecodeError:
        return None
    if tensor.dtype not in _ENCODINGS or math.prod(d.size for d in tensor.tensor_shape.dim) != 1:
        return None
    dtype, name = _ENCODINGS[tensor.dtype]
    raw = tensor.tensor_content or _typed(tensor.dtype, dtype, getattr(tensor, name))
    if len(raw) != np.dtype(dtype).itemsize:
        return None
    number = np.frombuffer(raw, dtype)
    if tensor.dtype == _BFLOAT16:
        number = (number.astype("<u4") << 16).view("<f4")
    return float(number[0])


def _typed(kind: int, dtype: str, values: Any) -> bytes:
    """Return the bytes of the one value of a typed field; none if there is not one."""
    if len(values) != 1:
        return b""
    bits = "<u2" if kind in (_BFLOAT16, _HALF) else dtype
    return np.array(values[0] & 0xFFFF if bits != dtype else values[0]).astype(bits).tobytes()


def session_end(content: bytes) -> str:
    """Say why a run counts as complete by its HParams session end, "" if that says otherwise."""
    from google.protobuf.message import DecodeError
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    try:
        status = HParamsPluginData.FromString(content).session_end_info.status
    except DecodeError:
        return ""
    return "HParams session ended" if status == _SUCCESS else ""
