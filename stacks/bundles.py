"""The two artifacts of a release, as plain directories: the function's code, and what an instance installs.

Both are built with pip alone, for any target on any machine, and the same sources, locks and target give the same bytes: the
cloud sees a new version only when there is one. They are kept in `.bundles`, each under the digest of what it was made from,
so that a synth that changes nothing builds nothing. The folder can be deleted at any time.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal

ROOT: Final = Path(__file__).parent.parent
CACHE: Final = ROOT / ".bundles"

Architecture = Literal["arm64", "x86_64"]

FUNCTION_PYTHON: Final = "3.13"
"""Lambda runs 3.11 on Amazon Linux 2, whose glibc 2.26 is too old for Pillow's wheels (2.27); from 3.12 on it is Amazon Linux
2023, as on the instances."""
INSTANCE_PYTHON: Final = "3.11"
"""Amazon Linux 2023 packages it as `python3.11`, beside the older one of its own."""

MAX_FUNCTION_BYTES: Final = 262_144_000  # Lambda's quotas: 250 MB unpacked,
MAX_FUNCTION_ZIP_BYTES: Final = 52_428_800  # and 50 MB packed, for a direct upload

_FUNCTION_PACKAGES: Final = ("asciist", "lambda_worker")
_RELEASE_PACKAGES: Final = ("asciist", "lambda_worker", "service")

_UNUSED_EXTENSIONS: Final = ("_avif", "_imagingcms", "_imagingft", "_imagingtk")
"""Of Pillow: AVIF, colour profiles, fonts and windows. With the libraries that only they need a quarter of the bundle."""

_GLIBC_MINORS: Final = range(34, 16, -1)
"""Of the wheels that run on Amazon Linux 2023 (glibc 2.34); pip wants each named."""

_EPOCH: Final = 315_532_800  # 1980, the first time that a zip file can hold
_UNUSED_SECONDS: Final = 7 * 24 * 3600


class BundleError(Exception):
    """An artifact cannot be built; the text says why, with pip's own words where it was pip."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """What an artifact is built for: the processor, and the interpreter as "3.13"."""

    architecture: Architecture
    python: str

    @classmethod
    def here(cls) -> "Target":
        """The target that is this machine and this interpreter: what an emulator of the cloud runs. Raises BundleError."""
        architectures: dict[str, Architecture] = {"aarch64": "arm64", "x86_64": "x86_64"}
        if platform.machine() not in architectures:
            raise BundleError(f"nothing is built for {platform.machine()}")
        return cls(architecture=architectures[platform.machine()], python=".".join(platform.python_version_tuple()[:2]))

    @property
    def machine(self) -> str:
        """The architecture's name in the names of wheels."""
        return {"arm64": "aarch64", "x86_64": "x86_64"}[self.architecture]


def function_bundle(target: Target, *, cache: Path = CACHE) -> Path:
    """The directory that Lambda unpacks: the handler's packages and their dependencies, without what the runtime has (boto3).

    Raises BundleError, also when it is over Lambda's quotas.
    """
    sources = _sources(*_FUNCTION_PACKAGES, "requirements/worker.txt", "stacks/bundles.py")
    return _cached("function", target, sources, _build_function, cache)


def release_bundle(target: Target, *, cache: Path = CACHE) -> Path:
    """The directory that an instance unpacks: `boot`, `install`, units, and every wheel they need. Raises BundleError."""
    sources = _sources(*_RELEASE_PACKAGES, "pyproject.toml", "requirements/web.txt", "stacks/bundles.py", "stacks/instance")
    return _cached("release", target, sources, _build_release, cache)


def _sources(*names: str) -> list[Path]:
    """The files below `names`, which are relative to the root, without what interpreters and editors leave there."""
    files = [file for name in names for file in _files(ROOT / name)]
    return [file for file in files if not any(part.startswith((".", "__pycache__")) for part in file.relative_to(ROOT).parts)]


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def _cached(
    kind: str, target: Target, sources: Sequence[Path], build: Callable[[Target, Sequence[Path], Path], None], cache: Path
) -> Path:
    bundle = cache / f"{kind}-{target.architecture}-{target.python}-{_digest(sources)[:16]}"
    if not bundle.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        (cache / ".gitignore").write_text("*\n")
        _forget_unused(cache)
        with TemporaryDirectory(dir=cache, prefix="building-") as temporary:
            built = Path(temporary) / "bundle"
            built.mkdir()
            build(target, sources, built)
            _normalize(built)
            try:
                built.rename(bundle)
            except OSError:
                if not bundle.is_dir():  # it is there when another synth was faster, with the same bytes
                    raise
    os.utime(bundle)  # the time of its last use
    return bundle


def _digest(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        body = file.read_bytes()
        digest.update(f"{file.relative_to(ROOT)} {len(body)}\n".encode() + body)
    return digest.hexdigest()


def _forget_unused(cache: Path) -> None:
    """A week after its last use a bundle goes, and so does what a killed build left."""
    for entry in cache.iterdir():
        if entry.is_dir() and entry.stat().st_mtime < time.time() - _UNUSED_SECONDS:
            shutil.rmtree(entry, ignore_errors=True)


def _normalize(directory: Path) -> None:
    """Nothing of the machine that built it: its clock, its umask."""
    for path in (directory, *directory.rglob("*")):
        runs = path.is_dir() or path.read_bytes()[:2] == b"#!"
        path.chmod(0o755 if runs else 0o644)
        os.utime(path, (_EPOCH, _EPOCH))


def _build_function(target: Target, sources: Sequence[Path], into: Path) -> None:
    _pip("install", "--no-compile", "--target", into, *_wheels_of(target, "requirements/worker.txt"))
    shutil.rmtree(into / "bin", ignore_errors=True)  # commands, which name the interpreter that installed them
    for file in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json"):
        for installed in into.glob(f"*.dist-info/{file}"):
            installed.unlink()
    _drop_unused_extensions(into)
    _drop_what_builds_and_tests(into)
    for source in sources:
        if source.relative_to(ROOT).parts[0] in _FUNCTION_PACKAGES:
            _copy(source, into)
    _check_size(into)


def _drop_unused_extensions(bundle: Path) -> None:
    """Those, and the libraries that came along for them alone. A wheel gives each library a name that nothing else has
    (libavif-c6062d5f.so), so whoever loads it contains its name."""
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


def _drop_what_builds_and_tests(bundle: Path) -> None:
    """Tests, headers and stubs: a fifth of NumPy."""
    for path in [*bundle.rglob("tests")]:
        shutil.rmtree(path)
    for path in bundle.rglob("*"):
        if path.suffix in (".a", ".h", ".pyi"):
            path.unlink()


def _check_size(bundle: Path) -> None:
    bodies = [file.read_bytes() for file in _files(bundle)]
    unpacked, packed = sum(map(len, bodies)), sum(len(zlib.compress(body)) for body in bodies)
    for what, size, limit in (("unpacked", unpacked, MAX_FUNCTION_BYTES), ("packed", packed, MAX_FUNCTION_ZIP_BYTES)):
        if size > limit:
            raise BundleError(f"the function is {size} bytes {what}, and Lambda takes {limit}")


def _build_release(target: Target, sources: Sequence[Path], into: Path) -> None:
    wheels = into / "wheels"
    _pip("download", "--dest", wheels, *_wheels_of(target, "requirements/web.txt"))
    own = _own_wheel(sources, wheels)
    name, version, *_ = own.name.split("-")
    own_digest = hashlib.sha256(own.read_bytes()).hexdigest()
    requirements = (ROOT / "requirements/web.txt").read_text()
    (into / "requirements.txt").write_text(f"{requirements}{name}=={version} --hash=sha256:{own_digest}\n")
    (into / "python-version").write_text(f"{target.python}\n")
    for source in sources:
        if source.is_relative_to(ROOT / "stacks/instance"):
            shutil.copyfile(source, into / source.name)


def _own_wheel(sources: Sequence[Path], wheels: Path) -> Path:
    """The project as a wheel, built from a copy: setuptools writes beside the sources."""
    with TemporaryDirectory() as temporary:
        project = Path(temporary)
        for source in sources:
            _copy(source, project)
        # The description of a wheel interests nobody here, and a new word in it would replace every instance.
        (project / "README.md").touch()
        _normalize(project)
        before = set(wheels.iterdir())
        _pip("wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", wheels, project)
        (own,) = set(wheels.iterdir()) - before
    return own


def _copy(source: Path, into: Path) -> None:
    copy = into / source.relative_to(ROOT)
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, copy)


def _wheels_of(target: Target, lock: str) -> list[str | Path]:
    """The options of pip for the locked wheels of a target that is not this machine."""
    policies = (*(f"manylinux_2_{minor}" for minor in _GLIBC_MINORS), "manylinux2014")
    platforms = (f"--platform={policy}_{target.machine}" for policy in policies)
    python = ("--implementation=cp", f"--python-version={target.python}")
    return ["--only-binary=:all:", "--require-hashes", *python, *platforms, "--requirement", ROOT / lock]


def _pip(*arguments: str | Path) -> None:
    done = subprocess.run(  # noqa: S603 - nothing here comes from outside
        [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(_EPOCH)},
        umask=0o022,  # a wheel records modes
    )
    if done.returncode != 0:
        raise BundleError(f"pip {arguments[0]} failed: {(done.stderr or done.stdout).strip()}")
