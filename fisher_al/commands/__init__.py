"""What the scripts do: options in, work planned and carried out, tables and figures out.

Imports from everything else.
"""
