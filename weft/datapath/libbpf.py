"""BPF objects by libbpf.so.1: open an ELF file, size its maps, reuse pinned ones, load.

Only what needs libbpf (ELF, BTF, relocation) is here; everything on file descriptors is in ``weft.datapath.bpf``.
"""

from __future__ import annotations

import ctypes
import errno
from ctypes import c_char_p, c_int, c_size_t, c_uint32, c_void_p
from pathlib import Path
from typing import NamedTuple

from weft.datapath import bpf
from weft.datapath.errors import DatapathError, FeatureError
from weft.datapath.maps import Map

_PRINT = ctypes.CFUNCTYPE(c_int, c_int, c_void_p, c_void_p)
_LOG_ROOM = 16 << 20
"""The verifier's log of one program is at most this long."""
_FUNCTIONS: dict[str, tuple[type | None, list[type]]] = {
    "bpf_object__open": (c_void_p, [c_char_p]),
    "bpf_object__load": (c_int, [c_void_p]),
    "bpf_object__close": (None, [c_void_p]),
    "bpf_object__next_map": (c_void_p, [c_void_p, c_void_p]),
    "bpf_object__next_program": (c_void_p, [c_void_p, c_void_p]),
    "bpf_map__name": (c_char_p, [c_void_p]),
    "bpf_map__fd": (c_int, [c_void_p]),
    "bpf_map__max_entries": (c_uint32, [c_void_p]),
    "bpf_map__type": (c_int, [c_void_p]),
    "bpf_map__key_size": (c_uint32, [c_void_p]),
    "bpf_map__value_size": (c_uint32, [c_void_p]),
    "bpf_map__map_flags": (c_uint32, [c_void_p]),
    "bpf_map__set_max_entries": (c_int, [c_void_p, c_uint32]),
    "bpf_map__reuse_fd": (c_int, [c_void_p, c_int]),
    "bpf_program__name": (c_char_p, [c_void_p]),
    "bpf_program__fd": (c_int, [c_void_p]),
    "bpf_program__type": (c_int, [c_void_p]),
    "bpf_program__expected_attach_type": (c_int, [c_void_p]),
    "bpf_program__set_autoload": (c_int, [c_void_p, ctypes.c_bool]),
    "libbpf_set_print": (c_void_p, [_PRINT]),
}
_messages: list[str] = []
_loaded: list[ctypes.CDLL] = []


def _library() -> ctypes.CDLL:
    """libbpf with its signatures declared, opened on first use."""
    if _loaded:
        return _loaded[0]
    try:
        library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise FeatureError("libbpf", str(error), "install libbpf1 (Debian) or libbpf") from error
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.libbpf_set_print(_callback)
    _loaded.append(library)
    return library


def _collect(level: int, template: int, arguments: int) -> int:
    """libbpf's warnings, the verifier's log among them, go into the error that follows instead of to stderr."""
    if level == 0:
        room = ctypes.create_string_buffer(_LOG_ROOM)
        ctypes.CDLL(None).vsnprintf(room, c_size_t(len(room)), c_void_p(template), c_void_p(arguments))
        _messages.append(room.value.decode(errors="replace"))
    return 0


_callback = _PRINT(_collect)


def _log(lines: int = 60) -> str:
    """The end of what libbpf said since the last error."""
    text = "".join(_messages).rstrip().splitlines()[-lines:]
    _messages.clear()
    return "\n".join(text)


class MapShape(NamedTuple):
    """All that two maps must share for one to stand in for the other."""

    type: int
    key_size: int
    value_size: int
    max_entries: int
    map_flags: int


class Object:
    """One BPF object file. Open → (resize, reuse) → load → file descriptors of maps and programs.

    The kernel keeps what is attached or pinned; ``close`` (or leaving the ``with`` block) drops the rest.
    """

    def __init__(self, path: str | Path) -> None:
        self._lib, self.path = _library(), Path(path)
        self._object = self._lib.bpf_object__open(str(path).encode())
        if not self._object:
            raise DatapathError(f"open BPF object {path}", ctypes.get_errno(), _log() or "run `make bpf`")
        self._maps = self._named("bpf_object__next_map", "bpf_map__name")
        self._programs = self._named("bpf_object__next_program", "bpf_program__name")

    def _named(self, following: str, name: str) -> dict[str, int]:
        found: dict[str, int] = {}
        item = getattr(self._lib, following)(self._object, None)
        while item:
            found[getattr(self._lib, name)(item).decode()] = item
            item = getattr(self._lib, following)(self._object, item)
        return found

    def __enter__(self) -> Object:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._object:
            self._lib.bpf_object__close(self._object)
            self._object = None

    @property
    def maps(self) -> tuple[str, ...]:
        """Names as declared; data sections are called ``.rodata``, ``.bss``, ..."""
        return tuple(self._maps)

    @property
    def programs(self) -> tuple[str, ...]:
        """Names of the C functions."""
        return tuple(self._programs)

    def _find(self, items: dict[str, int], kind: str, name: str) -> int:
        if name not in items:
            raise DatapathError(f"{kind} {name} of {self.path}", "there is none", f"it has {', '.join(items)}")
        return items[name]

    def shape(self, name: str) -> MapShape:
        """What the map will be, after ``resize``."""
        item = self._find(self._maps, "map", name)
        sizes = (getattr(self._lib, f"bpf_map__{what}")(item) for what in MapShape._fields)
        return MapShape(*sizes)

    def attach_type(self, name: str) -> tuple[int, int]:
        """(program type, attach type) as the program's section says."""
        item = self._find(self._programs, "program", name)
        return self._lib.bpf_program__type(item), self._lib.bpf_program__expected_attach_type(item)

    def resize(self, name: str, entries: int) -> None:
        """Set a map's size, before load."""
        result = self._lib.bpf_map__set_max_entries(self._find(self._maps, "map", name), entries)
        bpf.check(result, f"resize map {name} to {entries}")

    def reuse(self, name: str, fd: int) -> None:
        """Use an existing map instead of a new one, before load. libbpf duplicates ``fd``."""
        result = self._lib.bpf_map__reuse_fd(self._find(self._maps, "map", name), fd)
        bpf.check(result, f"reuse map {name}")

    def autoload(self, name: str, load: bool) -> None:
        """Whether ``load`` takes this program."""
        self._lib.bpf_program__set_autoload(self._find(self._programs, "program", name), load)

    def load(self) -> None:
        """Create the maps, verify and load the programs. The error carries the end of the verifier's log."""
        _messages.clear()
        result = self._lib.bpf_object__load(self._object)
        if result < 0:
            remedy = "needs root, or CAP_BPF and CAP_NET_ADMIN" if result == -errno.EPERM else ""
            raise DatapathError(f"load {self.path}", -result, f"{remedy}\n{_log()}".strip())

    def program(self, name: str) -> int:
        """File descriptor of a loaded program; it belongs to this object."""
        fd = self._lib.bpf_program__fd(self._find(self._programs, "program", name))
        return bpf.check(fd, f"program {name}", "load the object first")

    def map(self, name: str) -> Map:
        """A handle of its own on a map of the loaded object."""
        fd = self._lib.bpf_map__fd(self._find(self._maps, "map", name))
        return Map(bpf.duplicate(bpf.check(fd, f"map {name}", "load the object first")))
