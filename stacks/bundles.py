"""Builds the artifacts of a release as plain directories: the code of both functions, and the
packages for an instance.

pip builds them for any target on any machine and under any Python that runs this project. The same
sources, locks and target give the same bytes, so a deployment replaces an artifact only if one of
them changed. Bundles are cached in `.bundles`, each named for the digest of its inputs, so a synth
without changes builds nothing. The folder can be deleted at any time.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal, cast

from packaging.markers import Environment as MarkerEnvironment
from packaging.requirements import Requirement

ROOT: Final = Path(__file__).parent.parent
CACHE: Final = ROOT / ".bundles"

Architecture = Literal["arm64", "x86_64"]

FUNCTION_PYTHON: Final = "3.13"
"""Python version of the function. Lambda runs 3.11 on Amazon Linux 2, whose glibc 2.26 is too old
for Pillow's wheels (2.27); from 3.12 on it runs on Amazon Linux 2023, as the instances do."""
INSTANCE_PYTHON: Final = "3.11"
"""Python version of the instances. Amazon Linux 2023 packages it as `python3.11`, beside its system
Python."""

MAX_FUNCTION_BYTES: Final = 262_144_000  # Lambda's quotas: 250 MB unpacked,
MAX_FUNCTION_ZIP_BYTES: Final = 52_428_800  # and 50 MB zipped, for a direct upload

_FUNCTION_PACKAGES: Final = ("asciist", "lambda_worker")
_FUNCTION_LOCK: Final = "lambda_worker/requirements.txt"
_RELEASE_PACKAGES: Final = ("asciist", "service")

_UNUSED_EXTENSIONS: Final = ("_imagingcms", "_imagingft", "_imagingtk")
"""Pillow extensions for colour profiles, fonts and Tk: with their libraries, 6 MB."""

_GLIBC_MINORS: Final = range(34, 16, -1)
"""Minor versions of glibc 2 with wheels that run on Amazon Linux 2023 (glibc 2.34). For pip, each
is a separate platform."""

_EPOCH: Final = 315_532_800  # 1980, the earliest time a zip file can hold
_UNUSED_SECONDS: Final = 7 * 24 * 3600


class BundleError(Exception):
    """An artifact cannot be built. The message says why, with pip's output if pip failed."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """The processor and the Python version of an artifact, such as "arm64" and "3.13"."""

    architecture: Architecture
    python: str

    @classmethod
    def here(cls) -> "Target":
        """Return the target for this machine and this interpreter. Raises BundleError on any other
        processor."""
        architectures: dict[str, Architecture] = {"aarch64": "arm64", "x86_64": "x86_64"}
        if platform.machine() not in architectures:
            raise BundleError(
                f"Unsupported processor: {platform.machine()}; bundles are built for aarch64 and"
                " x86_64."
            )
        return cls(
            architecture=architectures[platform.machine()],
            python=".".join(platform.python_version_tuple()[:2]),
        )

    @property
    def name(self) -> str:
        """Name of the target, as used in bundle names."""
        return f"{self.architecture}-{self.python}"

    @property
    def machine(self) -> str:
        """The architecture's name in wheel tags and environment markers."""
        return {"arm64": "aarch64", "x86_64": "x86_64"}[self.architecture]

    @property
    def abi(self) -> str:
        """The tag of the interpreter's ABI, such as "cp313"."""
        return f"cp{self.python.replace('.', '')}"

    @property
    def markers(self) -> dict[str, str]:
        """Every variable of environment markers, with its value on the target.

        A variable left out would take its value from the interpreter that runs the build.
        """
        environment: MarkerEnvironment = {
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": "linux",
        }
        return cast("dict[str, str]", environment)


def function_bundle(target: Target, *, cache: Path = CACHE) -> Path:
    """Return the function's code as a directory: the handler's packages and their dependencies,
    without boto3, which Lambda's runtime provides.

    Raises BundleError, also if the function exceeds Lambda's quotas.
    """
    sources = _sources(*_FUNCTION_PACKAGES, "stacks/bundles.py")
    return _cached(
        f"function-{target.name}",
        sources,
        lambda sources, into: _build_function(target, sources, into),
        cache,
    )


def release_bundle(
    target: Target, *, lock: str = "service/requirements-aws.txt", cache: Path = CACHE
) -> Path:
    """Return the directory unpacked by an instance: `boot`, `install`, the units, and every wheel
    they need.

    `lock` lists the packages; some differ between clouds. Raises BundleError.
    """
    sources = _sources(
        *_RELEASE_PACKAGES,
        "LICENSE",
        "pyproject.toml",
        lock,
        "stacks/bundles.py",
        "stacks/instance",
    )
    return _cached(
        f"release-{target.name}",
        sources,
        lambda sources, into: _build_release(target, ROOT / lock, sources, into),
        cache,
    )


def probe_bundle(*, cache: Path = CACHE) -> Path:
    """Return the code of the function that probes a deployment: the smoke test with its
    photograph."""
    sources = _sources(
        "operations/__init__.py",
        "operations/probe.py",
        "operations/smoke.py",
        "docs/examples/cat.jpg",
        "stacks/bundles.py",
    )
    return _cached("probe", sources, _build_probe, cache)


def locked_requirements(lock: Path, target: Target) -> str:
    """Return the requirements of a lock file that apply to a target, one a line with their hashes
    and without markers.

    pip's --python-version only selects wheels. pip evaluates markers for the interpreter that runs
    it, so they are removed.
    """
    applicable = []
    for line in re.sub(r"\s*\\\n\s*", " ", lock.read_text()).splitlines():
        specification, *hashes = line.split(" --hash=")
        if hashes:
            requirement = Requirement(specification)
            if requirement.marker is None or requirement.marker.evaluate(target.markers):
                requirement.marker = None
                applicable.append(" --hash=".join([str(requirement), *hashes]))
    return "\n".join(applicable) + "\n"


def _sources(*names: str) -> list[Path]:
    """Return the files below `names`, which are relative to the root, without caches and hidden
    files."""
    files = [file for name in names for file in _files(ROOT / name)]
    return [
        file
        for file in files
        if not any(part.startswith((".", "__pycache__")) for part in file.relative_to(ROOT).parts)
    ]


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def _cached(
    name: str, sources: Sequence[Path], build: Callable[[Sequence[Path], Path], None], cache: Path
) -> Path:
    bundle = cache / f"{name}-{_digest(sources)[:16]}"
    if not bundle.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        (cache / ".gitignore").write_text("*\n")
        _delete_unused(cache)
        with TemporaryDirectory(dir=cache, prefix="building-") as temporary:
            built = Path(temporary) / "bundle"
            built.mkdir()
            build(sources, built)
            _normalize(built)
            try:
                built.rename(bundle)
            except OSError:
                # exists if a concurrent synth finished first, with the same bytes
                if not bundle.is_dir():
                    raise
    os.utime(bundle)  # records the last use
    return bundle


def _digest(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        body = file.read_bytes()
        digest.update(f"{file.relative_to(ROOT)} {len(body)}\n".encode() + body)
    return digest.hexdigest()


def _delete_unused(cache: Path) -> None:
    """Delete bundles and the directories of interrupted builds, a week after their last use."""
    for entry in cache.iterdir():
        if entry.is_dir() and entry.stat().st_mtime < time.time() - _UNUSED_SECONDS:
            shutil.rmtree(entry, ignore_errors=True)


def _normalize(directory: Path) -> None:
    """Normalize the modes and times of all files, so that they do not depend on the building
    machine."""
    for path in (directory, *directory.rglob("*")):
        executable = path.is_dir() or path.read_bytes()[:2] == b"#!"
        path.chmod(0o755 if executable else 0o644)
        os.utime(path, (_EPOCH, _EPOCH))


def _build_function(target: Target, sources: Sequence[Path], into: Path) -> None:
    requirements = into / "requirements.txt"
    requirements.write_text(locked_requirements(ROOT / _FUNCTION_LOCK, target))
    # `pip install` compares Requires-Python with the interpreter that runs it; the lock's versions
    # are those for the target.
    _pip(
        *("install", "--no-compile", "--ignore-requires-python"),
        *("--target", into, *_options_for_wheels(target, requirements)),
    )
    requirements.unlink()
    # commands, which name the interpreter that installed them
    shutil.rmtree(into / "bin", ignore_errors=True)
    for file in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json"):
        for installed in into.glob(f"*.dist-info/{file}"):
            installed.unlink()
    _drop_unused_extensions(into)
    _drop_development_files(into)
    for source in sources:
        path = source.relative_to(ROOT)
        if path.parts[0] in _FUNCTION_PACKAGES and path != Path(_FUNCTION_LOCK):
            _copy(source, into)
    _check_size(into)


def _drop_unused_extensions(bundle: Path) -> None:
    """Delete the unused Pillow extensions and the libraries used by no remaining extension.

    A wheel gives each bundled library a unique name (libwebp-51b0b3f7.so), so a file that loads it
    contains that name.
    """
    for name in _UNUSED_EXTENSIONS:
        for extension in (bundle / "PIL").glob(f"{name}.*"):
            extension.unlink()
    unreached = set(bundle.glob("*.libs/*"))
    reached = [path for path in bundle.rglob("*.so*") if path not in unreached]
    while reached:
        body = reached.pop().read_bytes()
        loaded = {library for library in unreached if library.name.encode() in body}
        unreached -= loaded
        reached += loaded
    for library in unreached:
        library.unlink()


def _drop_development_files(bundle: Path) -> None:
    """Delete tests, headers, static libraries and stubs: a fifth of NumPy."""
    for path in [*bundle.rglob("tests")]:
        shutil.rmtree(path)
    for path in bundle.rglob("*"):
        if path.suffix in (".a", ".h", ".pyi"):
            path.unlink()


def _check_size(bundle: Path) -> None:
    bodies = [file.read_bytes() for file in _files(bundle)]
    unpacked, packed = sum(map(len, bodies)), sum(len(zlib.compress(body)) for body in bodies)
    for state, size, limit in (
        ("unpacked", unpacked, MAX_FUNCTION_BYTES),
        ("zipped", packed, MAX_FUNCTION_ZIP_BYTES),
    ):
        if size > limit:
            raise BundleError(
                f"The function exceeds Lambda's quota: {size} bytes {state}, and the limit is"
                f" {limit}."
            )


def _build_release(target: Target, lock: Path, sources: Sequence[Path], into: Path) -> None:
    wheels = into / "wheels"
    requirements = into / "requirements.txt"
    locked = locked_requirements(lock, target)
    requirements.write_text(locked)
    _pip("download", "--dest", wheels, *_options_for_wheels(target, requirements))
    own = _own_wheel(sources, wheels)
    name, version, *_ = own.name.split("-")
    own_digest = hashlib.sha256(own.read_bytes()).hexdigest()
    requirements.write_text(f"{locked}{name}=={version} --hash=sha256:{own_digest}\n")
    (into / "python-version").write_text(f"{target.python}\n")
    for source in sources:
        if source.is_relative_to(ROOT / "stacks/instance"):
            shutil.copyfile(source, into / source.name)


def _build_probe(sources: Sequence[Path], into: Path) -> None:
    for source in sources:
        if not source.is_relative_to(ROOT / "stacks"):
            _copy(source, into)


def _own_wheel(sources: Sequence[Path], wheels: Path) -> Path:
    """Build the project's wheel into `wheels`, from a copy because setuptools writes beside the
    sources."""
    with TemporaryDirectory() as temporary:
        project = Path(temporary)
        for source in sources:
            _copy(source, project)
        # An empty description: otherwise a change to it would replace every instance.
        (project / "docs").mkdir()
        (project / "docs/package.md").touch()
        _normalize(project)
        before = set(wheels.iterdir())
        _pip(
            "wheel",
            "--no-deps",
            "--no-index",
            "--no-build-isolation",
            "--wheel-dir",
            wheels,
            project,
        )
        (own,) = set(wheels.iterdir()) - before
    return own


def _copy(source: Path, into: Path) -> None:
    copy = into / source.relative_to(ROOT)
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, copy)


def _options_for_wheels(target: Target, requirements: Path) -> list[str | Path]:
    """Return pip's options for fetching exactly these locked requirements, as wheels for the
    target.

    Dependencies are not resolved again (--no-deps): the lock is complete, and pip would evaluate
    their markers for its own interpreter.
    """
    policies = (*(f"manylinux_2_{minor}" for minor in _GLIBC_MINORS), "manylinux2014")
    platforms = (f"--platform={policy}_{target.machine}" for policy in policies)
    python = ("--implementation=cp", f"--python-version={target.python}", f"--abi={target.abi}")
    return [
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
        *python,
        *platforms,
        "--requirement",
        requirements,
    ]


def _pip(*arguments: str | Path) -> None:
    done = subprocess.run(  # noqa: S603 - no argument comes from outside this module
        [
            sys.executable,
            "-m",
            "pip",
            "--quiet",
            "--disable-pip-version-check",
            "--no-input",
            *map(str, arguments),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(_EPOCH)},
        umask=0o022,  # a wheel records modes
    )
    if done.returncode != 0:
        raise BundleError(f"pip {arguments[0]} failed: {(done.stderr or done.stdout).strip()}")
