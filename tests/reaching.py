"""Attempts of hostile code in a converter: ways to reach beyond it, and system calls.

Converters import this before they enter their sandbox, where they can import nothing.
"""

import ctypes
import errno
import json
import os
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from asciist.protocol.ports import Conversion
from tests import flawed_converters

FLAW = "return reaching.report(image)"
SETUP = "from tests import reaching"
"""Arguments of `flawed_converters.install`."""

_LIBC = ctypes.CDLL(None, use_errno=True)


def image(folder: Path, *, process: int, port: int, tries_calls: bool = True) -> bytes:
    """Return an image that makes a converter with FLAW try to reach `link.key` in a folder, another
    process and a local port, and make each system call."""
    target = {
        "folder": str(folder),
        "process": process,
        "port": port,
        "tries_calls": tries_calls,
    }
    return flawed_converters.KILLER + b"\0" + json.dumps(target).encode()


def report(image: bytes) -> Conversion:
    """Try everything that an image asks for. The rejection is a JSON object with the name of the
    error of each attempt, empty if it succeeded."""
    target = json.loads(image.rpartition(b"\0")[2])
    tries_calls = target.pop("tries_calls")
    attempts = _reaches(**target) | (_calls(target["process"]) if tries_calls else {})
    return Conversion(rejection=json.dumps({name: _error(do) for name, do in attempts.items()}))


def _error(do: Callable[[], object]) -> str:
    try:
        do()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return ""


def _reaches(folder: str, process: int, port: int) -> dict[str, Callable[[], object]]:
    def opened(path: str, flags: int = os.O_RDONLY) -> None:
        os.close(os.open(path, flags))

    def connected() -> None:
        with socket.socket() as connection:
            connection.connect(("127.0.0.1", port))

    return {
        "read the key of links": lambda: opened(f"{folder}/link.key"),
        "list the store": lambda: [*Path(folder).iterdir()],
        "write a file": lambda: opened(f"{folder}/written", os.O_CREAT | os.O_WRONLY),
        "open the memory of a process": lambda: opened(f"/proc/{process}/mem"),
        "open the environment of a process": lambda: opened(f"/proc/{process}/environ"),
        "signal a process": lambda: os.kill(process, 0),
        "connect": connected,
        "execute": lambda: os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0),
    }


def _calls(process: int) -> dict[str, Callable[[], object]]:
    """System calls by the functions of the C library, with arguments that are valid or harmless."""
    buffer = ctypes.create_string_buffer(4096)
    size, no_address = ctypes.c_size_t, ctypes.c_void_p(None)
    page = _mapped(3)
    calls: list[tuple[str, Any]] = [
        ("open", (b"/etc/passwd", 0)),
        ("openat", (-100, b"/etc/passwd", 0)),
        ("creat", (b"/tmp/asciist", 0o600)),
        ("stat", (b"/", buffer)),
        ("access", (b"/", 0)),
        ("readlink", (b"/proc/self/exe", buffer, size(9))),
        ("chdir", (b"/",)),
        ("chmod", (b"/tmp/asciist", 0o600)),
        ("unlink", (b"/tmp/asciist",)),
        ("mkdir", (b"/tmp/asciist", 0o700)),
        ("rename", (b"/tmp/asciist", b"/tmp/asciist")),
        ("link", (b"/tmp/asciist", b"/tmp/asciist")),
        ("symlink", (b"/tmp/asciist", b"/tmp/asciist")),
        ("truncate", (b"/tmp/asciist", 0)),
        ("ftruncate", (2, 0)),
        ("flock", (2, 8)),
        ("mount", (None, b"/tmp", None, 0, None)),
        ("chroot", (b"/",)),
        ("socket", (socket.AF_INET, socket.SOCK_STREAM, 0)),
        ("socketpair", (socket.AF_UNIX, socket.SOCK_STREAM, 0, buffer)),
        ("connect", (0, buffer, 16)),
        ("bind", (0, buffer, 16)),
        ("listen", (0, 1)),
        ("accept", (0, None, None)),
        ("pipe", (buffer,)),
        ("dup", (0,)),
        ("fcntl", (0, 8, process)),  # F_SETOWN, which lets the kernel send signals
        ("ioctl", (0, 0x5412, b"x")),  # TIOCSTI, which types into a terminal
        ("eventfd", (0, 0)),
        ("epoll_create1", (0,)),
        ("memfd_create", (b"x", 0)),
        ("inotify_init1", (0,)),
        ("execve", (b"/bin/true", None, None)),
        ("kill", (process, 0)),
        ("tgkill", (process, process, 0)),
        ("ptrace", (0x4206, process, None, None)),
        ("process_vm_readv", (process, buffer, 0, buffer, 0, 0)),
        ("prlimit", (process, 0, None, buffer)),
        ("setpriority", (0, 0, 19)),
        ("sched_setaffinity", (0, size(8), b"\xff" * 8)),
        ("personality", (-1,)),
        ("prctl", (15, b"x", 0, 0, 0)),
        ("unshare", (0x1000_0000,)),
        ("setns", (0, 0)),
        ("shmget", (0, size(4096), 0o1600)),
        ("mprotect", (page, size(4096), 7)),
        ("getppid", ()),
    ]
    numbers = {
        "clone3": 435,
        "io_uring_setup": 425,
        "pidfd_open": 434,
        "a call of the future": 1000,
    }
    return {
        **{name: partial(_called, name, *arguments) for name, arguments in calls},
        **{
            name: partial(_called, "syscall", number, process, no_address)
            for name, number in numbers.items()
        },
        "mmap": lambda: _mapped(7),
    }


def _called(name: str, *arguments: Any) -> None:
    _checked(getattr(_LIBC, name)(*arguments))


def _mapped(protection: int) -> ctypes.c_void_p:
    mmap = _LIBC.mmap
    mmap.restype = ctypes.c_void_p
    address = mmap(None, ctypes.c_size_t(4096), protection, 0x22, -1, ctypes.c_long(0))
    _checked(-1 if address == ctypes.c_void_p(-1).value else 0)
    return ctypes.c_void_p(address)


def _checked(status: int) -> None:
    if status == -1:
        raise OSError(ctypes.get_errno(), "")
