"""The 33 rules of uNetworking's h1spec, in our own words (RFC 9112, RFC 9110)."""
