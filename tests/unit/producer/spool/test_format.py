from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from pod_runtime.files.framing import FormatError, file_version
from producer.spool.format import extend_session, lock_session, read_session
from tests.unit.producer.samples import VISIT, emitter


def test_a_session_file_that_is_cut_while_it_is_extended_can_be_read(tmp_path: Path) -> None:
    made = emitter(tmp_path)
    short = read_session(made.spool.directory)
    size = (made.spool.directory / "session").stat().st_size
    extend_session(made.spool.directory, replace(short, defines=(*short.defines, short.defines[0])))
    for kept in range(size, (made.spool.directory / "session").stat().st_size):
        os.truncate(made.spool.directory / "session", kept)
        assert read_session(made.spool.directory) == short


def test_the_session_stays_locked(tmp_path: Path) -> None:
    made = emitter(tmp_path)
    made.declare(VISIT)
    assert lock_session(made.spool.directory) is None


def test_a_file_of_a_later_version_is_named(tmp_path: Path) -> None:
    directory = emitter(tmp_path).spool.directory
    data = bytearray((directory / "session").read_bytes())
    data[4] = 2
    (directory / "session").write_bytes(data)
    assert file_version(bytes(data), b"TSES") == 2
    with pytest.raises(FormatError, match="spool version 2; this program reads 1"):
        read_session(directory)
