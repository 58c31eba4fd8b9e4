"""What the benchmark ``http`` is made of: one client, our service, and its peers as processes."""
