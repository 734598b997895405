"""What the service answers where there is just nothing."""

# These two answer 500 also where there is just nothing to process or to export.
EMPTY_AS_500 = ("/triage/populate", "/export/gold")
