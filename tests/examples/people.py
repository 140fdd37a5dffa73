"""Somebody who uses an example in a browser."""

from __future__ import annotations

from chromium import open_window


class Person:
    """Somebody with a TikTok account, and their browser."""

    def __init__(self, chromium, example, name):
        self._chromium, self._example, self.name = chromium, example, name
        self.open_id = example.fake.add_user(display_name=name).open_id
        self.statuses = []
        self.window = None
        self.open_new_window()

    def open_new_window(self):
        """Go on in a new window, with the cookies of the old one and connections of its own."""
        cookies = self.window and self.close()
        self.window = open_window(self._chromium, storage_state=cookies)
        self.window.on("response", lambda response: self.statuses.append(response.status))
        self.page = self.window.new_page()
        self.open("/")

    def close(self):
        """Close the window, and return its cookies."""
        cookies = self.window.storage_state()
        self.window.close()
        return cookies

    def open(self, path):
        """Open a page of the application, and return its status."""
        return self.page.goto(self._example.url + path).status

    def begin(self, link="Log in with TikTok"):
        """Go to TikTok's page."""
        self.open("/")
        self.page.get_by_role("link", name=link).click()
        self.page.wait_for_url("**/v2/auth/authorize/**")

    def answer(self, button="Allow", *, who=None):
        """Say who one is, and yes or no; return the status of the page where that ends."""
        self.page.get_by_label("Log in as").select_option((who or self).open_id)
        with self.page.expect_navigation(url=f"{self._example.url}/**") as navigation:
            self.page.get_by_role("button", name=button).click()
        return navigation.value.status

    def log_in(self):
        """Log in, and return where one came back to from TikTok."""
        self.begin()
        assert 200 == self.answer()
        return next(url for url in reversed(self.window.asked) if url.startswith(self._example.redirect_uri))

    def press(self, button):
        """Press a button of the first page."""
        self.open("/")
        self.click(button)

    def click(self, button):
        """Press a button of the page that is open; return the status of the next one."""
        with self.page.expect_navigation() as navigation:
            self.page.get_by_role("button", name=button).click()
        return navigation.value.status

    def begin_calls(self, number):
        """Begin to call `/me`, often and at once."""
        self.page.evaluate(
            """number => {
                const call = () => fetch('/me').then(async reply => [reply.status, await reply.json()]);
                window.calls = Promise.all(Array.from({length: number}, call));
            }""",
            number,
        )

    def end_calls(self):
        """Return what came of the calls, each as its status and its JSON."""
        return self.page.evaluate("window.calls")

    def me(self):
        """Return the status and the open_id of one call of `/me`."""
        self.begin_calls(1)
        ((status, answer),) = self.end_calls()
        return status, answer.get("open_id")

    @property
    def text(self):
        """What the page says."""
        return self.page.locator("body").inner_text()
