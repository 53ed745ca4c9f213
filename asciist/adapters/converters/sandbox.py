"""Sandbox of a converter process: the kernel denies it files, programs, other processes and new
connections.

Landlock denies every access to files, and a seccomp filter every system call that is not listed
here. Both work without privileges. A denied call fails and does not end the process, so that what
a library does beyond the list, such as asking for the number of cores, remains harmless. It fails
with EPERM; a call newer than this list fails with ENOSYS, as on an older kernel, so that the C
library falls back to an older one.
"""

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator
from typing import Final

LANDLOCK: Final = "landlock"
SECCOMP: Final = "seccomp"

_ARCHITECTURES: Final = {"x86_64": (0, 0xC000_003E), "aarch64": (1, 0xC000_00B7)}
"""Column of `_CALLS` and AUDIT_ARCH of linux/audit.h, by the kernel's name of the architecture."""

_CALLS: Final[dict[str, tuple[int | None, int | None]]] = {
    # memory
    "brk": (12, 214),
    "madvise": (28, 233),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "munmap": (11, 215),
    "prlimit64": (302, 261),
    # connections, and the memory statistics
    "close": (3, 57),
    "epoll_ctl": (233, 21),
    "epoll_pwait": (281, 22),
    "epoll_wait": (232, None),
    "getsockname": (51, 204),
    "getsockopt": (55, 209),
    "ioctl": (16, 29),
    "poll": (7, None),
    "ppoll": (271, 73),
    "pread64": (17, 67),
    "read": (0, 63),
    "recvfrom": (45, 207),
    "recvmsg": (47, 212),
    "sendmsg": (46, 211),
    "sendto": (44, 206),
    "shutdown": (48, 210),
    "write": (1, 64),
    "writev": (20, 66),
    # time, signals and the end
    "alarm": (37, None),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "exit_group": (231, 94),
    "getpid": (39, 172),
    "getrandom": (318, 278),
    "gettid": (186, 178),
    "gettimeofday": (96, 169),
    "restart_syscall": (219, 128),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "setitimer": (38, 103),
    "tgkill": (234, 131),
    # locks, and threads of libraries
    "clone": (56, 220),
    "exit": (60, 93),
    "futex": (202, 98),
    "rseq": (334, 293),
    "sched_getaffinity": (204, 123),
    "sched_yield": (24, 124),
    "set_robust_list": (273, 99),
}
"""Numbers of the allowed system calls on x86-64 and on arm64; None where there is no such call."""

_CLONE3: Final = 435  # a filter cannot read its flags; without it, the C library uses clone
_NEWEST: Final = 462  # mseal, of Linux 6.10

_WHOLE: Final = 0xFFFF_FFFF
_EXECUTABLE: Final = 4
_NEW_THREAD: Final = 0x003D_0F00  # the flags with which the C library starts a thread
_DETACHED: Final = 0x0040_0000  # set by musl; without effect
_FIONBIO: Final = 0x5421

_PRCTL_SECCOMP: Final = 22
_SECCOMP_FILTER: Final = 2
_PRCTL_NO_NEW_PRIVILEGES: Final = 38
_LANDLOCK_CREATE_RULESET: Final = 444  # on each architecture, as the next one
_LANDLOCK_RESTRICT_SELF: Final = 446
_LANDLOCK_VERSION: Final = 1

_Instruction = tuple[int, int, int, int]
_LOAD: Final = 0x20
_AND: Final = 0x54
_RETURN: Final = 0x06
_IF_EQUAL: Final = 0x15
_IF_AT_LEAST: Final = 0x35
_ALLOW: Final[_Instruction] = (_RETURN, 0, 0, 0x7FFF_0000)


def enter() -> tuple[str, ...]:
    """Enter the sandbox for good. Return what the kernel does not support: LANDLOCK, SECCOMP."""
    libc = ctypes.CDLL(None, use_errno=True)
    for function in (libc.prctl, libc.syscall):
        function.argtypes = [ctypes.c_long] * 5
        function.restype = ctypes.c_long
    libc.prctl(_PRCTL_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    missing = []
    if not _deny_files(libc):
        missing.append(LANDLOCK)
    if not _filter_calls(libc, platform.machine()):
        missing.append(SECCOMP)
    return tuple(missing)


def _deny_files(libc: ctypes.CDLL) -> bool:
    """Deny each access that this version of Landlock knows: to files, and later to TCP ports,
    abstract sockets and processes outside."""
    version = libc.syscall(_LANDLOCK_CREATE_RULESET, 0, 0, _LANDLOCK_VERSION, 0)
    if version < 1:
        return False
    files = (1 << (13 + (version >= 2) + (version >= 3) + (version >= 5))) - 1
    handled = ctypes.create_string_buffer(
        struct.pack("=QQQ", files, 3 * (version >= 4), 3 * (version >= 6))
    )
    size = ctypes.sizeof(handled) - 1
    rules = libc.syscall(_LANDLOCK_CREATE_RULESET, ctypes.addressof(handled), size, 0, 0)
    if rules < 0:
        return False
    restricted = libc.syscall(_LANDLOCK_RESTRICT_SELF, rules, 0, 0, 0)
    os.close(rules)
    return bool(restricted == 0)


def _filter_calls(libc: ctypes.CDLL, machine: str) -> bool:
    if machine not in _ARCHITECTURES:
        return False
    program = [struct.pack("=HBBI", *instruction) for instruction in _program(machine)]
    code = ctypes.create_string_buffer(b"".join(program))
    # struct sock_fprog
    filter_ = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    status = libc.prctl(_PRCTL_SECCOMP, _SECCOMP_FILTER, ctypes.addressof(filter_), 0, 0)
    return bool(status == 0)


def _program(machine: str) -> Iterator[_Instruction]:
    """Yield the filter for an architecture, in classic BPF over `struct seccomp_data`."""
    column, architecture = _ARCHITECTURES[machine]
    # Calls that are allowed for one value of an argument: its position, the mask of the bits that
    # count, and their value. The kernel ignores the upper half of each of these arguments.
    conditions = {
        "mmap": (2, _EXECUTABLE, 0),
        "mprotect": (2, _EXECUTABLE, 0),
        "clone": (0, _WHOLE & ~_DETACHED, _NEW_THREAD),
        "ioctl": (1, _WHOLE, _FIONBIO),
        "prlimit64": (0, _WHOLE, 0),  # only of this process
        "tgkill": (0, _WHOLE, os.getpid()),  # only this process, as by abort()
    }
    yield _LOAD, 0, 0, 4
    yield _IF_EQUAL, 1, 0, architecture
    yield _denial(errno.EPERM)
    yield _LOAD, 0, 0, 0
    for name, numbers in _CALLS.items():
        number = numbers[column]
        if number is None:
            continue
        if name not in conditions:
            yield _IF_EQUAL, 0, 1, number
            yield _ALLOW
            continue
        argument, mask, value = conditions[name]
        yield _IF_EQUAL, 0, 5, number
        yield _LOAD, 0, 0, 16 + 8 * argument
        yield _AND, 0, 0, mask
        yield _IF_EQUAL, 0, 1, value
        yield _ALLOW
        yield _denial(errno.EPERM)
    yield _IF_EQUAL, 1, 0, _CLONE3
    yield _IF_AT_LEAST, 0, 1, _NEWEST + 1
    yield _denial(errno.ENOSYS)
    yield _denial(errno.EPERM)


def _denial(error: int) -> _Instruction:
    return _RETURN, 0, 0, 0x0005_0000 | error
