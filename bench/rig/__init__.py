"""The measuring rig: starts servers side by side, measures them in turns, keeps the result. Called by `bench/run.py`."""
