"""The pages where users consent, and the page TikTok shows when the app is set up wrongly.

Sources:
    https://developers.tiktok.com/doc/login-kit-web
    https://developers.tiktok.com/doc/login-kit-desktop
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urlsplit

from .app import is_loopback
from .grants import SCOPES_OF_SURFACE, Refused
from .pages import consent_page, error_page
from .records import Reply, RequestRecord
from .routes import Route
from .tiktok import TikTok

ALLOW = "allow"
CANCEL = "cancel"
ALWAYS_GRANTED = "user.info.basic"  # the one scope that the user cannot untick

_DOCUMENTED = {"client_key", "response_type", "scope", "redirect_uri", "state"}
_DOCUMENTED_IN_V2 = {"disable_auto_auth", "code_challenge", "code_challenge_method"}
#: What TikTok's own SDKs add where they open a browser.
#: Source: WebAuthHelper.kt of https://github.com/tiktok/tiktok-opensdk-android and
#: TikTokAuthRequest+URLParams.swift of https://github.com/tiktok/tiktok-opensdk-ios
_OF_SDKS = {
    "app_identity",
    "certificate",
    "device_platform",
    "from",
    "lang",
    "request_id",
    "sdk_name",
    "sdk_version",
}


class FakePageError(Exception):
    """TikTok shows an error page of its own, so the app's redirect URI is never called.

    Attributes:
        error: The error's name, such as `unauthorized_client`.
        error_type: What is wrong, such as `client_key` or `redirect_uri`.
        err_code: TikTok's number for it; empty where none is known.
        url: What the browser's address bar shows.
    """

    def __init__(self, error: str, error_type: str, err_code: str, url: str) -> None:
        super().__init__(error, error_type, err_code)
        self.error = error
        self.error_type = error_type
        self.err_code = err_code
        self.url = url

    def __str__(self) -> str:
        """Name what has to be corrected."""
        return f"TikTok's error page instead of a callback: {self.error}, correct {self.error_type}"

    @classmethod
    def check(cls, url: str) -> None:
        """Raise if a URL is the one of an error page.

        Raises:
            FakePageError: It is.
        """
        query = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
        if "error_type" in query:
            raise cls(query["error"], query["error_type"], query.get("errCode", ""), url)


@dataclass(frozen=True)
class Problem:
    """A configuration error: `err_code` is empty where no number has been published."""

    error: str
    error_type: str
    err_code: str = ""


def find_problem(tiktok: TikTok, record: RequestRecord) -> Problem | None:
    """Return what is wrong with an authorization request, if anything is."""
    query, app = record.query, tiktok.app
    redirect_uri = query.get("redirect_uri", "")
    rules = (
        (query.get("client_key") == app.client_key, Problem("unauthorized_client", "client_key")),
        (not record.repeated, Problem("invalid_request", "".join(record.repeated[:1]))),
        (
            query.get("response_type") == "code",
            Problem("unsupported_response_type", "response_type"),
        ),
        (app.registered(redirect_uri), Problem("invalid_request", "redirect_uri")),
        (_approved(tiktok, query.get("scope", "")), Problem("invalid_scope", "scope")),
        (
            query.get("disable_auto_auth", "0") in ("0", "1"),
            Problem("invalid_request", "disable_auto_auth"),
        ),
    )
    broken = (problem for kept, problem in rules if not kept)
    problem = next(broken, _find_pkce_problem(query, needed=is_loopback(redirect_uri)))
    return problem or find_undocumented(tiktok, query, _DOCUMENTED | _DOCUMENTED_IN_V2 | _OF_SDKS)


def find_undocumented(tiktok: TikTok, query: dict[str, str], documented: set[str]) -> Problem | None:
    """Return what this TikTok refuses only because nobody documents it; or note it all."""
    unknown = sorted(set(query) - documented)
    undocumented = {name: f"undocumented for authorize: {name}" for name in unknown}
    if not query.get("state"):
        undocumented["state"] = "a login without state"
    for name, what in undocumented.items():
        try:
            tiktok.tolerate(what)
        except Refused:
            return Problem("invalid_request", name)
    return None


def _find_pkce_problem(query: dict[str, str], *, needed: bool) -> Problem | None:
    challenge, method = query.get("code_challenge"), query.get("code_challenge_method")
    if not challenge and (needed or method is not None):
        return Problem("invalid_request", "code_challenge", "10007")
    # Mobile SDKs, whose redirect URIs are https, send no method.
    if method != "S256" and (needed or method is not None):
        return Problem("invalid_request", "code_challenge_method", "10008")
    return None


def find_v1_problem(tiktok: TikTok, record: RequestRecord) -> Problem | None:
    """Return what is wrong with a legacy authorization request, if anything is."""
    query, app = record.query, tiktok.app
    unknown = [*sorted(set(query) - _DOCUMENTED), *record.repeated]
    rules = (
        (query.get("client_key") == app.client_key, "client_key", "10003"),
        (not unknown, "".join(unknown[:1]), "10002"),
        (query.get("response_type") == "code", "response_type", "10005"),
        (app.registered_domain(query.get("redirect_uri", "")), "redirect_uri", "10006"),
        (_approved(tiktok, query.get("scope", "")), "scope", "10004"),
        (query.get("state"), "state", "10005"),
    )
    broken = (Problem("param_error", name, code) for kept, name, code in rules if not kept)
    return next(broken, None)


def _approved(tiktok: TikTok, scope: str) -> bool:
    try:
        tiktok.check_scopes(scope)
    except Refused:
        return False
    return True


def callback_url(redirect_uri: str, parameters: dict[str, str]) -> str:
    """Append parameters to a redirect URI, percent-encoding `*` and `!` as TikTok does."""
    return f"{redirect_uri}{'&' if '?' in redirect_uri else '?'}{urlencode(parameters)}"


def _asked(tiktok: TikTok, record: RequestRecord) -> tuple[str, ...]:
    if record.surface in SCOPES_OF_SURFACE:
        return tiktok.scopes_of(record.surface)
    return tiktok.check_scopes(record.query["scope"])


def _named_in_the_url(_tiktok: TikTok, record: RequestRecord) -> str:
    return record.query.get("redirect_uri", "/")


@dataclass(frozen=True)
class Page:
    """What a surface's consent page finds wrong, and how it answers the app."""

    find_problem: Callable[[TikTok, RequestRecord], Problem | None]
    redirect_uri: Callable[[TikTok, RequestRecord], str] = _named_in_the_url
    #: What the callback calls the code.
    code_names: tuple[str, ...] = ("code",)
    #: What the callback calls the granted scopes, if it tells them.
    scope_names: tuple[str, ...] = ("scopes",)
    #: What the callback says of a user who cancels.
    denial: Mapping[str, str] = field(
        default_factory=lambda: {"error": "access_denied", "error_description": "access_denied"}
    )

    def answer(self, tiktok: TikTok, record: RequestRecord) -> Reply:
        """Answer the page and the form on it."""
        return _show(tiktok, record, self)

    def deny(self, tiktok: TikTok, record: RequestRecord, **about: str) -> Reply:
        """Return to the app with an error: `about` it, or that the user has cancelled."""
        told = {**self.denial, **about, "state": record.query.get("state", "")}
        given = {name: value for name, value in told.items() if value}
        return Reply.redirect(callback_url(self.redirect_uri(tiktok, record), given), error=told["error"])


def _show(tiktok: TikTok, record: RequestRecord, page: Page) -> Reply:
    if "error_type" in record.query:
        return error_page(record.query["error_type"])
    problem = page.find_problem(tiktok, record)
    if problem is not None:
        details = {
            "error": problem.error,
            "error_type": problem.error_type,
            "errCode": problem.err_code,
            "logid": tiktok.log_id,
        }
        here = urlsplit(record.url)
        # Relative: whatever the browser calls this host.
        return Reply.redirect(callback_url(f"{here.path}?{here.query}", details), error=problem.error)
    if record.method == "POST":
        return _decide(tiktok, record, page)
    return consent_page(tiktok, record, _asked(tiktok, record))


def _decide(tiktok: TikTok, record: RequestRecord, page: Page) -> Reply:
    query, form = record.query, record.form
    if form.get("decision") != ALLOW:
        return page.deny(tiktok, record)
    redirect_uri, asked = page.redirect_uri(tiktok, record), _asked(tiktok, record)
    granted = [scope for scope in asked if scope == ALWAYS_GRANTED or scope in form]
    code = tiktok.issue_code(
        tiktok.user(form.get("open_id")),
        granted,
        redirect_uri,
        surface=record.surface,
        challenge=query.get("code_challenge"),
    )
    given = dict.fromkeys(page.code_names, code) | dict.fromkeys(page.scope_names, ",".join(granted))
    state = {"state": query["state"]} if query.get("state") else {}
    return Reply.redirect(callback_url(redirect_uri, given | state))


def page_refusal(_tiktok: TikTok, refused: Refused) -> Reply:
    """Return the page that names what is refused."""
    return error_page(refused.reason.value)


#: Login Kit's pages, by surface.
PAGES = {"v2": Page(find_problem), "v1": Page(find_v1_problem)}
METHODS = ("GET", "POST")
ROUTES = tuple(
    Route(path, "authorize", surface, ("www.tiktok.com",), METHODS, PAGES[surface].answer, page_refusal)
    for path, surface in (
        ("/v2/auth/authorize/", "v2"),
        # The Android SDK leaves the slash out, and so does TikTok for Business.
        ("/v2/auth/authorize", "v2"),
        ("/auth/authorize/", "v1"),
        ("/auth/authorize", "v1"),
    )
)
