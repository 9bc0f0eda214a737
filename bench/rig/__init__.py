"""The measuring rig: servers side by side, measured in turns. Called by `bench/run.py`."""
