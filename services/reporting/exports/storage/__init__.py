"""The storage of exported files: a folder, or a bucket of S3."""
