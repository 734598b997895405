"""What a row of measured values tells: lines that outliers do not bend, and how sure they are. It knows no target."""
