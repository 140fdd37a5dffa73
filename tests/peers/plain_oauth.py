"""A server that keeps to RFC 6749, as a `Platform`: what the peers' suites talk to."""

from tiktok_oauth_session import Platform

PLAIN_OAUTH = Platform(
    name="plain OAuth 2",
    # The suites pass the real endpoints with each call.
    authorization_endpoint="https://provider.invalid/authorize",
    token_endpoint="https://provider.invalid/token",
    token_endpoint_auth_method="client_secret_basic",
    scope_separator=" ",
    code_challenge_encoding="base64url",
)
