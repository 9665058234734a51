"""The arguments of the commands, by who uses them; what carries a command out is named as text, and loaded then."""
