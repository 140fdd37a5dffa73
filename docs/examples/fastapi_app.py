"""A FastAPI application that people log in to with TikTok.

    pip install 'tiktok-oauth-session[starlette,httpx,sql]' fastapi uvicorn
    uvicorn fastapi_app:app --workers 3

It reads TIKTOK_CLIENT_KEY, TIKTOK_CLIENT_SECRET, TIKTOK_REDIRECT_URI (which ends in
/tiktok/callback), SECRET_KEY and DATABASE_URL from the environment, and TIKTOK_OAUTH_BASE_URL if TikTok is
somewhere else, as a fake one is:

    tiktok-oauth fake --redirect-uri http://127.0.0.1:8000/tiktok/callback
"""

import contextlib
import html
import logging
import os

import httpx2
import requests
import sqlalchemy
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.middleware.sessions import SessionMiddleware

from tiktok_oauth_session import LOGIN_KIT, AccountKey, APIError, ReauthorizationRequired, unwrap
from tiktok_oauth_session.contrib.httpx import TikTokAuth
from tiktok_oauth_session.contrib.starlette import TikTokRouter
from tiktok_oauth_session.stores.sql import SQLStore

USER_INFO = "/v2/user/info/?fields=open_id,display_name"
LOG_IN = '<p><a href="/tiktok/login">Log in with TikTok</a></p>'
LOGGED_IN = """
<p>Hello, {name}.</p>
<p><a href="/tiktok/login?disable_auto_auth=1">Another account</a></p>
<form method="post" action="/logout"><button>Log out</button></form>
<form method="post" action="/disconnect"><button>Disconnect</button></form>
"""

base_url = os.environ.get("TIKTOK_OAUTH_BASE_URL")
platform = LOGIN_KIT.at(base_url) if base_url else LOGIN_KIT
redirect_uri = os.environ["TIKTOK_REDIRECT_URI"]

store = SQLStore(sqlalchemy.create_engine(os.environ["DATABASE_URL"]))
store.create_tables()
tiktok = TikTokRouter(
    os.environ["TIKTOK_CLIENT_KEY"],
    client_secret=os.environ["TIKTOK_CLIENT_SECRET"],
    redirect_uri=redirect_uri,
    store=store,
    platform=platform,
)
app = FastAPI(exception_handlers=tiktok.exception_handlers)
app.add_middleware(
    SessionMiddleware,
    secret_key=os.environ["SECRET_KEY"],
    https_only=redirect_uri.startswith("https:"),
)
app.mount("/tiktok", tiktok)


@app.get("/")
def home(request: Request) -> HTMLResponse:
    """Say who is logged in."""
    try:
        user = unwrap(tiktok.session(request).get(USER_INFO))["user"]
    except ReauthorizationRequired:
        return HTMLResponse(LOG_IN)
    return HTMLResponse(LOGGED_IN.format(name=html.escape(user["display_name"])))


@app.get("/me")
async def me(request: Request) -> dict[str, str | int]:
    """Say it to a program, without a thread for each call."""
    try:
        auth = TikTokAuth(tiktok.session(request))
        async with httpx2.AsyncClient(auth=auth, base_url=platform.api_base, timeout=30) as client:
            response = await client.get(USER_INFO)
    except ReauthorizationRequired as error:
        raise HTTPException(401, "Log in with TikTok first.") from error
    user = response.raise_for_status().json()["data"]["user"]
    return {"open_id": user["open_id"], "display_name": user["display_name"], "worker": os.getpid()}


@app.post("/logout")
def log_out(request: Request) -> RedirectResponse:
    """Forget who this is; the connection stays."""
    tiktok.log_out(request)
    return RedirectResponse("/", 303)


@app.post("/disconnect")
def disconnect(request: Request) -> RedirectResponse:
    """End the connection, at TikTok and here."""
    with contextlib.suppress(ReauthorizationRequired):  # not logged in
        session = tiktok.session(request)
        try:
            if session.authorized:
                session.revoke_token()
        except ReauthorizationRequired:  # they have removed the app at TikTok themselves
            store.delete(AccountKey(session.client_id, session.open_id))
    tiktok.log_out(request)
    return RedirectResponse("/", 303)


@app.exception_handler(APIError)
@app.exception_handler(requests.RequestException)
@app.exception_handler(httpx2.HTTPError)
def tiktok_does_not_answer(request: Request, error: Exception) -> HTMLResponse:
    """Ask for patience where a call to TikTok brings nothing."""
    logging.getLogger(__name__).error("%s %s: %r", request.method, request.url.path, error)
    return HTMLResponse("<p>TikTok does not answer just now. Please try again later.</p>", 503)
