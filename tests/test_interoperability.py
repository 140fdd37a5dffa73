"""Other people's packages for `requests`: login, call and a refresh inside a call with each of them."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from urllib.parse import quote

import pytest
import requests
from pages import blocks, run
from servers import require_module
from surfaces import SURFACES

from tiktok_oauth_session import BUSINESS_ADVERTISER, LOGIN_KIT, SHOP, NoReply, TikTokOAuth2Session
from tiktok_oauth_session.shop_signature import ShopSignature
from tiktok_oauth_session.testing import forget_connections

CALLBACK = "https://app.example/callback/"
PATH = "/v2/user/info/?fields=open_id"
VIDEOS = "/v2/video/list/?fields=id"
#: What `live` sends: the second call meets a dead token.
LIFE = ["token", "user_info", "user_info", "refresh", "user_info"]


@pytest.fixture
def server(fake):
    """The fake on a socket, as most of these packages want it."""
    with fake.serve() as server:
        yield server


@pytest.fixture
def options(fake):
    """What every session here is made with."""
    return {
        "client_key": fake.client_key,
        "client_secret": fake.client_secret,
        "redirect_uri": CALLBACK,
        "scope": ("user.info.basic", "video.list"),
        "token_updater": lambda token: None,
    }


@pytest.fixture
def make(server, options):
    """Makes sessions of any class, which reach the fake on its socket."""
    made = []

    def make(cls=TikTokOAuth2Session, **more):
        made.append(cls(**options | {"platform": LOGIN_KIT.at(server.url)} | more))
        return made[-1]

    yield make
    for session in made:
        session.close()


def endpoints(fake):
    """What was asked of the fake, but for what the browser asked."""
    return [record.endpoint for record in fake.requests if record.endpoint != "authorize"]


def consent(session, fake, **choices):
    """Play the user's browser, and return where it came back to."""
    url, _ = session.authorization_url()
    return fake.authorize(url, **choices)


def live(session, fake, callback):
    """Log in, call, and call again with a token that is dead by then."""
    token = session.fetch_token(authorization_response=callback)
    users = [session.get(PATH).json()["data"]["user"]]
    fake.advance(7200)
    users.append(session.get(PATH + ",display_name").json()["data"]["user"])

    assert [token["open_id"]] * 2 == [user["open_id"] for user in users]
    assert token["refresh_token"] != session.token["refresh_token"]
    return token


# --- requests-cache --------------------------------------------------------------------------------


@pytest.fixture
def cached_classes():
    """Sessions with a cache, whichever of the two stands first."""
    require_module("requests_cache")
    from requests_cache import CachedSession, CacheMixin

    class CacheFirst(CacheMixin, TikTokOAuth2Session):
        """The cache first."""

    class CacheLast(TikTokOAuth2Session, CachedSession):
        """The cache last."""

    return {"first": CacheFirst, "last": CacheLast}


@pytest.mark.parametrize("place", ["first", "last"])
def test_requests_cache(fake, make, cached_classes, place):
    """A session with a cache logs in, calls, gets the same again from the cache, and refreshes."""
    session = make(cached_classes[place], backend="memory")
    live(session, fake, consent(session, fake))

    again, other = session.get(PATH), session.get(PATH + ",union_id")

    assert [True, False] == [response.from_cache for response in (again, other)]
    assert session.token["open_id"] == again.json()["data"]["user"]["open_id"]
    assert [*LIFE, "user_info"] == endpoints(fake)


@pytest.mark.parametrize("place", ["first", "last"])
def test_requests_cache__accounts_are_told_apart(fake, make, cached_classes, place):
    """With the defaults of requests-cache and one cache for all, nobody gets another account's data."""
    from requests_cache.backends import BaseCache

    shared = BaseCache()
    sessions = [make(cached_classes[place], backend=shared) for _ in range(2)]
    for session in sessions:
        session.fetch_token(authorization_response=consent(session, fake, user=fake.add_user()))
    whose = [session.get(PATH).json()["data"]["user"]["open_id"] for session in sessions * 2]

    assert [session.token["open_id"] for session in sessions] * 2 == whose
    assert 2 == len(fake.requests_to("user_info"))


def test_requests_cache__url_is_what_was_asked(fake, make, server, cached_classes):
    """What tells accounts apart in the cache is in no response's URL, and was not sent."""
    session = make(cached_classes["last"], backend="memory")
    session.fetch_token(authorization_response=consent(session, fake))

    responses = [session.get(PATH), session.get(PATH), session.get(f"{server.url}{PATH}#mine")]

    assert [f"{server.url}{PATH}"] * 2 + [f"{server.url}{PATH}#mine"] == [each.url for each in responses]
    assert {f"{server.url}{PATH}"} == {record.url for record in fake.requests_to("user_info")}


def test_requests_cache__keeps_no_token(fake, make, cached_classes, tmp_path):
    """What the cache writes down holds no token, not even where it is to keep POST requests as well."""
    session = make(
        cached_classes["last"],
        backend="filesystem",
        cache_name=tmp_path / "cache",
        allowable_methods=("GET", "POST"),
    )
    token = live(session, fake, consent(session, fake))
    session.close()

    secrets = [each[name] for each in (token, session.token) for name in ("access_token", "refresh_token")]
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert token["open_id"].encode() in written
    assert not [value for value in secrets if value.encode() in written]


def test_requests_cache__client_token(fake, make, cached_classes):
    """A token of the app itself is fetched anew each time, though the requests are the same."""
    session = make(cached_classes["last"], backend="memory", allowable_methods=("GET", "POST"))

    tokens = [session.fetch_client_token()["access_token"] for _ in range(2)]

    assert 2 == len(set(tokens)) == len(fake.requests_to("client_token"))


def test_requests_cache__client_key_by_position(fake, cached_classes, tmp_path, monkeypatch):
    """A client key that the cache would take for its own name is refused; with ours first it is none."""
    monkeypatch.chdir(tmp_path)

    with pytest.raises(TypeError, match=r"CacheMixin stands before .* pass client_key= by name"):
        cached_classes["first"](fake.client_key, backend="memory")
    with cached_classes["last"](fake.client_key, backend="memory") as session:
        assert fake.client_key == session.client_id
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("methods", [("GET", "HEAD"), ("GET", "HEAD", "POST")])
def test_requests_cache__installed(fake, make, methods):
    """`install_cache()` caches the calls of sessions made from then on; no token comes from the cache."""
    require_module("requests_cache")
    import requests_cache

    requests_cache.install_cache(backend="memory", allowable_methods=methods)
    try:
        sessions = [make(), make()]
        for session in sessions:
            session.fetch_token(authorization_response=consent(session, fake, user=fake.add_user()))
        whose = [session.get(PATH).json()["data"]["user"]["open_id"] for session in sessions * 2]
        fake.advance(7200)
        sessions[0].post(VIDEOS)
    finally:
        requests_cache.uninstall_cache()
    with requests.Session() as plain:
        assert not hasattr(plain, "cache")

    assert [session.token["open_id"] for session in sessions] * 2 == whose
    assert ["token", "token", "user_info", "user_info", "video_list", "refresh", "video_list"] == endpoints(
        fake
    )


def test_requests_cache_and_ratelimiter__page(fake, server, options):
    """The class that the documentation shows takes the options of all three, and each does its part."""
    for name in ("requests_cache", "requests_ratelimiter"):
        require_module(name)
    page = (Path(__file__).parents[1] / "docs" / "other-packages.md").read_text()
    names = {}
    exec(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], names)  # noqa: S102 - our own documentation
    names["session"].close()

    more = {
        "platform": LOGIN_KIT.at(server.url),
        "backend": "memory",
        "expire_after": 300,
        "per_second": 1000,
    }
    key = options.pop("client_key")
    with names["Session"](key, **options, **more) as session:
        live(session, fake, consent(session, fake))
        again = session.get(PATH)

    assert ("awx7example", 300) == (names["session"].client_id, names["session"].settings.expire_after)
    assert again.from_cache
    assert LIFE == endpoints(fake)


# --- other classes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["first", "last"])
def test_requests_ratelimiter(fake, make, place):
    """A rate limiter counts each request that is sent, once."""
    require_module("requests_ratelimiter")
    from requests_ratelimiter import LimiterMixin, LimiterSession

    bases = {"first": (LimiterMixin, TikTokOAuth2Session), "last": (TikTokOAuth2Session, LimiterSession)}

    class Limited(*bases[place]):
        """Counts what its limiter lets through."""

        counted = 0

        def _bucket_name(self, request):
            self.counted += 1
            return super()._bucket_name(request)

    session = make(Limited, per_second=1000)
    live(session, fake, consent(session, fake))

    assert LIFE == endpoints(fake)
    assert len(LIFE) == session.counted


def test_requests_futures(fake, make):
    """Eight futures that meet a dead token share one refresh."""
    require_module("requests_futures")
    from requests_futures.sessions import FuturesSession

    session = make()
    with FuturesSession(session=session, max_workers=8) as futures:
        session.fetch_token(authorization_response=consent(session, fake))
        fake.advance(7200)
        statuses = [future.result(60).status_code for future in [futures.get(PATH) for _ in range(8)]]

    assert [200] * 8 == statuses
    assert 1 == len(fake.requests_to("refresh"))


def test_requests_toolbelt(fake, make, clock):
    """A streamed upload of requests-toolbelt arrives, with a token that was refreshed first."""
    require_module("requests_toolbelt")
    from requests_toolbelt import MultipartEncoder

    session = make()
    live(session, fake, consent(session, fake))
    clock.advance(7200)
    upload = MultipartEncoder({"video": ("v.mp4", b"fake video " * 1000, "video/mp4")})

    session.post(VIDEOS, data=upload, headers={"Content-Type": upload.content_type})

    assert [*LIFE, "refresh", "video_list"] == endpoints(fake)
    (record,) = fake.requests_to("video_list")
    assert b"fake video " * 1000 in record.sent
    assert f"Bearer {session.token['access_token']}" == record.headers["Authorization"]


def test_tenacity(fake, make):
    """What tenacity tries again after a `requests.ConnectionError` is a call, and no refresh."""
    require_module("tenacity")
    import tenacity

    session = make()
    again = tenacity.retry(
        retry=tenacity.retry_if_exception_type(requests.ConnectionError),
        stop=tenacity.stop_after_attempt(3),
        wait=tenacity.wait_none(),
        reraise=True,
    )
    session.fetch_token(authorization_response=consent(session, fake))
    fake.fail("user_info", "reset_before", times=2)
    assert 200 == again(session.get)(PATH).status_code
    fake.advance(7200)
    assert 200 == again(session.get)(PATH).status_code

    assert ["token", *["user_info"] * 4, "refresh", "user_info"] == endpoints(fake)


# --- mocks and recorders ---------------------------------------------------------------------------


def answer(fake, request):
    """Let the fake answer a request that a mock has caught."""
    response = fake.adapter().send(request)
    headers = {name: value for name, value in response.headers.items() if name.lower() != "content-length"}
    return response.status_code, headers, response.content


def test_responses(fake, options):
    """A program is tested with responses: each request is one call of it."""
    require_module("responses")
    import responses

    everything = re.compile("https://open.tiktokapis.com/.*")
    with TikTokOAuth2Session(**options) as session, responses.RequestsMock() as mock:
        for method in (responses.GET, responses.POST):
            mock.add_callback(method, everything, callback=lambda request: answer(fake, request))
        live(session, fake, consent(session, fake))

        assert LIFE == endpoints(fake)
        assert len(LIFE) == len(mock.calls)


def test_requests_mock(fake, options):
    """A program is tested with requests-mock: each request is one call of it."""
    require_module("requests_mock")
    import requests_mock

    def reply(request, context):
        context.status_code, context.headers, content = answer(fake, request._request)
        return content

    session = TikTokOAuth2Session(**options)
    callback = consent(session, fake)
    with session, requests_mock.Mocker() as mock:
        mock.register_uri(requests_mock.ANY, re.compile("open.tiktokapis.com"), content=reply)
        live(session, fake, callback)

        assert LIFE == endpoints(fake)
        assert len(LIFE) == mock.call_count


def test_vcrpy(fake, make, server, tmp_path):
    """What vcrpy recorded, each request once, is a life that can be lived again with nobody to answer."""
    require_module("vcr")
    import vcr

    recorder = vcr.VCR(cassette_library_dir=str(tmp_path))
    session = make()
    with recorder.use_cassette("life.yaml") as cassette:
        live(session, fake, consent(session, fake))
        assert len(LIFE) == len(cassette.requests)
    assert LIFE == endpoints(fake)
    server.stop()
    forget_connections()

    again = make()
    callback = consent(again, fake)
    with recorder.use_cassette("life.yaml", record_mode="none") as cassette:
        live(again, fake, callback)
        assert len(LIFE) == cassette.play_count
    assert session.token["refresh_token"] == again.token["refresh_token"]


# Betamax itself calls what Python 3.12 has deprecated.
@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")
def test_betamax(fake, make, server, tmp_path):
    """Betamax records each request once."""
    require_module("betamax")
    import betamax

    session = make()
    with betamax.Betamax(session, cassette_library_dir=str(tmp_path)).use_cassette("life"):
        live(session, fake, consent(session, fake))

    recorded = json.loads((tmp_path / "life.json").read_text())["http_interactions"]
    assert LIFE == endpoints(fake)
    assert len(LIFE) == len(recorded)


# --- instrumentation -------------------------------------------------------------------------------


def test_opentelemetry(fake, make):
    """OpenTelemetry's instrumentation sees each request once."""
    for name in ("opentelemetry", "opentelemetry.sdk", "opentelemetry.instrumentation"):
        require_module(name)
    require_module("opentelemetry.instrumentation.requests")
    from opentelemetry.instrumentation.requests import RequestsInstrumentor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = RequestsInstrumentor()
    session = make()
    callback = consent(session, fake)
    instrumentor.instrument(tracer_provider=provider)
    try:
        live(session, fake, callback)
    finally:
        instrumentor.uninstrument()
        provider.shutdown()

    assert LIFE == endpoints(fake)
    assert ["POST", "GET", "GET", "POST", "GET"] == [
        span.name for span in sorted(exporter.get_finished_spans(), key=lambda span: span.start_time)
    ]


def test_sentry(fake, make):
    """Sentry's instrumentation sees each request once."""
    require_module("sentry_sdk")
    import sentry_sdk

    session, seen = make(), []

    class Nowhere(sentry_sdk.Transport):
        def capture_envelope(self, envelope):
            pass

    def note(crumb, hint):
        if crumb.get("type") == "http":
            seen.append(crumb["data"]["http.method"])
        return crumb

    sentry_sdk.init(
        "https://key@sentry.example/1",
        transport=Nowhere,
        before_breadcrumb=note,
        traces_sample_rate=1.0,
        enable_backpressure_handling=False,  # its thread sleeps on into other tests
    )
    try:
        with sentry_sdk.start_transaction(name="life"):
            live(session, fake, consent(session, fake))
    finally:
        sentry_sdk.init()

    assert LIFE == endpoints(fake)
    assert ["POST", "GET", "GET", "POST", "GET"] == seen


# --- secrets in addresses --------------------------------------------------------------------------

PAGE = "docs/other-packages.md"


@pytest.fixture
def shop_life(fake, clock):
    """Plays a seller's login, a call, a refresh and one that finds nobody; returns what is secret in it."""

    def play(session, closed):
        token = session.fetch_token(authorization_response=SURFACES["shop"].callback(fake, session))
        assert 0 == SURFACES["shop"].ask(session).json()["code"]
        new = session.refresh_token()
        session.mount("http://", closed)
        session.mount("https://", closed)
        with pytest.raises(NoReply):
            session.refresh_token()
        codes = [quote(each.query["auth_code"], safe="") for each in fake.requests_to("token")]
        return [fake.client_secret, *codes, token["refresh_token"], new["refresh_token"]]

    return play


class Unreachable(requests.adapters.HTTPAdapter):
    """Says of every request what urllib3 says where nobody listens: with the address."""

    def send(self, request, **_):
        raise requests.ConnectionError(f"Max retries exceeded with url: {request.path_url}")


@pytest.mark.parametrize("is_told", [False, True], ids=["as it is", "as on the page"])
def test_opentelemetry__secrets_in_addresses(fake, shop_life, monkeypatch, is_told):
    """No span holds a secret of Shop's, if OpenTelemetry is told so; and otherwise they do."""
    for name in ("opentelemetry.sdk", "opentelemetry.instrumentation.requests"):
        require_module(name)
    from opentelemetry.instrumentation.requests import RequestsInstrumentor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrument = functools.partial(RequestsInstrumentor().instrument, tracer_provider=provider)
    monkeypatch.setattr(RequestsInstrumentor, "instrument", lambda _self, **options: instrument(**options))
    session = SURFACES["shop"].session(fake, token_updater=lambda token: None)
    session.mount("https://", fake.adapter())
    try:
        if is_told:
            run(blocks(PAGE)[1], PAGE, {})
        else:
            instrument()
        secrets = shop_life(session, Unreachable())
    finally:
        RequestsInstrumentor().uninstrument()
        provider.shutdown()

    spans = exporter.get_finished_spans()
    assert "GET" in [span.name for span in spans], "the call of the API is there"
    seen = "".join(span.to_json() for span in spans)
    assert (is_told, not is_told) == (
        not [each for each in secrets if each in seen],
        all(each in seen for each in secrets),
    )


@pytest.mark.parametrize("is_told", [False, True], ids=["as it is", "as on the page"])
def test_sentry__secrets_in_addresses(fake, server, shop_life, monkeypatch, is_told):
    """Neither breadcrumbs nor spans hold a secret of Shop's, if Sentry is told so; and otherwise they do."""
    require_module("sentry_sdk")
    import sentry_sdk

    sent = []

    class Kept(sentry_sdk.Transport):
        def capture_envelope(self, envelope):
            sent.append(envelope.serialize().decode())

    init = functools.partial(
        sentry_sdk.init,
        "https://key@sentry.example/1",
        transport=Kept,
        traces_sample_rate=1.0,
        enable_backpressure_handling=False,  # its thread sleeps on into other tests
    )
    monkeypatch.setattr(sentry_sdk, "init", lambda _dsn, **options: init(**options))
    shop = SURFACES["shop"]._replace(platform=SHOP.at(server.url))
    session = shop.session(fake, token_updater=lambda token: None)
    try:
        if is_told:
            names = {"DSN": ""}
            run(blocks(PAGE)[2], PAGE, names)
            names["PLACES"] = (server.url,)
        else:
            init()
        with sentry_sdk.isolation_scope() as scope, sentry_sdk.start_transaction(name="life"):
            scope.clear_breadcrumbs()
            secrets = shop_life(session, Unreachable())
            sentry_sdk.capture_message("what happened before")
    finally:
        monkeypatch.undo()
        sentry_sdk.init()

    assert 2 == len(sent), "a message and a transaction"
    for envelope in sent:
        assert "/api/v2/token/refresh" in envelope
        seen = [each for each in secrets if each in envelope]
        assert seen == ([] if is_told else secrets[:-1])


@pytest.mark.parametrize("is_told", [False, True], ids=["as it is", "as on the page"])
def test_requests_cache__other_headers(fake, server, issue, cached_classes, tmp_path, caplog, clock, is_told):
    """What is kept of Shop and of advertisers holds no secret, and is found again, if the page is heeded."""
    names = {}
    run(blocks(PAGE)[0], PAGE, names)
    names["session"].close()
    caplog.set_level("DEBUG")
    written, found_again, secrets = b"", [], [fake.client_secret]
    for name in ("shop", "advertiser"):
        platform = {"shop": SHOP, "advertiser": BUSINESS_ADVERTISER}[name].at(server.url)
        told = {"ignored_parameters": names["IGNORED"]} if is_told else {}
        with cached_classes["last"](
            fake.client_key,
            client_secret=fake.client_secret,
            platform=platform,
            backend="filesystem",
            cache_name=tmp_path / name,
            token=issue(surface=name),
            token_updater=lambda token: None,
            **told,
        ) as session:
            session.auth = ShopSignature(fake.client_key, fake.client_secret) if name == "shop" else None
            if name == "shop":
                session.refresh_token()
            secrets.append(session.token["access_token"])
            for _ in range(2):
                found_again.append(call(session, name).from_cache)
                clock.advance(2)
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())

    assert 2 == len(set(fake.requests_to("shops")[0].query) & {"sign", "timestamp"})
    assert [False, is_told, False, True] == found_again
    assert ([] if is_told else secrets) == [each for each in secrets if each.encode() in written]
    assert "requests_cache.session" in {record.name for record in caplog.records}
    assert [] == [each for each in secrets if each in caplog.text]


def call(session, name):
    """Make a call of a surface."""
    if name == "shop":
        return SURFACES["shop"].ask(session)
    return session.get(
        "/oauth2/advertiser/get/", params={"app_id": session.client_id, "secret": session.client_secret}
    )
