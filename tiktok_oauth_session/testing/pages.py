"""The two HTML pages a user may see: consent, and TikTok's own error page."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from urllib.parse import urlsplit

from .records import Reply, RequestRecord
from .tiktok import TikTok
from .users import User

SCOPE_LABELS = {
    "user.info.basic": "Read your profile: picture and display name",
    "user.info.profile": "Read more of your profile: username, bio and links",
    "user.info.stats": "Read your statistics: followers, likes and number of videos",
    "video.list": "Read your public videos",
    "video.publish": "Post videos to your profile",
    "video.upload": "Upload videos as drafts for you to finish",
}

_STYLE = """\
:root { color-scheme: light dark; --edge: #8886; --accent: #d6244b; }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center;
       font: 1rem/1.5 system-ui, sans-serif; }
main { width: min(26rem, 100% - 2rem); padding: 2rem; border: 1px solid var(--edge);
       border-radius: 1rem; }
h1 { margin: 0 0 .5rem; font-size: 1.375rem; line-height: 1.25; }
p { margin: 0 0 1rem; }
small { display: block; margin-top: 1.5rem; opacity: .75; }
fieldset { margin: 0 0 1.5rem; padding: 0; border: 0; }
legend { padding: 0; font-weight: 600; }
label { display: flex; gap: .75rem; align-items: baseline; padding: .5rem 0;
        border-bottom: 1px solid var(--edge); }
input { accent-color: var(--accent); }
select, button { font: inherit; padding: .625rem 1rem; border-radius: .5rem;
                 border: 1px solid var(--edge); }
select { width: 100%; }
.choices { display: grid; grid-template-columns: 1fr 1fr; gap: .75rem; }
button { cursor: pointer; font-weight: 600; background: transparent; color: inherit; }
button[value=allow] { background: var(--accent); border-color: var(--accent); color: #fff; }
:focus-visible { outline: 3px solid #1677ff; outline-offset: 2px; }
"""
_NOTICE = "<small>This is a fake TikTok for tests. No account is involved.</small>"


def _page(title: str, content: str) -> Reply:
    return Reply.html(
        200,
        "<!DOCTYPE html>\n"
        '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n<h1>{escape(title)}</h1>\n{content}\n{_NOTICE}\n</main>\n</body>\n</html>\n",
    )


def _checkbox(scope: str) -> str:
    fixed = " disabled" if scope == "user.info.basic" else ""
    label = SCOPE_LABELS.get(scope, scope)
    return (
        f'<label><input type="checkbox" name="{escape(scope)}" checked{fixed}>'
        f"<span>{escape(label)}</span></label>"
    )


def _user_choice(users: list[User]) -> str:
    if len(users) == 1:
        return f"<p>Logged in as <strong>{escape(users[0].display_name)}</strong>.</p>"
    options = "".join(
        f'<option value="{escape(user.open_id)}">{escape(user.display_name)}</option>' for user in users
    )
    return (
        f'<p><label for="open_id">Log in as</label><select id="open_id" name="open_id">{options}</select></p>'
    )


def consent_page(tiktok: TikTok, record: RequestRecord, scopes: Iterable[str]) -> Reply:
    """Return the page that asks the user for each scope; it posts back to its own URL."""
    here = urlsplit(record.url)
    action = escape(f"{here.path}?{here.query}")
    name = escape(tiktok.app.name)
    return _page(
        f"Log in to {tiktok.app.name} with TikTok",
        f'<form method="post" action="{action}">\n'
        f"{_user_choice(list(tiktok.users.values()))}\n"
        f"<fieldset>\n<legend>{name} would like to</legend>\n"
        f"{chr(10).join(_checkbox(scope) for scope in scopes)}\n</fieldset>\n"
        '<div class="choices">'
        '<button name="decision" value="cancel">Cancel</button>'
        '<button name="decision" value="allow">Allow</button>'
        "</div>\n</form>",
    )


def error_page(error_type: str) -> Reply:
    """Return TikTok's page for a configuration error, which names what to correct."""
    return _page(
        "Something went wrong",
        "<p>We couldn't log in with TikTok. This may be due to specific app settings.</p>\n"
        "<p>If you're a developer, correct the following and try again:</p>\n"
        f"<ul><li>{escape(error_type)}</li></ul>",
    )
