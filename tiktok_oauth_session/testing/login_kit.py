"""Login Kit v2: the token and revocation endpoints, and the words their refusals use.

Sources:
    https://developers.tiktok.com/doc/oauth-user-access-token-management
    https://developers.tiktok.com/doc/oauth-error-handling
"""

from __future__ import annotations

from .grants import Reason, Refused
from .parameters import check_no_header, check_parameters
from .records import FORM, Reply, RequestRecord
from .routes import Route
from .tiktok import TikTok

USER_TOKEN_PAGE = "https://developers.tiktok.com/doc/oauth-user-access-token-management"
CLIENT_TOKEN_PAGE = "https://developers.tiktok.com/doc/client-access-token-management"

MALFORMED = "The request parameters are malformed."
ERRORS = {
    Reason.CLIENT: ("invalid_client", "Client info is illegal or malformed"),
    Reason.CODE: ("invalid_grant", "Authorization code is expired."),
    Reason.CODE_EXPIRED: ("invalid_grant", "Authorization code is expired."),
    Reason.GRANT_TYPE: ("unsupported_grant_type", "The grant type is not supported."),
    Reason.MALFORMED: ("invalid_request", MALFORMED),
    Reason.MISSING: ("invalid_request", "The request is missing a required parameter."),
    Reason.MISSING_SECRET: ("invalid_request", "Client secret is missed in request."),
    Reason.REDIRECT_URI: (
        "invalid_request",
        "Redirect_uri is not matched with the uri when requesting code.",
    ),
    Reason.REFRESH_TOKEN: ("invalid_grant", "Refresh token is invalid or expired."),
    Reason.REFRESH_TOKEN_EXPIRED: ("invalid_grant", "Refresh token is invalid or expired."),
    Reason.SCOPE: ("invalid_scope", "The requested scope is invalid."),
    # The revocation page documents only this one refusal.
    Reason.TOKEN: ("invalid_request", MALFORMED),
    Reason.TOKEN_EXPIRED: ("invalid_request", MALFORMED),
    Reason.VERIFIER: ("invalid_request", "Code verifier or code challenge is invalid."),
}

_CREDENTIALS = ("client_key", "client_secret")
_REQUIRED = {
    "authorization_code": (*_CREDENTIALS, "code", "grant_type"),
    "refresh_token": (*_CREDENTIALS, "grant_type", "refresh_token"),
    "client_credentials": (*_CREDENTIALS, "grant_type"),
}
# Whether these two are needed is known only once the code is known.
_OF_THE_CODE = {"authorization_code": ("redirect_uri", "code_verifier")}
_ENDPOINTS = {"refresh_token": "refresh", "client_credentials": "client_token"}


def oauth_error(error: str, description: str, log_id: str, *, status: int, detail: str = "") -> Reply:
    """Return the flat error body; the detail follows TikTok's own words in the description."""
    content = {
        "error": error,
        "error_description": f"{description} ({detail})" if detail else description,
        "log_id": log_id,
    }
    return Reply.json(status, content, error=error)


def refusal(tiktok: TikTok, refused: Refused) -> Reply:
    """Return what the v2 OAuth endpoints answer to a refused request."""
    error, description = ERRORS[refused.reason]
    status = tiktok.policy.error_status
    return oauth_error(error, description, tiktok.log_id, status=status, detail=refused.detail)


def check_form(
    tiktok: TikTok, record: RequestRecord, required: tuple[str, ...], optional: tuple[str, ...], page: str
) -> dict[str, str]:
    """Return the form's documented parameters; what else there is, is tolerated or not.

    Raises:
        Refused: Not a form, a parameter missing, or one too many for a strict TikTok.
    """
    if record.media_type != FORM:
        raise Refused(Reason.MALFORMED, f"the body must be {FORM}: {page}")
    if record.query:
        raise Refused(Reason.MALFORMED, f"no query string is documented: {page}")
    check_no_header(tiktok, record, "Authorization", page)
    return check_parameters(tiktok, record, record.form, required, optional, page=page)


def name_endpoint(record: RequestRecord) -> str:
    """Tell by its grant type what a request to the token endpoint is."""
    return _ENDPOINTS.get(str(record.parameters.get("grant_type")), "token")


def token(tiktok: TikTok, record: RequestRecord) -> Reply:
    """Answer the token endpoint for every documented grant."""
    grant_type = record.form.get("grant_type", "authorization_code")
    if record.media_type == FORM and grant_type not in _REQUIRED:
        raise Refused(Reason.GRANT_TYPE)
    page = CLIENT_TOKEN_PAGE if grant_type == "client_credentials" else USER_TOKEN_PAGE
    optional = _OF_THE_CODE.get(grant_type, ())
    form = check_form(tiktok, record, _REQUIRED.get(grant_type, ()), optional, page)
    tiktok.check_client(form["client_key"], form["client_secret"])
    if grant_type == "client_credentials":
        lifetime = int(tiktok.policy.client_token_lifetime)
        content = {"access_token": tiktok.issue_client_token(), "expires_in": lifetime}
        return Reply.json(200, {**content, "token_type": "Bearer"})
    if grant_type == "refresh_token":
        tokens = tiktok.refresh(form["refresh_token"])
    else:
        tokens = tiktok.redeem_code(form["code"], form.get("redirect_uri"), form.get("code_verifier"))
    return Reply.json(200, tiktok.describe(tokens))


def revoke(tiktok: TikTok, record: RequestRecord) -> Reply:
    """Answer the revocation endpoint: the user's whole connection ends."""
    form = check_form(tiktok, record, (*_CREDENTIALS, "token"), (), USER_TOKEN_PAGE)
    tiktok.check_client(form["client_key"], form["client_secret"])
    tokens = tiktok.bearer(form["token"])
    tiktok.disconnect(tokens.user.open_id, tokens.surface)
    return Reply(200, tiktok.policy.revoke_body, {"Content-Type": "application/json"})


_HOSTS = ("open.tiktokapis.com",)
ROUTES = (
    Route("/v2/oauth/token/", name_endpoint, "v2", _HOSTS, ("POST",), token, refusal),
    Route("/v2/oauth/revoke/", "revoke", "v2", _HOSTS, ("POST",), revoke, refusal),
)
