"""The platforms that a site's login may be on, and those that it cannot be on."""

from __future__ import annotations

import dataclasses

from tiktok_oauth_session import BUSINESS, BUSINESS_ADVERTISER, SHOP, SHOP_US


def shop(fake):
    """Return Shop with the link that its portal shows for an app."""
    link = f"{SHOP.authorization_endpoint}?service_id={fake.service_id}"
    return dataclasses.replace(SHOP, authorization_endpoint=link)


#: What the fake calls a surface -> the platform for its app.
SERVED = {"shop": shop, "business": lambda fake: BUSINESS}
#: A platform, and what is said of it.
UNSERVED = [
    (SHOP, "TikTok Shop needs the service_id"),
    (SHOP_US, r"TikTok Shop \(US\) needs the service_id"),
    (BUSINESS, "TikTok for Business needs the scope that is registered for your app: set it"),
    (BUSINESS_ADVERTISER, r"TikTok for Business \(advertiser\) does not say whose a token is"),
]
