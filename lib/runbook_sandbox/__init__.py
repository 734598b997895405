"""A small real stack on this machine to practise on: PostgreSQL, Redis and a stand-in for the service."""
