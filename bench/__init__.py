"""What is measured, against what: ratios of medians in one run. `make bench` prints them."""
