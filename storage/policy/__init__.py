"""What a tenant promises, as values: read from data files, compared, explained. No promise is a constant in code."""
