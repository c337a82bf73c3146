"""Model YAMLs: putting blocks in, looking for slips, drawing."""
