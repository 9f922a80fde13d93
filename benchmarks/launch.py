"""Starts one command, and writes its seconds, peak memory and wait status to a descriptor when it ends.

Kept small: a process starts with the peak memory of the process that started it.
"""

import os
import sys
import time

descriptor = int(sys.argv[1])
os.set_inheritable(descriptor, False)
began = time.perf_counter()
child = os.fork()
if not child:
    os.execvp(sys.argv[2], sys.argv[2:])
_, status, usage = os.wait4(child, 0)
os.write(descriptor, f"{time.perf_counter() - began} {usage.ru_maxrss} {status}".encode())
