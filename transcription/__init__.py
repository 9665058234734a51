"""Text from recordings: the engine, redaction, and the worker that carries jobs out."""

from os import environ

# onnxruntime writes a device id and a database of telemetry into the home folder and sends it away, unless this stands
# in the environment before it is loaded; whatever loads it does so through this package, or in a child process of ours.
environ["ORT_DISABLE_TELEMETRY"] = "1"
