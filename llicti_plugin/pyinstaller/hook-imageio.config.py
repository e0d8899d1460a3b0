"""Takes the format into every program with imageio, as installing it does for every interpreter.

imageio imports imageio.config. For imageio there is a hook already, and PyInstaller takes one for a module.
"""

hiddenimports = ["llicti_plugin", "llicti_plugin.imageio"]
