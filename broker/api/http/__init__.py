"""HTTP of the order API: server, TLS, middleware, problems and the OpenAPI document."""
