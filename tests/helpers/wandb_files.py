"""What an offline W&B run wrote, read back."""

import struct
from pathlib import Path

import pytest

wandb_internal_pb2 = pytest.importorskip("wandb.proto.wandb_internal_pb2")

HEADER, BLOCK = 7, 32768


def read_run(path: Path) -> list[wandb_internal_pb2.Record]:
    """Read a .wandb file: LevelDB's log format (blocks of 32 KiB, chunks with crc, length and type) after 7 bytes."""
    content, at, parts, records = path.read_bytes(), HEADER, b"", []
    while at + 7 <= len(content):
        if BLOCK - at % BLOCK < 7:  # the rest of a block that no chunk header fits in
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or last chunk
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            records.append(record)
    return records
