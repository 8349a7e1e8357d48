"""A stand-in for Slurm's `srun`: starts the tasks of a step on this machine, as Slurm tells them.

The variables are those that srun(1) lists under OUTPUT ENVIRONMENT VARIABLES.
"""

import argparse
import os
import subprocess
import sys


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ntasks", type=int, default=1)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    asked = parser.parse_args()
    step = {
        # of which the port of the coordinator is made
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_NTASKS": str(asked.ntasks),
    }
    running = [
        subprocess.Popen(
            asked.command,
            env=os.environ | step | {"SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)},
        )
        for i in range(asked.ntasks)
    ]
    sys.exit(max(each.wait() for each in running))


if __name__ == "__main__":
    main()
