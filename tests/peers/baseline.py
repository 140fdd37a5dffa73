"""pytest plugin: the same conditions for every run of another project's test suite."""

import os
import time

import pytest

# requests prefers these to `verify=False`, which one of the tests passes.
for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
    os.environ.pop(name, None)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Keep away from full seconds.

    Two tests compare oauthlib's `expires_at`, a rounded number, with the exact time to two
    places. They fail at every moment but that one.
    """
    if not 0.1 < time.time() % 1 < 0.9:
        time.sleep(0.2)
