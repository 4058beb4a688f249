"""Charts for phones, drawn by matplotlib in a worker process."""
