"""Fuzz the conversion, guided by coverage: python -m tests.fuzz [SECONDS] (make fuzz).

Starts from the hostile files and stops at the first finding: an exception other than RejectedError,
a timeout, or a process over its memory limit. A finding is written to a file. To reproduce it, run
`.venv/bin/python -m tests.fuzz.target FILE`; then add it to tools/testing/hostile without its first
two bytes, which select the options. The corpus is stored in .fuzz, and the next run continues from
it.
"""

import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from tools.testing import hostile

ROOT = Path(__file__).parents[2]
SEEDS, CORPUS, FINDINGS = (ROOT / ".fuzz" / name for name in ("seeds", "corpus", "findings"))

MAX_BYTES = 64_000
"""Maximum bytes of an input. Larger inputs find nothing more and slow the fuzzer down."""
# 64 KB take less than 0.25 s; instrumented Python on a busy machine has taken 6 s
TIMEOUT_SECONDS = 25
MAX_MEGABYTES = 1000  # a decode may take 190 MB; the fuzzer adds its corpus and tables

_TOKENS = (
    *(
        b"IHDR",
        b"PLTE",
        b"tRNS",
        b"IDAT",
        b"IEND",
        b"eXIf",
        b"acTL",
        b"fcTL",
        b"fdAT",
        b"iCCP",
        b"zTXt",
        b"iTXt",
    ),
    *(
        b"VP8 ",
        b"VP8L",
        b"VP8X",
        b"ALPH",
        b"ANIM",
        b"ANMF",
        b"EXIF",
        b"ICCP",
        b"Exif\0\0",
        b"Adobe",
        b"JFIF\0",
        b"MPF\0",
    ),
    *(
        bytes([0xFF, code])
        for code in (
            0xC0,
            0xC2,
            0xC4,
            0xD0,
            0xD8,
            0xD9,
            0xDA,
            0xDB,
            0xDD,
            0xE0,
            0xE1,
            0xE2,
            0xEE,
            0xFE,
        )
    ),
    *(
        b"\x21\xf9\x04",
        b"\x21\xfe",
        b"\x21\xff\x0b",
        b"GIF87a",
        b"GIF89a",
        b"II*\0",
        b"MM\0*",
        b"BM",
    ),
    *(
        b"II+\0",
        b"MM\0+",
        *(
            bytes([tag & 255, tag >> 8])
            for tag in (256, 257, 258, 259, 262, 273, 277, 278, 279, 322, 324, 347)
        ),
    ),
    *(
        b"ftypavif",
        b"meta",
        b"pitm",
        b"iinf",
        b"infe",
        b"iloc",
        b"iref",
        b"auxl",
        b"dimg",
        b"iprp",
        b"ipco",
        b"ipma",
        b"idat",
    ),
    *(
        b"ispe",
        b"pixi",
        b"av1C",
        b"auxC",
        b"colrnclx",
        b"irot",
        b"imir",
        b"av01",
        b"grid",
        b"mdat",
        b"\x0a\x0a",
        b"\x12\0",
    ),
)
"""The fuzzer's dictionary: markers, chunk types and signatures of the formats."""


def write_seeds() -> int:
    """Write every hostile file within MAX_BYTES, preceded by two bytes of options; return the
    number of files."""
    SEEDS.mkdir(parents=True, exist_ok=True)
    for old in SEEDS.iterdir():
        old.unlink()
    count = 0
    for number, case in enumerate(hostile.corpus()):
        if len(case.image) <= MAX_BYTES - 2:
            # Cycle through the options, so that the seeds cover every path through the engine.
            head = bytes([number % 80, number % 256])
            (SEEDS / sha256(head + case.image).hexdigest()[:16]).write_bytes(head + case.image)
            count += 1
    return count


def main() -> int:
    """Fuzz for some seconds; return the exit status, 0 if nothing was found."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 1200
    for folder in (CORPUS, FINDINGS):
        folder.mkdir(parents=True, exist_ok=True)
    dictionary = ROOT / ".fuzz" / "tokens"
    escaped = ("".join(f"\\x{byte:02x}" for byte in token) for token in _TOKENS)
    dictionary.write_text("".join(f'"{token}"\n' for token in escaped))
    print(
        f"{write_seeds()} seeds; {seconds} seconds; findings go to {FINDINGS.relative_to(ROOT)}",
        flush=True,
    )
    before = set(FINDINGS.iterdir())
    command = [
        *(sys.executable, "-m", "tests.fuzz.target"),
        *(str(CORPUS), str(SEEDS)),
        f"-max_total_time={seconds}",
        f"-max_len={MAX_BYTES}",
        f"-timeout={TIMEOUT_SECONDS}",
        f"-rss_limit_mb={MAX_MEGABYTES}",
        f"-dict={dictionary}",
        f"-artifact_prefix={FINDINGS}/",
        "-print_final_stats=1",
    ]
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    for finding in sorted(set(FINDINGS.iterdir()) - before):
        print(f"found: {finding.relative_to(ROOT)}")
    return status


if __name__ == "__main__":
    sys.exit(main())
