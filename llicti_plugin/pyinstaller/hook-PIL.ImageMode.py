"""Takes the format into every program with Pillow, as installing it does for every interpreter.

PIL.Image imports PIL.ImageMode. For PIL.Image PyInstaller has a hook itself, and it takes one for a module.
"""

hiddenimports = ["llicti_plugin"]
