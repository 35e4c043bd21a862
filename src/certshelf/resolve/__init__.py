"""From the SNI name to the newest good bundle."""
