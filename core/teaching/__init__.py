"""Teaching: classifiers of a user's own classes, learned from a handful of photos."""
