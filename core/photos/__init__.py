"""Photos: decoding, preprocessing and the picture of an explanation."""
