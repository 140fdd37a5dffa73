"""Every block of code of README and docs is run by a test, or its page says why not."""

from __future__ import annotations

import re

import pytest
from pages import PAGES, TOP

#: Which tests run the blocks of a page, and how many each.
RUN = {
    "README.md": {
        ".ci/run": 2,
        "tests/test_documentation.py::test_readme__usage": 2,
        "tests/test_readme_figures.py::test_figure": 1,
    },
    "docs/business.md": {
        "tests/test_business.py::test_page": 4,
        "tests/cli/test_platform.py::test_page__business": 1,
    },
    # Of each line, the command is parsed; it has tests of its own.
    "docs/cli.md": {"tests/cli/test_cli_docs.py::test_page__examples_parse": 9},
    "docs/desktop.md": {"tests/test_how_to_pages.py::test_desktop_page": 1},
    "docs/django.md": {
        "tests/contrib/django/test_django_page.py::test_settings": 1,
        "tests/contrib/django/test_django_page.py::test_views": 1,
        "tests/contrib/django/django_project.py::tokens_in": 1,
        "tests/contrib/django/test_django_page.py::test_another_store": 1,
        "tests/contrib/django/test_django_page.py::test_allauth": 1,
        "tests/contrib/django/test_django_page.py::test_tests": 1,
    },
    "docs/events.md": {"tests/test_documentation.py::test_events_page": 1},
    "docs/fake.md": {
        "tests/cli/test_fake_page.py::test_page__what_is_printed": 2,
        "tests/cli/test_fake_page.py::test_page__curl": 8,
    },
    "docs/fastapi.md": {"tests/contrib/test_starlette.py::test_page__runs": 1},
    "docs/flask.md": {
        "tests/contrib/test_flask_dance.py::test_page__usage": 1,
        "tests/contrib/test_flask_dance.py::test_page__users": 1,
    },
    "docs/github-actions.md": {
        "tests/cli/test_github_actions.py::workflow": 1,
        "tests/cli/test_github_actions.py::test_page__first_token": 1,
    },
    "docs/keep-alive.md": {
        "tests/test_documentation.py::test_keep_alive_page": 1,
        "tests/cli/test_cli_docs.py::test_page__examples_parse": 1,
        "tests/test_keepalive_recipes.py::test_cron__refreshes": 2,
        "tests/test_keepalive_recipes.py::test_systemd__verifies": 2,
        "tests/test_keepalive_recipes.py::test_celery__refreshes": 2,
        "tests/test_keepalive_recipes.py::test_apscheduler__refreshes": 1,
    },
    "docs/migrating.md": {"tests/migration/test_migration.py::test_page__diffs": 2},
    "docs/other-packages.md": {
        "tests/test_documentation.py::test_other_packages_page": 1,
        "tests/test_interoperability.py::test_opentelemetry__secrets_in_addresses": 1,
        "tests/test_interoperability.py::test_sentry__secrets_in_addresses": 1,
    },
    "docs/post-a-video.md": {"tests/test_how_to_pages.py::test_posting_page": 1},
    "docs/script.md": {
        "tests/cli/test_script_page.py::logged_in_account": 1,
        "tests/cli/test_script_page.py::test_page__cron": 2,
    },
    "docs/shop.md": {
        "tests/test_shop.py::test_page": 4,
        "tests/test_shop.py::test_page__site": 1,
        "tests/cli/test_platform.py::test_page__shop": 2,
    },
    "docs/stores.md": {
        "tests/test_how_to_pages.py::test_stores_page": 6,
        "tests/test_how_to_pages.py::test_stores_page__encrypted": 3,
    },
    # It counts them by itself.
    "docs/ten-minutes.md": {"tests/test_ten_minutes.py::test_page__no_block_is_forgotten": 14},
    "docs/testing.md": {
        "tests/test_testing_page.py::test_requests_mock": 1,
        "tests/test_testing_page.py::test_fake": 3,
        "tests/test_testing_page.py::test_cassette__recorded_and_played": 1,
    },
    "docs/webhooks.md": {
        "tests/test_webhooks.py::test_page": 2,
        "tests/test_shop_webhooks.py::site": 1,
        "tests/contrib/test_flask_webhook.py::test_page": 1,
        "tests/contrib/django/test_django_webhook.py::test_page": 1,
        "tests/contrib/test_starlette_webhook.py::test_page": 1,
    },
    "docs/web-application.md": {"tests/test_documentation.py::test_web_application_page__login": 1},
}


def languages(text):
    """Return the language of each block of code: not of directives, nor of figures."""
    fences = re.findall(r"^( *)```(\S*)\n.*?^\1```$", text, re.DOTALL | re.MULTILINE)
    return [language for _, language in fences if language[:1] != "{" and language != "mermaid"]


@pytest.mark.parametrize("page", PAGES)
def test_blocks(page):
    """A new block is noticed: run it in a test and note that above, or say in the page why it is not run."""
    text = (TOP / page).read_text("utf-8")
    excused = re.findall(r"^ *<!-- not run: \S.* -->\n+ *```", text, re.MULTILINE)

    assert len(languages(text)) == len(excused) + sum(RUN.get(page, {}).values())


@pytest.mark.parametrize(
    ("page", "test"), [(page, test) for page, tests in RUN.items() for test in tests if "::" in test]
)
def test_blocks__by_tests_that_are_there(page, test):
    """Whoever renames or removes a test is told that a page relies on it."""
    path, _, name = test.partition("::")
    text = (TOP / path).read_text("utf-8")

    assert re.search(rf"^def {name}\(", text, re.MULTILINE)
    assert page.removeprefix("docs/") in text
