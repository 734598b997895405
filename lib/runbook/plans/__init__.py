"""Plans: frozen and stored, confirmed by a token, carried out one at a time for each target, their effect computed."""
