"""The README says what the code does."""

from conftest import ROOT

from fisher_al.methods import METHOD_KINDS, methods_table


def test_table_of_methods_is_the_registry():
    lines = (ROOT / "README.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    tokens = {row[0].strip("`").removesuffix("/L") for row in rows}
    documented = [row for row in rows if row[0].strip("`").removesuffix("/L") in METHOD_KINDS]
    assert tokens >= METHOD_KINDS.keys()
    assert documented == methods_table()
