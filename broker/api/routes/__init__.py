"""Routes of the order API, a module a resource."""
