"""What RFC 6749 calls it: authorization request and response, grants, replies, error codes."""
