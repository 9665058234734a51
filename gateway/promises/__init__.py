"""What tenants promise, told to people: the policies in effect, and the page "what we keep" made of them."""
