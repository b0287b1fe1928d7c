"""The live product: cameras, the loop, sinks and the `icface-live` command."""
