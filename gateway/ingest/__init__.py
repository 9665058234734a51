"""Where calls come in: a module for each protocol, each a thin shell around its sans-I/O core."""
