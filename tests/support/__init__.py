"""What several test folders share: starting Swell, talking to it byte by byte."""
