"""Who may do what, and how a node knows: API keys and signatures, certificates."""
