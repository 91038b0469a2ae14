"""What the API answers, a file per resource."""
