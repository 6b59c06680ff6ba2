"""The built-in loss families, one file each; discovery reads `SUITE` from every module here."""
