"""A fake Kubernetes cluster."""
