"""What an author of a plug-in reads: the protocols, and the registry that finds them by name."""
