#!/usr/bin/env python3
"""measure.py OUT.json -- COMMAND…: run a command; write its wall, user and system seconds, peak memory and bytes written to files.

`written` is the kernel's count of dirtied file pages of the whole process (ru_oublock, which is write_bytes of
/proc/PID/io at its end); it knows nothing of sockets and nothing of tmpfs."""
import json, os, sys, time


def run(argv):
    """Runs argv; returns a dict with `code`, `wall`, `user`, `sys` in seconds, `peak` and `written` in bytes."""
    start = time.monotonic()
    pid = os.posix_spawnp(argv[0], argv, os.environ)
    _, status, used = os.wait4(pid, 0)
    return {"code": os.waitstatus_to_exitcode(status), "wall": time.monotonic() - start, "user": used.ru_utime,
            "sys": used.ru_stime, "peak": used.ru_maxrss * 1024, "written": used.ru_oublock * 512}


if __name__ == "__main__":
    if len(sys.argv) < 4 or sys.argv[2] != "--":
        sys.exit(__doc__)
    result = run(sys.argv[3:])
    with open(sys.argv[1], "w") as f:
        json.dump(result, f)
    sys.exit(result["code"] if result["code"] >= 0 else 128 - result["code"])
