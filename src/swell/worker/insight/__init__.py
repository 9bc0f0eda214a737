"""What a worker can tell about itself when somebody asks: stacks, tasks, where time and memory go, slow turns.

Everything here runs on threads beside the event loop and looks at it from outside, because the loop may be what hangs.
Nothing costs anything before somebody asks. Called by the probe (`swell.worker.probe`) and by the attachment; what is
found are JSON-ready documents, which the parent passes on as they are.
"""
