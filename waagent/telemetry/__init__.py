"""Events on their way to the platform: collected from extensions, made complete, sent, forgotten."""
