"""Order-free statistics: exact sums, counts, log-buckets, losses. Any split merges alike."""
