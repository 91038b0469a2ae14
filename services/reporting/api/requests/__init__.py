"""What may be asked of the API, a file per resource."""
