"""What every surface does with the parameters that it is sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .grants import Reason, Refused
from .records import RequestRecord
from .tiktok import TikTok


def check_parameters(
    tiktok: TikTok,
    record: RequestRecord,
    given: Mapping[str, Any],
    required: tuple[str, ...],
    optional: tuple[str, ...] = (),
    *,
    page: str,
) -> dict[str, Any]:
    """Return the documented parameters of those given; what else there is, is tolerated or not.

    An empty value counts as none (RFC 6749, section 3.1).

    Raises:
        Refused: A parameter is missing or repeated, or there is one too many for a strict TikTok.
    """
    undocumented = sorted(set(given) - {*required, *optional})
    if undocumented:
        names = ", ".join(undocumented)
        tiktok.tolerate(f"undocumented for {record.endpoint}: {names}: {page}")
    if record.repeated:
        raise Refused(Reason.MALFORMED, f"repeated: {', '.join(record.repeated)}")
    missing = [name for name in required if not given.get(name)]
    if missing:
        only_secret = missing == ["client_secret"]
        raise Refused(Reason.MISSING_SECRET if only_secret else Reason.MISSING, ", ".join(missing))
    return {n: value for n, value in given.items() if value and n in (*required, *optional)}


def check_no_header(tiktok: TikTok, record: RequestRecord, name: str, page: str) -> None:
    """Tolerate a header that shows a token or a secret where none is asked for, or refuse it.

    Raises:
        Refused: There is one, and this TikTok is a strict one.
    """
    if name in record.headers:
        tiktok.tolerate(f"undocumented for {record.endpoint}: an {name} header: {page}")
