"""What the Helm chart's jobs run: keys, tokens and certificates, made once and renewed."""
