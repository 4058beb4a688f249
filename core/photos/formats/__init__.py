"""Read the structure of photo files without decoding their pixels, one module for each format."""
