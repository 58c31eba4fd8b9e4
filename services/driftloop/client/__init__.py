"""What a user imports: produce events and labels, iterate alerts."""
