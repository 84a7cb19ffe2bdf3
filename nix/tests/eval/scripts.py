"""Checks the scripts of the VM tests without a VM: each must be valid Python and must
not use undefined names or methods that the machines of the test driver do not
have. Reads {test: {testScript, machines}} as JSON."""

import ast
import builtins
import json
import sys

# From https://nixos.org/manual/nixos/stable/#ssec-machine-objects, those in use.
METHODS = {
    "execute", "fail", "name", "sleep", "succeed", "wait_for_file",
    "wait_for_open_port", "wait_for_unit", "wait_until_fails", "wait_until_succeeds",
}  # fmt: skip
DRIVER = {"start_all", "subtest"}

problems = []
tests = json.load(sys.stdin)
for test, spec in tests.items():
    tree = ast.parse(spec["testScript"], test)
    machines = set(spec["machines"]) | {"machine"}
    known = set(dir(builtins)) | DRIVER | machines
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            known.add(node.name)
        elif isinstance(node, ast.arg):
            known.add(node.arg)
        elif isinstance(node, ast.alias):
            known.add(node.asname or node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            known.add(node.id)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id not in known:
            problems.append(f"{test}, line {node.lineno}: {node.id} is not defined")
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in machines
            and node.attr not in METHODS
        ):
            problems.append(f"{test}, line {node.lineno}: a machine has no {node.attr}")
if problems or not tests:
    sys.exit("\n".join(problems) or "there are no VM tests")
print(f"scripts of the VM tests: {len(tests)} are valid")
