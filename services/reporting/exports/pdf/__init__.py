"""PDF files: templates of typst, filled with data in a child process."""
