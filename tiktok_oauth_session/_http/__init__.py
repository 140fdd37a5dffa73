"""How a request that holds a secret travels: one request, its deadline, allowed hosts, redaction."""
