"""Control: where each number that moves the face comes from. No devices, no threads; see docs/control.md."""
