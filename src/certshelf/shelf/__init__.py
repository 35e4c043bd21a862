"""The folder of PFX files, with the rules of the Centralized Certificate Store."""
