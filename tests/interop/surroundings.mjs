// What every program here has around it: the fake TikTok, an app's settings, and a person with a browser.

export const {
  FAKE_URL: fake,
  CLIENT_KEY: clientKey,
  CLIENT_SECRET: clientSecret,
  REDIRECT_URI: redirectURI,
} = process.env;
export const scopes = ["user.info.basic", "user.info.profile", "user.info.stats"];

// For clients whose URLs are constants: what goes to TikTok's hosts goes to the same path of the fake.
export const atFake = (url) =>
  String(url).replace(/^https:\/\/(www\.tiktok\.com|open\.tiktokapis\.com)(?=\/)/, fake);

export const sendToFake = () => {
  const { fetch, Request } = globalThis;
  globalThis.fetch = (target, options) =>
    target instanceof Request
      ? fetch(new Request(atFake(target.url), target), options)
      : fetch(atFake(target), options);
};

// A person allows everything that the page at `url` asks for. Returns where their browser is sent.
export const consent = async (url) => {
  const page = new URL(atFake(url));
  const asked = new Set(page.searchParams.get("scope").split(","));
  const ticked = [...asked].map((scope) => [scope, "on"]);
  const body = new URLSearchParams([["decision", "allow"], ...ticked]);
  const answer = await fetch(page, { method: "POST", body, redirect: "manual" });
  return new URL(answer.headers.get("location"), page);
};

export const report = (what) => console.log(JSON.stringify(what));

// Cookies of one browser, as far as these programs need them.
export class Cookies {
  #held = new Map();

  take(response) {
    for (const line of response.headers.getSetCookie()) {
      const [name, ...value] = line.split(";")[0].split("=");
      this.#held.set(name, value.join("="));
    }
    return response;
  }

  get headers() {
    return { cookie: [...this.#held].map((each) => each.join("=")).join("; ") };
  }
}
