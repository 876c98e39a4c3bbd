"""Runs a program under the filter of system calls of a systemd unit, as systemd sets it.

filtered.py GROUPS... [~GROUPS...] -- PROGRAM ARGUMENTS...   (an argument for each line SystemCallFilter=)
"""

import errno
import os
import subprocess
import sys

import seccomp


def calls(group):
    """What systemd means by a group."""
    printed = subprocess.run(["systemd-analyze", "syscall-filter", group], check=True, capture_output=True, text=True).stdout
    names = set()
    for name in (line.strip() for line in printed.splitlines()[1:]):
        if name.startswith("@"):
            names |= calls(name)
        elif name and not name.startswith("#"):
            names.add(name)
    return names


end = sys.argv.index("--")
allowed = set()
for line in sys.argv[1:end]:
    groups = line.lstrip("~").split()
    named = set().union(*(calls(group) for group in groups))
    allowed = allowed - named if line.startswith("~") else allowed | named

# Refused with an error, as SystemCallErrorNumber=EPERM says.
filter_ = seccomp.SyscallFilter(defaction=seccomp.ERRNO(errno.EPERM))
for name in sorted(allowed):
    try:
        filter_.add_rule(seccomp.ALLOW, name)
    except (RuntimeError, ValueError):
        pass  # another processor's
filter_.load()
os.execv(sys.argv[end + 1], sys.argv[end + 1 :])
