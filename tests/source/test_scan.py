"""Framing, checksums and columns."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.tensorflow_stub import dtypes

from tests.source.growing import masked, record, scalar, session, tensor
from watcher.source import events
from watcher.source.framing import Scan, Stop
from watcher.source.scan import scan


def scanned(path: Path, data: bytes, plugins: dict[str, str] | None = None) -> Scan:
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    try:
        return scan(fd, 0, len(data), {} if plugins is None else plugins)
    finally:
        os.close(fd)


def points(found: Scan) -> list[tuple[str, int, float, float]]:
    """Return the points as rows, odd tensors decoded."""
    p = found.points
    odd = {i: events.tensor_number(raw) for i, raw in found.odd}
    rows = []
    for i in range(len(p)):
        value = odd.get(i, float(p.value[i]))
        if value is not None:
            rows.append((p.tags[p.tag[i]], int(p.step[i]), float(p.wall_time[i]), value))
    return rows


def event(*values: Summary.Value, step: int = 1) -> bytes:
    return record(Event(step=step, summary=Summary(value=values)).SerializeToString())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.out.tfevents.1"


def test_points_come_in_order_of_recording_whatever_the_form(path: Path) -> None:
    expected, data = [], []
    for step in range(400):
        for tag in ("a", "train/loss"):
            expected.append((tag, step * 1000, float(step), float(step)))
            data.append(scalar(tag, step * 1000, step, wall=step))
        if step % 7 == 0:
            pair = [Summary.Value(tag=t, simple_value=step) for t in ("x", "y")]
            data.append(event(*pair, step=step))
            expected += [("x", step, 0.0, float(step)), ("y", step, 0.0, float(step))]
        data.append(tensor("keras", step, np.float32(step), "scalars", wall=1.0))
        expected.append(("keras", step, 1.0, float(step)))
    found = scanned(path, b"".join(data))
    assert points(found) == expected
    assert found.stop is Stop.END
    assert found.offset == path.stat().st_size


@pytest.mark.parametrize("step", [0, 1, 127, 128, 2**34, 2**35, 2**62, -1, -(2**63)])
def test_steps_are_int64_and_no_field_means_0(path: Path, step: int) -> None:
    found = scanned(path, scalar("a", step, 2.0) * 60)
    assert {row[1] for row in points(found)} == {step}
    assert len(found.points) == 60


def test_nan_and_infinities_are_values(path: Path) -> None:
    values = [float("nan"), float("inf"), float("-inf"), -0.0]
    found = scanned(path, b"".join(scalar("a", i, v) for i, v in enumerate(values * 30)))
    np.testing.assert_array_equal(found.points.value, np.array(values * 30))


@pytest.mark.parametrize(
    "dtype", ["f2", "f4", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?"]
)
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
@pytest.mark.parametrize("content", [True, False])
def test_r6_every_numeric_type_is_read_from_content_and_from_its_field(
    path: Path, dtype: str, shape: tuple[int, ...], content: bool
) -> None:
    array = np.array(1, dtype).reshape(shape)
    kind = dtypes.as_dtype(array.dtype).as_datatype_enum
    dims = [TensorShapeProto.Dim(size=n) for n in shape]
    proto = TensorProto(dtype=kind, tensor_shape=TensorShapeProto(dim=dims))
    if content:
        proto.tensor_content = array.tobytes()
    else:
        name = {"f2": "half_val", "f4": "float_val", "f8": "double_val", "i8": "int64_val"}
        name |= {"u4": "uint32_val", "u8": "uint64_val", "?": "bool_val"}
        raw = 0x3C00 if dtype == "f2" else array.item()
        getattr(proto, name.get(dtype, "int_val")).append(raw)
    found = scanned(path, tensor("t", 3, proto))
    assert points(found) == [("t", 3, 0.0, 1.0)]


def test_r6_bfloat16_and_unknown_rank(path: Path) -> None:
    field = TensorProto(dtype=14, half_val=[0x3FC0])
    content = TensorProto(dtype=14, tensor_content=b"\xc0\x3f")
    unknown = TensorProto(dtype=1, float_val=[1.5])
    unknown.tensor_shape.unknown_rank = True
    found = scanned(path, b"".join(tensor("t", 1, p) for p in (field, content, unknown)))
    assert [row[3] for row in points(found)] == [1.5, 1.5, 1.5]


@pytest.mark.parametrize(
    "proto",
    [
        TensorProto(dtype=1),
        TensorProto(dtype=1, float_val=[1, 2]),
        TensorProto(dtype=1, double_val=[1]),
        TensorProto(dtype=1, tensor_content=b"12345678"),
        TensorProto(
            dtype=1,
            float_val=[1],
            tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=3)]),
        ),
        TensorProto(dtype=7, string_val=[b"x"]),
    ],
)
def test_r6_no_element_several_or_the_wrong_field_give_nothing(
    path: Path, proto: TensorProto
) -> None:
    assert points(scanned(path, tensor("t", 1, proto, "scalars"))) == []


def test_r6_other_plugins_never_become_scalars_and_metadata_is_remembered(path: Path) -> None:
    one = np.float32(1)
    data = tensor("h", 1, one, "histograms") + tensor("h", 2, one) + tensor("plain", 1, one)
    plugins: dict[str, str] = {}
    assert [row[0] for row in points(scanned(path, data, plugins))] == ["plain"]
    assert plugins == {"h": "histograms"}
    assert points(scanned(path, tensor("h", 3, one), plugins)) == []


def test_an_empty_tag_takes_the_node_name_and_odd_bytes_are_escaped(path: Path) -> None:
    named = Summary.Value(node_name="node", simple_value=1)
    body = b"\x10\x01" + b"\x2a\x0b\x0a\x09\x0a\x02a\xff\x15" + struct.pack("<f", 2)
    found = scanned(path, event(named) + record(body))
    assert [row[0] for row in points(found)] == ["node", "a\\xff"]


def test_a_record_that_is_not_valid_protobuf_gives_no_points_at_all(path: Path) -> None:
    good = Summary(value=[Summary.Value(tag="a", simple_value=1)]).SerializeToString()
    body = b"\x2a" + bytes([len(good)]) + good + b"\x2a\x7f"
    found = scanned(path, record(body) + scalar("b", 1, 1))
    assert [row[0] for row in points(found)] == ["b"]
    assert found.ignored == 1


def test_r5_payloads_are_stepped_over_and_scalars_in_large_records_are_read(path: Path) -> None:
    image = Summary.Value(tag="i")
    image.image.encoded_image_string = b"x" * 200_000
    many = [Summary.Value(tag=f"t{i}", simple_value=i) for i in range(5000)]
    data = scalar("a", 1, 1) + event(*many) + scalar("a", 2, 2) + event(image)
    found = scanned(path, data)
    assert len(found.points) == 5002
    assert found.stop is Stop.END
    assert found.unchecked == len(data) - len(event(image))


def test_r5_a_length_of_2_to_the_62_is_refused_before_any_allocation(path: Path) -> None:
    length = struct.pack("<Q", 2**62)
    found = scanned(path, scalar("a", 1, 1) + length + masked(length) + b"x" * 100)
    assert found.stop is Stop.TOO_LONG
    assert len(found.points) == 1


def test_r3_an_incomplete_tail_and_zeros_leave_the_offset_before_them(path: Path) -> None:
    whole = scalar("a", 1, 1)
    for cut in range(1, len(whole)):
        found = scanned(path, whole + whole[:cut])
        assert (found.offset, found.stop) == (len(whole), Stop.TAIL)
    found = scanned(path, whole + bytes(5000))
    assert (found.offset, found.stop) == (len(whole), Stop.ZEROS)


def test_broken_records_stop_the_scan_with_a_reason(path: Path) -> None:
    whole = scalar("a", 1, 1)
    body, header = bytearray(whole * 100), bytearray(whole * 100)
    body[len(whole) * 60 + 20] ^= 1
    header[len(whole) * 60] ^= 1
    for data, stop in ((body, Stop.BAD_BODY), (header, Stop.BAD_HEADER)):
        found = scanned(path, bytes(data))
        assert (found.offset, found.stop) == (len(whole) * 60, stop)
        assert len(found.points) == 60


def test_sessions_say_how_many_points_came_before(path: Path) -> None:
    data = session(1) + scalar("a", 1, 1) * 100 + session(1, 50) + scalar("a", 2, 1) + session(2)
    assert scanned(path, data).sessions == [(0, 1, 0), (100, 1, 50), (101, 2, 0)]


TAGS = st.sampled_from(["a", "train/loss", "lr", "é", "x" * 140])
VALUES = st.floats(width=32)
RECORDS = st.one_of(
    st.builds(scalar, TAGS, st.integers(-(2**63), 2**63 - 1), VALUES, st.floats()),
    st.builds(scalar, TAGS, st.integers(0, 300), VALUES),
    st.builds(
        lambda t, s, v: tensor(t + "_t", s, np.float32(v), "scalars"),
        TAGS,
        st.integers(0, 10**9),
        VALUES,
    ),
    st.builds(session, st.sampled_from([1, 2, 3]), st.integers(0, 9)),
    st.binary(max_size=60).map(record),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(RECORDS, max_size=30), st.data())
def test_any_chunking_gives_the_same_points_exactly_once(
    tmp_path_factory: pytest.TempPathFactory, records: list[bytes], draw: st.DataObject
) -> None:
    data = b"".join(records * 3)
    path = tmp_path_factory.mktemp("chunks") / "f"
    whole = points(scanned(path, data))
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=8)))
    fd = os.open(path, os.O_RDONLY)
    plugins: dict[str, str] = {}
    offset, rows = 0, []
    for size in [*cuts, len(data)]:
        found = scan(fd, offset, size, plugins) if size > offset else None
        if found is not None:
            rows += points(found)
            offset = found.offset
    os.close(fd)
    assert str(rows) == str(whole)
    assert offset == len(data)


def test_signalling_nans_are_nans_without_a_warning(path: Path) -> None:
    odd = scalar("a", 1, 1.0)
    at = odd.index(struct.pack("<f", 1.0))
    body = odd[12:at] + b"\x01\x00\x80\x7f"
    found = scanned(path, record(body) * 300)
    assert np.isnan(found.points.value).all()
    assert len(found.points) == 300


def test_metadata_in_a_large_record_without_a_tag_is_remembered_for_its_node(path: Path) -> None:
    value = Summary.Value(node_name="n")
    value.metadata.plugin_data.plugin_name = "histograms"
    value.image.encoded_image_string = b"x" * 100_000
    found = scanned(path, event(value) + event(value) + tensor("n", 1, np.float32(1)))
    assert points(found) == []


def test_each_hparams_end_is_told_however_it_is_written(path: Path) -> None:
    value = Summary.Value(tag="_hparams_/session_end_info", simple_value=1)
    value.metadata.plugin_data.plugin_name = "hparams"
    value.metadata.plugin_data.content = b"\x1a\x02\x08\x01"
    body = Event(wall_time=1.0, step=1, summary=Summary(value=[value])).SerializeToString()
    for count in (2, 300):
        found = scanned(path, record(body) * count)
        assert found.ends == [(i, b"\x1a\x02\x08\x01") for i in range(count)]
        assert len(found.points) == count
