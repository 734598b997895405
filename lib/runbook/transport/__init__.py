"""What both sides of a run send over HTTP: how a certificate is judged, how a webhook is posted to."""
