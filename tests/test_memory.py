"""What a round has freed goes back to the system after it, and not before."""

import os
import subprocess
import sys

import pytest

from labeling.supervisor import child_environment

CODE = """
import torch
from rlhf.memory import give_back

def resident():
    line = next(line for line in open('/proc/self/status') if line.startswith('VmRSS'))
    return int(line.split()[1]) // 1024

bare = resident()
some = [torch.ones(2**18) for _ in range(300)]  # 300 MB
last = torch.ones(2**10)
del some
kept = resident()
give_back()
print(bare, kept, resident())
"""


@pytest.mark.slow
def test_what_is_free_is_kept_until_it_is_given_back(monkeypatch):
    for name in [*os.environ]:
        if name == "GLIBC_TUNABLES" or name.startswith("MALLOC_"):
            monkeypatch.delenv(name)
    if "GLIBC_TUNABLES" not in child_environment():
        pytest.skip("only glibc from 2.35 on is told to keep it")
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=child_environment(), capture_output=True, text=True, check=True
    )
    bare, kept, after = map(int, done.stdout.split())
    assert kept > bare + 250
    assert after < bare + 50
