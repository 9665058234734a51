"""The specification of session descriptions and their negotiation."""
