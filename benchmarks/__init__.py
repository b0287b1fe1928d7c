"""Measurements that the published figures come from."""
