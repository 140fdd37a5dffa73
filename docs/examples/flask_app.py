"""A Flask application that people log in to with TikTok.

    pip install 'tiktok-oauth-session[flask,sql]' gunicorn
    gunicorn --workers 3 --threads 4 flask_app:app

It reads TIKTOK_CLIENT_KEY, TIKTOK_CLIENT_SECRET, TIKTOK_REDIRECT_URI (which ends in
/tiktok/authorized), SECRET_KEY and DATABASE_URL from the environment, and TIKTOK_OAUTH_BASE_URL if TikTok is
somewhere else, as a fake one is:

    tiktok-oauth fake --redirect-uri http://127.0.0.1:8000/tiktok/authorized
"""

import math
import os

import requests
from flask import Flask, redirect, render_template_string
from sqlalchemy import create_engine

from tiktok_oauth_session import LOGIN_KIT, AccountKey, ReauthorizationRequired, TikTokOAuthError, unwrap
from tiktok_oauth_session.contrib.flask_dance import make_tiktok_blueprint, tiktok
from tiktok_oauth_session.stores.sql import SQLStore

HOME = """<!doctype html>
<title>Example</title>
{% if name %}
<p>Hello, <strong>{{ name }}</strong>.</p>
<p><a href="{{ url_for('tiktok.login', disable_auto_auth=1) }}">Another account</a></p>
<form method="post" action="{{ url_for('log_out') }}"><button>Log out</button></form>
<form method="post" action="{{ url_for('disconnect') }}"><button>Disconnect</button></form>
{% else %}
<p><a href="{{ url_for('tiktok.login') }}">Log in with TikTok</a></p>
{% endif %}
"""

store = SQLStore(create_engine(os.environ["DATABASE_URL"]))
store.create_tables()
base_url = os.environ.get("TIKTOK_OAUTH_BASE_URL")
redirect_uri = os.environ["TIKTOK_REDIRECT_URI"]
blueprint = make_tiktok_blueprint(
    os.environ["TIKTOK_CLIENT_KEY"],
    os.environ["TIKTOK_CLIENT_SECRET"],
    redirect_uri=redirect_uri,
    store=store,
    platform=LOGIN_KIT.at(base_url) if base_url else LOGIN_KIT,
)

app = Flask(__name__)
app.secret_key = os.environ["SECRET_KEY"]
app.config["SESSION_COOKIE_SAMESITE"] = "Lax"  # no other site's page can press our buttons
app.config["SESSION_COOKIE_SECURE"] = redirect_uri.startswith("https:")
app.register_blueprint(blueprint)


def profile():
    """Ask TikTok who is logged in."""
    return unwrap(tiktok.get("/v2/user/info/?fields=open_id,display_name"))["user"]


@app.get("/")
def home():
    """Show who is logged in, or how to log in."""
    try:
        name = profile()["display_name"] if tiktok.authorized else None
    except ReauthorizationRequired:  # they have removed the app at TikTok
        name = None
    return render_template_string(HOME, name=name)


@app.get("/me")
def me():
    """Say who is logged in, and which worker says so."""
    try:
        user = profile() if tiktok.authorized else None
    except ReauthorizationRequired:
        user = None
    return {**user, "worker": os.getpid()} if user else ({"error": "Log in first."}, 401)


@app.post("/logout")
def log_out():
    """Forget the visitor; the connection stays."""
    del blueprint.token
    return redirect("/")


@app.post("/disconnect")
def disconnect():
    """End the connection, at TikTok and here."""
    if tiktok.authorized:
        try:
            tiktok.revoke_token()
        except ReauthorizationRequired:  # they have removed the app at TikTok themselves
            store.delete(AccountKey(tiktok.client_id, tiktok.open_id))
    del blueprint.token
    return redirect("/")


@app.errorhandler(TikTokOAuthError)  # no token just now, a call that is refused, a database that is down
@app.errorhandler(requests.RequestException)  # TikTok does not answer
def not_now(error):
    """Ask for patience; the log says why."""
    app.logger.error("%s: %s", type(error).__name__, error)
    wait = getattr(error, "retry_after", None)
    headers = {"Retry-After": str(math.ceil(wait))} if wait else {}
    return "This does not work just now. Please try again later.", 503, headers
