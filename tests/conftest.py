"""How much hypothesis draws, HYPOTHESIS_PROFILE=dev (the default), ci or long: only the last is random.

And how many threads kernels may run on: more than one, whatever the machine, to see that it does not matter.
"""

import os
import signal

from hypothesis import HealthCheck, settings

os.environ.setdefault("NUMBA_NUM_THREADS", "3")  # Numba reads it when it is imported

# A job in the background of a shell ignores Ctrl-C, and so would the tests that press it, for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline anywhere: the first call of a kernel may compile it. No word of slow draws: machines differ.
settings.register_profile("base", deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
base = settings.get_profile("base")
settings.register_profile("dev", base, derandomize=True, max_examples=15)
settings.register_profile("ci", base, derandomize=True, max_examples=60, print_blob=True)
settings.register_profile("long", base, derandomize=False, max_examples=2000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))
