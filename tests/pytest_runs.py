"""Runs of pytest over files that a test has written: in a process, and a directory, of their own."""

from __future__ import annotations

import re
import subprocess
import sys

WITHOUT_PLUGIN = ("-p", "no:tiktok_oauth_session")
#: Plugins of other packages, which come along uncalled, are not needed, and take two seconds to import.
OTHERS = ("anyio", "hypothesispytest", "platformdirs", "pytest-betamax", "pytest_flask_dance", "xdist")


def run_tests(path, *options, **environment):
    """Run a file of tests.

    Returns:
        How many passed and how many failed, the names of those that passed, and what was printed.
    """
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-W", "error"]
    command += [word for name in OTHERS for word in ("-p", f"no:{name}")]
    done = subprocess.run(
        [*command, *options, *(() if any("::" in each for each in options) else (str(path),))],
        cwd=path.parent,
        capture_output=True,
        text=True,
        check=False,
        **environment,
    )
    passed = re.findall(r"::(\S+) PASSED", done.stdout)
    failed = re.findall(r"::(\S+) (?:FAILED|ERROR)", done.stdout)
    return len(passed), len(failed), passed, done.stdout + done.stderr
