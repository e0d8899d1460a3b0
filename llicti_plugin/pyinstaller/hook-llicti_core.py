"""What the codec needs beside its code: the models, and its version."""

from PyInstaller.utils.hooks import collect_data_files, copy_metadata

datas = collect_data_files("llicti_core.models", includes=["*.safetensors"]) + copy_metadata("llicti")
# The GPU engine needs these; a program that has them imports them itself.
excludedimports = ["torch", "triton"]
