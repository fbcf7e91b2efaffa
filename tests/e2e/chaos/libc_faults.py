"""A process's machine made to fail and to recover: its volume and its clock, through `libc_faults.c`."""

from __future__ import annotations

import mmap
import struct
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

_CONTROL = struct.Struct("<qii")
SOURCE = Path(__file__).with_name("libc_faults.c")


def compile_library(directory: Path) -> Path:
    """The shared object for LD_PRELOAD, made by the machine's C compiler."""
    library = directory / "libc_faults.so"
    command = ["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return library


@dataclass(slots=True)
class LibcFaults:
    """The faults of one process, in force from the next call on. Leaving the block closes the control file."""

    library: Path
    control: Path
    volume: Path
    clock_offset_ns: int = 0
    volume_errno: int = 0
    sync_delay_ms: int = 0
    _mapped: mmap.mmap | None = field(default=None, repr=False)

    def __enter__(self) -> Self:
        self.control.write_bytes(_CONTROL.pack(0, 0, 0))
        with self.control.open("r+b") as file:
            self._mapped = mmap.mmap(file.fileno(), _CONTROL.size)
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        assert self._mapped is not None
        self._mapped.close()

    @property
    def environ(self) -> dict[str, str]:
        """Variables that put the library before the C library of a process started with them."""
        return {"LD_PRELOAD": str(self.library), "CHAOS_CONTROL": str(self.control), "CHAOS_VOLUME": str(self.volume)}

    def set(self, **changed: int) -> None:
        """Changes some of the faults; 0 ends one."""
        for name, value in changed.items():
            setattr(self, name, value)
        assert self._mapped is not None
        self._mapped[:] = _CONTROL.pack(self.clock_offset_ns, self.volume_errno, self.sync_delay_ms)
