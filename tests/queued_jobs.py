"""Jobs of real queues, RQ's and Celery's: what a worker imports and runs."""

from __future__ import annotations

import json
import os

from scenarios import USER_INFO, opened, session_on


def call_api(url, opens, open_id):
    """Call TikTok's API, as a job does that takes no care of its time limit."""
    with opened(opens) as store:
        return session_on(url, store, open_id).get(url + USER_INFO).status_code


def celery_application():
    """Return the application whose worker the test starts; this process has Celery, then."""
    from celery import Celery

    facts = json.loads(os.environ["TEST_QUEUED_JOBS"])
    application = Celery("queued_jobs", broker=facts["broker"], backend=facts["broker"])
    application.conf.update(facts["settings"])
    application.task(name="call_api")(call_api)
    return application


if "TEST_QUEUED_JOBS" in os.environ:
    application = celery_application()
