"""What the site says when something does not work just now."""

import logging
import math

import requests
from django.db import DatabaseError
from django.http import HttpResponse

from tiktok_oauth_session import TikTokOAuthError

log = logging.getLogger(__name__)


class Patience:
    """Asks for patience where TikTok or the database does not answer; the log says why."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        """Handle a request as always."""
        return self.get_response(request)

    def process_exception(self, request, error):
        """Answer for a page that failed."""
        if not isinstance(error, TikTokOAuthError | requests.RequestException | DatabaseError):
            return None
        log.error("%s: %s: %s", request.path, type(error).__name__, error)
        response = HttpResponse("This does not work just now. Please try again later.", status=503)
        if wait := getattr(error, "retry_after", None):
            response["Retry-After"] = str(math.ceil(wait))
        return response
