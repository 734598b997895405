"""The practice stack from official images, for people who have a registry: ``compose.yaml`` here, and its profile."""
