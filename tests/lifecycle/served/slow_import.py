"""The same application behind an import that takes 200 ms, as frameworks and their models do."""

import importlib
import time

app = importlib.import_module("subject").app
time.sleep(0.2)
