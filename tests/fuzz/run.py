"""`python -m tests.fuzz.run SECONDS [TARGET ...]`: each target under atheris for so long, in a process of its own.

What grew out of the seeds is kept in build/fuzz/TARGET and is begun with next time. An input that fails is kept beside it, as
`crash-...`, `timeout-...` or `oom-...`; it belongs into the target's seeds once it is understood.
"""

import subprocess
import sys
from pathlib import Path

_BUILD = Path(__file__).resolve().parents[2] / "build" / "fuzz"
_LIMITS = ("-timeout=10", "-rss_limit_mb=2048", "-max_len=4096", "-print_final_stats=1", "-verbosity=0")


def _fuzz(name: str, seconds: int) -> None:
    """Does not return: libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["portal.mime"]):
        from tests.fuzz.targets import TARGETS

    chosen, folder = TARGETS[name], _BUILD / name
    corpus, seeds = folder / "corpus", folder / "seeds"
    for one in (corpus, seeds):
        one.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(chosen.seeds):
        (seeds / str(number)).write_bytes(seed)
    options = [f"-max_total_time={seconds}", f"-artifact_prefix={folder}/", *_LIMITS]
    atheris.Setup([sys.argv[0], *options, str(corpus), str(seeds)], chosen.run)
    atheris.Fuzz()


def _all(seconds: str, names: list[str]) -> int:
    from tests.fuzz.targets import TARGETS

    failed = []
    for name in names or list(TARGETS):
        print(f"== {name}", flush=True)
        command = [sys.executable, "-m", "tests.fuzz.run", "--one", name, seconds]
        if subprocess.run(command, cwd=_BUILD.parents[1], check=False).returncode:
            failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else "nothing found")
    return len(failed)


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        _fuzz(sys.argv[2], int(sys.argv[3]))
    else:
        sys.exit(_all(sys.argv[1], sys.argv[2:]))
