"""Request bodies of the API, a file per resource."""
