"""Changing one key of a configuration file by patching its text, so that everything else stays as it is."""
