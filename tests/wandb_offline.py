"""Reads offline runs of wandb.

A run is a file of records in LevelDB's log format: blocks of 32 KiB with chunks of a checksum, a
length, a type (full, first, middle, last) and part of a protocol buffer.
"""

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

BLOCK = 32768
HEADER = 7


def records(folder: Path) -> Iterator[Record]:
    data = b"".join(path.read_bytes() for path in folder.glob("*.wandb"))
    position, parts = HEADER, b""
    while position + HEADER <= len(data):
        room = BLOCK - position % BLOCK
        if room < HEADER:
            position += room
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + HEADER])
        if position + HEADER + length > len(data):
            return  # still being written
        parts += data[position + HEADER : position + HEADER + length]
        position += HEADER + length
        if kind in (1, 4):
            yield Record.FromString(parts)
            parts = b""


def read_run(folder: Path, seconds: float = 60) -> dict[str, Any]:
    """Read configuration, history, summary and tags of a finished run.

    Waits for wandb's background process to finish writing.
    """
    limit = time.monotonic() + seconds
    while not any(r.WhichOneof("record_type") == "exit" for r in records(folder)):
        assert time.monotonic() < limit, f"run in {folder} did not finish"
        time.sleep(0.1)
    run: dict[str, Any] = {"config": {}, "history": [], "summary": {}}
    for record in records(folder):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run["project"], run["job_type"] = record.run.project, record.run.job_type
            run["id"], run["name"] = record.run.run_id, record.run.display_name
            run["group"], run["tags"] = record.run.run_group, list(record.run.tags)
        if kind in ("run", "config"):
            update = record.run.config.update if kind == "run" else record.config.update
            for item in update:
                run["config"][item.key or item.nested_key[0]] = json.loads(item.value_json)
        elif kind == "summary":
            for item in record.summary.update:
                run["summary"]["/".join([item.key] if item.key else item.nested_key)] = json.loads(
                    item.value_json
                )
        elif kind == "history":
            # Tables and pictures are nested under the name they were logged with.
            items = record.history.item
            run["history"].append(
                {i.key or i.nested_key[0]: json.loads(i.value_json) for i in items}
            )
    return run
